"""Filtered keys. Legacy: compatible to the byte, one refusal for everything, no forging of those we write.
Sealed: no bit of them can be changed, and they open nowhere else.
"""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from Crypto.Cipher import AES
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from connect_logging import security
from connect_logging.exceptions import ConfigurationError, InvalidFilteredKeyError
from connect_logging.security import (
    decrypt_filtered_key,
    encrypt_filtered_key,
    open_filtered_key,
    seal_filtered_key,
)

MASTER = "abcdefghijklmnopqrstuvwxyz012345"
IV = bytes(range(16))
DEFINITION = {"filters": {"customer": "Tom"}, "canQuery": True, "canPush": False}

# Made with `openssl enc -aes-256-cbc -K HEX(MASTER) -iv HEX(IV)`: text, HEX(cipher).
VECTORS = [
    pytest.param(
        '{"filters":{"customer":"Tom"},"canQuery":true,"canPush":false}',
        "d2d9c22c7829a3cd9d86375ab69b4f23b5705862383574ca40b2b822d43c30fc"
        "c8992d70ccf1a892ace2f0a60f37b1ed06073e8eee5826f7ae75a8843cd9f2a3",
        DEFINITION,
        id="compact",
    ),
    pytest.param(
        '{"filters": {"name": "Zoë"}, "canQuery": true, "canPush": false}',
        "13aceee1b5a84596b1de20bc028de6c16055f85ed04b079b851507989132e843"
        "7b69356f0bb06887b0bbfbb3216788abc8af62bedaad4548632689bf7a73a5b9"
        "3cd3d73d3cd678cad5ef341a2110dfc7",
        {"filters": {"name": "Zoë"}, "canQuery": True, "canPush": False},
        id="spaced-utf8",
    ),
    pytest.param(
        '{"canPush":true,"canQuery":true,"filters":null}',
        "d76706a13d660dcf9ab75f246625f3965aa07097ea88942140f38d56ab44015013419ab0fa6a9c44c6f6f1ebeb5cfe5f",
        {"filters": {}, "canQuery": True, "canPush": True},
        id="null-filters-last",
    ),
]
OURS = (
    "A3B381C4F538B142DA5272AC620A7E484AD664D194F2BCA07D5ED6E929D04546"
    "1DEFBB7EC580859F7A40F430A071C33C10BAB4222312E1055D2502FCD92E2261"
    "D979CD413487BEF8FFD9CF76D443A3E0"
)
"""Likewise, of ``{"canQuery": true,         "canPush":false,"filters":{"customer":"Tom"}}``."""


def as_key(text: str | bytes, *, padding: bytes | None = None, iv: bytes = IV) -> str:
    """A key that holds ``text``, right or wrong, as another program might write it."""
    plain = text.encode() if isinstance(text, str) else text
    size = 16 - len(plain) % 16
    plain += bytes((size,)) * size if padding is None else padding
    return f"{iv.hex()}-{AES.new(MASTER.encode(), AES.MODE_CBC, iv=iv).encrypt(plain).hex()}"


# --- compatibility


@pytest.mark.parametrize(("_text", "cipher", "definition"), VECTORS)
@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_reads_the_keys_of_other_programs(
    _text: str, cipher: str, definition: dict[str, Any], case: Callable[[str], str]
) -> None:
    assert decrypt_filtered_key(case(f"{IV.hex()}-{cipher}"), MASTER) == definition


@pytest.mark.parametrize(("text", "cipher", "_definition"), VECTORS)
def test_the_helper_of_these_tests_writes_what_openssl_writes(
    text: str, cipher: str, _definition: dict[str, Any]
) -> None:
    assert as_key(text) == f"{IV.hex()}-{cipher}"


def test_writes_upper_case_hex_of_a_known_text() -> None:
    assert security._encrypt(DEFINITION, MASTER, IV) == f"{IV.hex().upper()}-{OURS}"


def test_every_key_has_its_own_iv() -> None:
    keys = {encrypt_filtered_key(DEFINITION, MASTER) for _ in range(20)}
    assert len({key.partition("-")[0] for key in keys}) == 20


