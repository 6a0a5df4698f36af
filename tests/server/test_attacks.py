"""Forged filtered keys against the app: bits flipped, blocks cut off, and a padding oracle looked for.

An attacker holds a key, knows its text, has no master key, and sees every byte of every answer.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pytest
from Crypto.Cipher import AES
from Crypto.Util.Padding import pad

from connect_logging.security import encrypt_filtered_key, seal_filtered_key
from connect_logging.server.projects import Project

from .asgi import Answer, ask
from .conftest import MakeStored

UNLIMITED = 10**9
DEFINITION = {"filters": {"tenant": 1}, "canQuery": True, "canPush": False}
OF_OTHERS = {
    "filters first": '{"filters":{"tenant":1},"canQuery":true,"canPush":false}',
    "canPush first": '{"canPush":false,"canQuery":true,"filters":{"tenant":1}}',
    "spaced": '{"canQuery": true, "canPush": false, "filters": {"tenant": 1}}',
}
"""The text of keys as other SDKs lay it out."""


class Target(NamedTuple):
    """The app, with a project that has an event each of two tenants."""

    app: Any
    project: Project

    def query(self, key: str) -> Answer:
        headers = {"X-Project-Id": self.project.id, "X-Api-Key": key}
        return ask(self.app, "GET", '/events/things?query={"groupBy":"tenant"}', headers=headers)

    def push(self, key: str) -> Answer:
        headers = {"X-Project-Id": self.project.id, "X-Api-Key": key}
        return ask(self.app, "POST", "/events/forged", [b"{}"], headers)


def make(make_stored: MakeStored, failed_keys: int) -> Target:
    app, projects = make_stored(failed_keys_per_minute=failed_keys)
    project = projects.create()
    body = json.dumps({"things": [{"tenant": 1}, {"tenant": 2}]}).encode()
    headers = {"X-Project-Id": project.id, "X-Api-Key": project.keys.push}
    assert ask(app, "POST", "/events", [body], headers).status == 200
    return Target(app, project)


@pytest.fixture(scope="module")
def target(make_stored: MakeStored) -> Target:
    return make(make_stored, UNLIMITED)


def of_others(text: str, project: Project) -> str:
    """A legacy key as other programs make it."""
    iv = bytes(range(16))
    cipher = AES.new(project.keys.master.encode(), AES.MODE_CBC, iv=iv).encrypt(pad(text.encode(), 16))
    return f"{iv.hex()}-{cipher.hex()}"


def flipped(data: bytes, bits: Iterable[int]) -> Iterator[bytes]:
    """``data`` with each of ``bits`` flipped, one at a time."""
    for bit in bits:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def parts(key: str) -> tuple[bytes, bytes]:
    iv, cipher = (bytes.fromhex(part) for part in key.split("-"))
    return iv, cipher


def key_of(iv: bytes, cipher: bytes) -> str:
    return f"{iv.hex()}-{cipher.hex()}"


def gained(target: Target, key: str) -> str | None:
    """What a forged key may that the true one may not; None when it is refused or may no more."""
    if target.push(key).status != 401:
        return "push"
    answer = target.query(key)
    if answer.status == 401:
        return None
    assert answer.status == 200
    seen = {row["tenant"] for row in answer.json()["results"]}
    return "the other tenant" if 2 in seen else None


def refusals(target: Target, keys: Iterable[str]) -> Counter[tuple[int, tuple[tuple[str, str], ...], bytes]]:
    """How often each answer was given, of which everything counts: status, headers, body."""
    answers = map(target.query, keys)
    return Counter((answer.status, tuple(answer.headers.items()), answer.body) for answer in answers)


# --- legacy keys


@pytest.mark.parametrize("definition", [DEFINITION, {**DEFINITION, "canPush": True, "canQuery": False}])
def test_no_bit_of_the_first_block_of_our_keys_can_be_flipped(target: Target, definition: dict[str, Any]) -> None:
    iv, cipher = parts(encrypt_filtered_key(definition, target.project.keys.master))
    forged = [key_of(changed, cipher) for changed in flipped(iv, range(128))]
    [(answer, times)] = refusals(target, forged).items()
    print(f"legacy key of ours: {times} flipped bits of the first block, one answer: {answer[0]}")
    assert (answer[0], times) == (401, 128)


@pytest.mark.parametrize("text", OF_OTHERS.values(), ids=OF_OTHERS)
def test_a_flipped_bit_in_a_key_of_another_program_gains_nothing(target: Target, text: str) -> None:
    key = of_others(text, target.project)
    assert [row["tenant"] for row in target.query(key).json()["results"]] == [1]
    iv, cipher = parts(key)
    assert {gained(target, key_of(changed, cipher)) for changed in flipped(iv, range(128))} == {None}


@pytest.mark.parametrize("text", OF_OTHERS.values(), ids=OF_OTHERS)
def test_the_known_forgeries_of_the_first_block_gain_nothing(target: Target, text: str) -> None:
    """All 16 bytes are the attacker's, as he knows what they were."""
    iv, cipher = parts(of_others(text, target.project))
    wanted = [b'{"gilters":{"ten', b'{"canPush": true', b'{"canPush":true,', b'{"canPush":true ', b' {"canPush":true',
              b'{"canQuery":true', b'{"filters":null,', b'{"filters":{},"x', b'{"filters":{"x":']  # fmt: skip
    for block in wanted:
        forged = bytes(a ^ b ^ c for a, b, c in zip(iv, text.encode(), block, strict=False))
        assert gained(target, key_of(forged, cipher)) is None, block