@pytest.mark.parametrize("master_key", ["0123456789abcdef" * 2, "ä" * 16, "€" + "c" * 29])
def test_a_master_key_is_its_utf8_bytes(master_key: str) -> None:
    assert decrypt_filtered_key(encrypt_filtered_key(DEFINITION, master_key), master_key) == DEFINITION


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), VALUES, max_size=4), st.booleans())
def test_what_is_encrypted_is_read_back(filters: dict[str, Any], can_push: bool) -> None:
    definition = {"filters": filters, "canQuery": False, "canPush": can_push}
    assert decrypt_filtered_key(encrypt_filtered_key(definition, MASTER), MASTER) == definition


@pytest.mark.parametrize(
    ("given_definition", "read"),
    [
        ({}, {"filters": {}, "canQuery": False, "canPush": False}),
        ({"canPush": True}, {"filters": {}, "canQuery": False, "canPush": True}),
        ({"filters": None, "canQuery": True}, {"filters": {}, "canQuery": True, "canPush": False}),
    ],
)
def test_what_a_definition_leaves_out_is_none_and_no(given_definition: dict[str, Any], read: dict[str, Any]) -> None:
    assert decrypt_filtered_key(encrypt_filtered_key(given_definition, MASTER), MASTER) == read
    assert decrypt_filtered_key(as_key(json.dumps(given_definition)), MASTER) == read


# --- refusals when writing


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        (None, "a dict of filters, canQuery, canPush, not NoneType"),
        ([], "not list"),
        ({"filters": {}, "canquery": True}, "no 'canquery'"),
        ({1: True}, "no 1"),
        ({"filters": {}, "canQuery": 1}, "canQuery must be True or False, not int"),
        ({"filters": {}, "canPush": None}, "canPush must be True or False, not NoneType"),
        ({"canQuery": True}, "needs filters"),
        ({"filters": "a=1"}, "filters must be a dict, not str"),
        ({"filters": []}, "filters must be a dict, not list"),
        ({"filters": {"a": {"above": 1}}, "canQuery": True}, "unknown operator 'above'"),
        ({"filters": {"a": float("nan")}}, "cannot be written as JSON"),
        ({"filters": {"a": {1, 2}}}, "cannot be written as JSON"),
        ({"filters": {"a": "\ud800"}}, "cannot be written as JSON"),
        ({"filters": {"1": 1, 1: 2}}, "occurs twice"),
        ({"filters": {"a": "x" * 8_192}}, "it may have 16,384"),
    ],
)
def test_a_bad_definition_is_a_configuration_error(definition: Any, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        encrypt_filtered_key(definition, MASTER)
    assert says in str(caught.value)
    assert MASTER not in str(caught.value)


def test_filters_that_contain_themselves_are_a_configuration_error() -> None:
    filters: dict[str, Any] = {}
    filters["a"] = filters
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        encrypt_filtered_key({"filters": filters}, MASTER)


@pytest.mark.parametrize("master_key", ["", MASTER[:16], MASTER[:24], MASTER + "x", "ä" * 32, None, b"x" * 32])
def test_a_bad_master_key_is_named_and_not_shown(master_key: Any) -> None:
    with pytest.raises(ConfigurationError, match="master key must be a str of 32 bytes") as caught:
        encrypt_filtered_key(DEFINITION, master_key)
    if master_key:
        assert str(master_key) not in str(caught.value)


# --- refusals when reading

GOOD = as_key('{"filters":{},"canQuery":true}')
UNREADABLE = {
    "empty": "",
    "not a str": None,
    "bytes": GOOD.encode(),
    "no hyphen": GOOD.replace("-", ""),
    "two hyphens": GOOD.replace("-", "--"),
    "no cipher": GOOD[:33],
    "no iv": GOOD[32:],
    "short iv": GOOD[2:],
    "half a block": GOOD[:-16],
    "odd": GOOD[:-1],
    "not hex": GOOD[:-1] + "g",
    "wide digits": GOOD[:-1] + "１",  # noqa: RUF001
    "newline after it": GOOD + "\n",
    "blank before it": " " + GOOD,
    "too long": as_key(json.dumps({"filters": {"a": "x" * 8_200}})),
    "last block cut off": GOOD[:-32],
    "iv of another": "f" * 32 + GOOD[32:],
    "padding of zeros": as_key("{}", padding=bytes(14)),
    "padding over a block": as_key("{}" + " " * 13, padding=b"\x11" * 17),
    "padding of two minds": as_key("{}" + " " * 12, padding=b" \x02"),
    "nothing": as_key(""),
    "not utf-8": as_key(b"\xff\xfe{}"),
    "byte order mark": as_key("\ufeff{}"),
    "not json": as_key("{'filters': {}}"),
    "two documents": as_key("{}{}"),
    "comment": as_key('{"filters":{}} // all'),
    "array": as_key("[]"),
    "null": as_key("null"),
    "too deep": as_key('{"filters":{"a":' + "[" * 8_000),
    "long number": as_key('{"filters":{"a":' + "9" * 5_000 + "}}"),
    "nan": as_key('{"filters":{"a":NaN}}'),
    "infinity by exponent": as_key('{"filters":{"a":1e999}}'),
    "lone surrogate": as_key('{"filters":{"a":"\\ud800"}}'),
    "unknown name": as_key('{"filters":{},"canQuery":true,"isAdmin":true}'),
    "other case": as_key('{"filters":{},"CanQuery":true}'),
    "singular": as_key('{"filter":{},"canPush":true}'),
    "name twice": as_key('{"filters":{"a":1},"canQuery":true,"filters":{}}'),
    "filter twice": as_key('{"filters":{"a":1,"a":2},"canQuery":true}'),
    "no filters": as_key('{"canQuery":true}'),
    "filters a list": as_key('{"filters":[],"canQuery":true}'),
    "filters false": as_key('{"filters":false,"canQuery":true}'),
    "truthy": as_key('{"filters":{},"canQuery":1}'),
    "text for true": as_key('{"canPush":"true"}'),
    "null for false": as_key('{"canPush":null}'),
}


def refusal(key: Any, master_key: Any = MASTER) -> tuple[object, ...]:
    """All that a caller could learn from how ``key`` is refused."""
    with pytest.raises(InvalidFilteredKeyError) as caught:
        decrypt_filtered_key(key, master_key)
    error = caught.value
    return (
        type(error),
        str(error),
        error.__cause__,
        error.__context__,
        [entry.lineno for entry in caught.traceback],
    )


@pytest.mark.parametrize("key", UNREADABLE.values(), ids=UNREADABLE)
def test_every_unreadable_key_is_refused_alike(key: Any) -> None:
    assert decrypt_filtered_key(GOOD, MASTER)["canQuery"]
    assert refusal(key) == refusal("another key")


@pytest.mark.parametrize("master_key", [MASTER[::-1], MASTER[:-1], "", None, MASTER.encode()])
def test_a_wrong_master_key_is_refused_like_a_wrong_key(master_key: Any) -> None:
    assert refusal(GOOD, master_key) == refusal("another key")


def test_a_padding_oracle_learns_nothing() -> None:
    """All last bytes of the block before the last: 255 of them spoil the padding, or what it ends."""
    key = as_key('{"filters":{},"canQuery":true}')
    blocks = bytes.fromhex(key[33:])
    original = blocks[15]
    tries = [blocks[:15] + bytes((last,)) + blocks[16:] for last in range(256) if last != original]
    answers = {str(refusal(f"{key[:33]}{forged.hex()}")) for forged in tries}
    padded_alone = as_key(b"\xff" * 16)  # right padding, and no text
    assert answers == {str(refusal(padded_alone))}


# --- forgery: what a holder can do who knows the text but not the master key


def forged(key: str, text: str, cut: int, first: bytes) -> str:
    """``key`` from its block ``cut`` on, whose first block then decrypts to ``first``."""
    iv, cipher = (bytes.fromhex(part) for part in key.split("-"))
    size = 16 - len(text.encode()) % 16
    plain = text.encode() + bytes((size,)) * size
    chain = iv + cipher
    before, block = chain[16 * cut : 16 * cut + 16], plain[16 * cut : 16 * cut + 16]
    new_iv = bytes(a ^ b ^ c for a, b, c in zip(before, block, first, strict=True))
    return f"{new_iv.hex()}-{cipher[16 * cut :].hex()}"


def first_blocks() -> Iterator[bytes]:
    """16 bytes each: the beginning of a text with more rights, blanks wherever JSON allows them."""
    wanted = [
        ['{', '"canPush"', ":", "true", ",", '"filters"', ":", "{", "}", "}"],
        ['{', '"canPush"', ":", "true", "}"],
        ['{', '"canQuery"', ":", "true", ",", '"filters"', ":", "{"],
        ['{', '"filters"', ":", "{", "}", ",", '"canQuery"', ":", "true"],
        ['{', '"filters"', ":", "{", '"x"', ":", "1", "}", ",", '"canPush"'],
        ['{', '"filters"', ":", "{", '"', "x", "y", "z"],
        ['{', '"filters"', ":", "null", ",", '"canQuery"'],
    ]  # fmt: skip
    for tokens in wanted:
        for at, blanks in product(range(len(tokens) + 1), range(16)):
            text = "".join([*tokens[:at], " " * blanks, *tokens[at:]]).ljust(16)
            yield text[:16].encode()


FIRST_BLOCKS = sorted(set(first_blocks()))


def gains(key: str, text: str, definition: dict[str, Any]) -> list[dict[str, Any]]:
    """What ``key`` can be forged into that allows more than ``definition``."""
    found = []
    for cut, first in product(range(len(text.encode()) // 16 + 1), FIRST_BLOCKS):
        try:
            read = decrypt_filtered_key(forged(key, text, cut, first), MASTER)
        except InvalidFilteredKeyError:
            continue
        pushes = read["canPush"] and not definition["canPush"]
        queries = read["canQuery"] and (not definition["canQuery"] or read["filters"] != definition["filters"])
        if pushes or queries:
            found.append(read)
    return found


@pytest.mark.parametrize("can_query", [True, False])
@pytest.mark.parametrize("can_push", [True, False])
@pytest.mark.parametrize("length", range(16))
def test_no_key_of_ours_can_be_forged_into_more(can_query: bool, can_push: bool, length: int) -> None:
    filters = {"tenant" + "t" * length: {"neq": "x"}, "b": 2} if length else {}
    definition = {"filters": filters, "canQuery": can_query, "canPush": can_push}
    text = security._layout(definition)
    assert gains(security._encrypt(definition, MASTER, IV), text, definition) == []


def test_the_forger_of_these_tests_is_good_at_it() -> None:
    """The same attack opens a key with the filters in front, which is why ours have them at the end."""
    text = '{"filters":{"tenant_id":1234},"canQuery":true,"canPush":false}'
    definition = json.loads(text)
    assert {"filters": {}, "canQuery": True, "canPush": False} in gains(as_key(text), text, definition)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ('{"filters":{"a":1},"canQuery":true,"canPush":false}', b'{"gilters":{"a":'),
        ('{"canQuery":true,"filters":{"a":1}}', b'{"canPush":true  '[:16]),
        *(
            ('{"canPush":false,"canQuery":true,"filters":{"a":1}}', first)
            for first in (
                b'{"canPush": true', b'{ "canPush":true', b'{"canPush" :true', b'{"canPush":true ',
                b' {"canPush":true', b'{"canPush":\ttrue', b'{"canPush":true,',
            )
        ),
    ],
)  # fmt: skip
def test_the_known_bit_flips_are_refused_in_the_keys_of_others_too(text: str, first: bytes) -> None:
    key = as_key(text)
    assert decrypt_filtered_key(forged(key, text, 0, text[:16].encode()), MASTER)
    assert refusal(forged(key, text, 0, first)) == refusal("another key")


LAID_OUT = security._layout({"filters": {"customer.country": {"neq": 2}}, "canQuery": True, "canPush": False})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".country", ".j\u06b0`\u037eq"),
        (".country", ".\\u0063ountry"),
        ('"neq"', ' "neq"'),
        ("}}}", "}} }"),
        ('{"canQuery": true,', '{ "canQuery":true,'),
        ('"canPush"', '"canP\\u0075sh"'),
    ],
)
def test_a_key_in_our_layout_is_as_we_write_it(old: str, new: str) -> None:
    """A block that was changed in the middle leaves random bytes before it, which may happen to be text."""
    assert decrypt_filtered_key(as_key(LAID_OUT), MASTER)["canQuery"]
    assert old in LAID_OUT
    assert refusal(as_key(LAID_OUT.replace(old, new))) == refusal("another key")