def test_what_the_legacy_form_cannot_prevent_is_over_when_it_is_refused(make_stored: MakeStored) -> None:
    """One flipped bit of a name, and a filter that excludes a tenant excludes nobody."""
    target = make(make_stored, UNLIMITED)
    iv, cipher = parts(of_others('{"filters":{"tenant":{"neq":2}},"canQuery":true}', target.project))
    forged = [key_of(changed, cipher) for changed in flipped(iv, range(128))]
    assert {gained(target, key) for key in forged} == {None, "the other tenant"}
    make_stored().projects.configure(target.project.id, legacy_filtered_keys=False)
    assert {gained(target, key) for key in forged} == {None}


def test_there_is_no_padding_oracle(target: Target) -> None:
    """The block before the last is changed: 255 of 256 values of its last byte spoil the padding, one the text."""
    iv, cipher = parts(encrypt_filtered_key(DEFINITION, target.project.keys.master))
    forged = []
    for at in (15, 14):
        before, last = bytearray(cipher[-32:-16]), cipher[-16:]
        for value in range(256):
            before[at] = value
            if bytes(before) != cipher[-32:-16]:
                forged += [key_of(iv, cipher[:-32] + bytes(before) + last), key_of(bytes(before), last)]
    answers = refusals(target, forged)
    assert len(answers) == 1, "an answer that differs tells whether the padding was right"
    [(answer, times)] = answers.items()
    print(f"padding oracle: {times} tries, one answer: {answer[0]}")
    assert answer[0] == 401


def test_everything_that_is_no_key_gets_the_same_answer(target: Target) -> None:
    legacy = encrypt_filtered_key(DEFINITION, target.project.keys.master)
    sealed = seal_filtered_key(DEFINITION, target.project.keys.master, target.project.id)
    assert {target.query(key).status for key in (legacy, sealed)} == {200}
    iv, cipher = parts(legacy)
    forged = [
        *(legacy[:length] for length in range(len(legacy))),
        *(sealed[:length] for length in range(len(sealed))),
        *(legacy + more for more in ("0", "00", "00" * 16, "-", " ", "-" + "00" * 16, legacy)),
        *(sealed + more for more in ("A", "AAAA", "=", "-", " ", sealed)),
        *(key_of(iv, cipher[16 * block :]) for block in range(1, len(cipher) // 16)),
        *(key_of(cipher[16 * block : 16 * block + 16], cipher[16 * block + 16 :]) for block in range(3)),
        "00" * 16 + "-" + "00" * 16, "x", "-", "v2", "v2-", "v3-" + sealed[3:], "\xff" * 40, "{}", "null", "0" * 20_000,
        "v2-" + "A" * 20_000, target.project.keys.master.swapcase(), target.project.id,
    ]  # fmt: skip
    answers = refusals(target, (key for key in forged if key not in (legacy, sealed)))
    assert [answer[0] for answer in answers] == [401]


def test_a_guess_is_soon_not_even_tried(make_stored: MakeStored) -> None:
    target = make(make_stored, 2)
    iv, cipher = parts(encrypt_filtered_key(DEFINITION, target.project.keys.master))
    statuses = [target.query(key_of(changed, cipher)).status for changed in flipped(iv, range(128))]
    assert statuses == [401] * 2 + [429] * 126
    right = key_of(iv, cipher)
    assert target.query(right).status == 429
    assert target.query(seal_filtered_key(DEFINITION, target.project.keys.master, target.project.id)).status == 200
    assert target.query(target.project.keys.query).status == 200


# --- sealed keys


def test_no_bit_of_a_sealed_key_can_be_flipped(target: Target) -> None:
    sealed = seal_filtered_key(DEFINITION, target.project.keys.master, target.project.id)
    text = sealed.removeprefix("v2-")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    packed = map(base64.urlsafe_b64encode, flipped(data, range(8 * len(data))))
    forged = ["v2-" + each.decode().rstrip("=") for each in packed]
    forged += [changed.decode("latin-1") for changed in flipped(sealed.encode(), range(8 * len(sealed)))]
    answers = refusals(target, (key for key in forged if "\n" not in key))
    [(answer, times)] = answers.items()
    print(f"sealed key: {times} flipped bits of bytes and text, one answer: {answer[0]}")
    assert answer[0] == 401
    assert target.query(sealed).status == 200


def test_a_sealed_key_is_worth_nothing_in_another_project_with_the_same_master_key(target: Target) -> None:
    """As after a backup was restored beside its origin, with the project's id changed."""
    twin = seal_filtered_key(DEFINITION, target.project.keys.master, "0" * 24)
    assert target.query(twin).status == 401