def test_the_layout_of_others_is_their_own() -> None:
    filters = '{"customer.\u06b0" : {"neq": 2}}'
    for text in (
        f'{{"filters":{filters},"canQuery":true}}',
        f'{{"canQuery": true, "canPush": false, "filters": {filters}}}',
    ):
        assert decrypt_filtered_key(as_key(text), MASTER)["filters"] == {"customer.\u06b0": {"neq": 2}}


# --- sealed keys

PROJECT = "0123456789abcdef01234567"
NONCE = bytes(range(12))
SEALED = (
    "v2-AAECAwQFBgcICQoLwyi7HBZjKeH4fkKrqR-0FReIOjyCFoHoZ0e1fH188cmemXd3AKNrlvOomD-PNzp0jYm_QfnTrFFioTY7Txicidm-tJ9o"
    "fSUi5T5qmhbn"
)
"""Made of DEFINITION with HKDF and AESGCM of the package cryptography, as the docstring of the module tells."""


def sealed_bytes(key: str) -> bytes:
    text = key.removeprefix("v2-")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def as_sealed(
    text: str | bytes,
    *,
    info: bytes = b"connect-logging filtered key v2",
    data: bytes = b"connect-logging filtered key v2\0" + PROJECT.encode(),
    key: bytes | None = None,
    tag_bytes: int = 16,
) -> str:
    """A sealed key that holds ``text``, right or wrong, as another program might write it."""
    secret = HKDF(MASTER.encode(), 32, b"", SHA256, context=info) if key is None else key
    cipher = AES.new(secret, AES.MODE_GCM, nonce=NONCE, mac_len=tag_bytes)
    cipher.update(data)
    encrypted, tag = cipher.encrypt_and_digest(text.encode() if isinstance(text, str) else text)
    return "v2-" + base64.urlsafe_b64encode(NONCE + encrypted + tag).decode().rstrip("=")


def sealed_refusal(key: Any, master_key: Any = MASTER, project_id: Any = PROJECT) -> tuple[object, ...]:
    """All that a caller could learn from how ``key`` is refused."""
    with pytest.raises(InvalidFilteredKeyError) as caught:
        open_filtered_key(key, master_key, project_id)
    error = caught.value
    return type(error), str(error), error.__cause__, error.__context__, [entry.lineno for entry in caught.traceback]


def test_a_sealed_key_is_as_specified() -> None:
    assert security._seal(DEFINITION, MASTER, PROJECT, NONCE) == SEALED
    assert open_filtered_key(SEALED, MASTER, PROJECT) == DEFINITION
    assert as_sealed(json.dumps(DEFINITION, separators=(",", ":"))) == SEALED


@settings(deadline=None)
@given(st.dictionaries(st.text(), VALUES, max_size=4), st.booleans(), st.text(min_size=1, max_size=30))
def test_what_is_sealed_is_read_back(filters: dict[str, Any], can_push: bool, project_id: str) -> None:
    definition = {"filters": filters, "canQuery": False, "canPush": can_push}
    key = seal_filtered_key(definition, MASTER, project_id)
    assert open_filtered_key(key, MASTER, project_id) == definition
    assert key != seal_filtered_key(definition, MASTER, project_id)


def test_no_bit_and_no_length_of_a_sealed_key_can_be_changed() -> None:
    expected = sealed_refusal("another key")
    sealed = sealed_bytes(SEALED)
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        assert sealed_refusal(security._spelled(bytes(changed))) == expected
    for cut in range(len(SEALED)):
        assert sealed_refusal(SEALED[:cut]) == expected
    for text in ("A", "=", "==", "\n", "AAAA", SEALED):
        assert sealed_refusal(SEALED + text) == expected


def test_a_sealed_key_has_one_spelling() -> None:
    """Not every change of a text changes a byte: the last character has bits to spare, and readers skip characters."""
    key = as_sealed('{"canPush":true}')
    assert len(sealed_bytes(key)) % 3
    others = [key[:-1] + last for last in string.ascii_letters + string.digits + "-_" if last != key[-1]]
    others += [key[:at] + skipped + key[at:] for at in range(3, len(key) + 1) for skipped in "= \n+/é"]
    assert all(sealed_refusal(other) == sealed_refusal("another key") for other in others)


def test_a_sealed_key_opens_for_its_project_and_purpose_alone() -> None:
    text = '{"canPush":true}'
    assert open_filtered_key(as_sealed(text), MASTER, PROJECT)["canPush"]
    expected = sealed_refusal("another key")
    assert sealed_refusal(SEALED, project_id=PROJECT[:-1]) == expected
    assert sealed_refusal(SEALED, master_key=MASTER[::-1]) == expected
    for other in (
        as_sealed(text, data=b"connect-logging filtered key v2\0"),
        as_sealed(text, data=b"connect-logging filtered key v2" + PROJECT.encode()),
        as_sealed(text, data=b"connect-logging session v2\0" + PROJECT.encode()),
        as_sealed(text, info=b"connect-logging filtered key v3"),
        as_sealed(text, key=MASTER.encode()),
        as_sealed(text, tag_bytes=12),
    ):
        assert sealed_refusal(other) == expected


def test_each_form_is_refused_by_the_other() -> None:
    sealed = seal_filtered_key(DEFINITION, MASTER, PROJECT)
    legacy = encrypt_filtered_key(DEFINITION, MASTER)
    assert refusal(sealed) == refusal("another key")
    assert sealed_refusal(legacy) == sealed_refusal(f"v2-{legacy}") == sealed_refusal("another key")


UNSEALABLE = {
    "empty": "",
    "nothing in it": "v2-",
    "not a str": None,
    "bytes": SEALED.encode(),
    "not ascii": f"{SEALED}é",
    "other version": SEALED.replace("v2-", "v3-"),
    "other case": SEALED.replace("v2-", "V2-"),
    "a nonce alone": security._spelled(NONCE),
    "a tag alone": security._spelled(bytes(16)),
    "too long": as_sealed(json.dumps({"filters": {"a": "x" * 12_300}})),
    "no text": as_sealed(""),
    "not utf-8": as_sealed(b"\xff{}"),
    "not json": as_sealed("{'canPush': true}"),
    "array": as_sealed("[]"),
    "name twice": as_sealed('{"canPush":true,"canPush":true}'),
    "filter twice": as_sealed('{"filters":{"a":1,"a":2},"canQuery":true}'),
    "unknown name": as_sealed('{"filters":{},"isAdmin":true}'),
    "no filters": as_sealed('{"canQuery":true}'),
    "truthy": as_sealed('{"canPush":1}'),
    "nan": as_sealed('{"filters":{"a":NaN}}'),
    "too deep": as_sealed('{"filters":{"a":' + "[" * 8_000),
    "long number": as_sealed('{"filters":{"a":' + "9" * 5_000 + "}}"),
}


@pytest.mark.parametrize("key", UNSEALABLE.values(), ids=UNSEALABLE)
def test_every_unreadable_sealed_key_is_refused_alike(key: Any) -> None:
    assert sealed_refusal(key) == sealed_refusal("another key")


@pytest.mark.parametrize("wrong", [{"master_key": "short"}, {"master_key": None}, {"project_id": None}])
def test_a_sealed_key_is_opened_with_what_sealed_it(wrong: dict[str, Any]) -> None:
    assert sealed_refusal(SEALED, **wrong) == sealed_refusal("another key")


@pytest.mark.parametrize(
    ("definition", "master_key", "project_id", "says"),
    [
        ({"canQuery": True}, MASTER, PROJECT, "needs filters"),
        ({"filters": {"a": float("nan")}}, MASTER, PROJECT, "cannot be written as JSON"),
        ({"filters": {"a": "x" * 12_300}}, MASTER, PROJECT, "it may have 16,384"),
        (DEFINITION, MASTER[1:], PROJECT, "master key must be a str of 32 bytes"),
        (DEFINITION, MASTER, "", "the project id must be a str"),
        (DEFINITION, MASTER, None, "the project id must be a str"),
    ],
)
def test_what_cannot_be_sealed_is_a_configuration_error(
    definition: Any, master_key: str, project_id: Any, says: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        seal_filtered_key(definition, master_key, project_id)
    assert says in str(caught.value)
    assert master_key not in str(caught.value)
