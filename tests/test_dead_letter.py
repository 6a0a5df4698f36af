"""The dead-letter log: whole lines whoever writes them, nothing in them that a terminal or a reader trips over."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import OrderedDict, deque
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from full_disks import files_limited_to
from hostile import HOSTILE, Opaque
from hypothesis import given
from hypothesis import strategies as st

from connect_logging import _dead_letter, _rotating_file
from connect_logging._dead_letter import BACKUPS, MAX_REASON, DeadLetterLog, shown

MOMENT = 1_437_131_471.5874


def log_at(path: str | Path) -> DeadLetterLog:
    return DeadLetterLog(path, lambda: MOMENT)


def letters_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dead.log"


# What a line holds


def test_a_letter_is_one_line_of_json_with_five_fields(path: Path) -> None:
    log = log_at(path)
    log.write("purchases", {"id": "abc", "price": 34.95, "customer": {"name": "Zoë"}}, "HTTP 400: no")
    log.write("activity", "<something>", "it could not be encoded")
    log.close()
    assert letters_of(path) == [
        {
            "time": "2015-07-17T11:11:11.587Z",
            "collection": "purchases",
            "id": "abc",
            "reason": "HTTP 400: no",
            "event": {"id": "abc", "price": 34.95, "customer": {"name": "Zoë"}},
        },
        {
            "time": "2015-07-17T11:11:11.587Z",
            "collection": "activity",
            "id": None,
            "reason": "it could not be encoded",
            "event": "<something>",
        },
    ]
    assert [*letters_of(path)[0]] == ["time", "collection", "id", "reason", "event"]


def test_a_moment_without_a_fraction_has_one_all_the_same(path: Path) -> None:
    log = DeadLetterLog(path, lambda: 0.0)
    log.write("c", {}, "r")
    log.close()
    assert letters_of(path)[0]["time"] == "1970-01-01T00:00:00.000Z"


def test_newlines_control_characters_and_surrogates_are_escaped(path: Path) -> None:
    text = "".join(map(chr, range(0x20))) + '"\\\x7f\x9b\u2028\ud800\U0001f600%s{}'
    log = log_at(path)
    log.write(text, {"id": text, text: text}, text)
    log.close()
    [line, end] = path.read_bytes().split(b"\n")
    assert end == b""
    assert re.fullmatch(rb"[ -~]+", line), "printable ASCII and nothing else"
    [letter] = letters_of(path)
    assert (letter["collection"], letter["id"], letter["reason"], letter["event"]) == (
        text,
        text,
        text,
        {"id": text, text: text},
    )


@given(reason=st.text(), event=st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.lists(st.text())))
def test_whatever_was_refused_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, reason: str, event: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("letters") / "log"
    log = log_at(path)
    log.write("c", event, reason)
    log.close()
    [letter] = letters_of(path)
    assert (letter["reason"], letter["event"]) == (reason[:MAX_REASON], event)


def test_names_of_a_records_own_fields_are_values_like_others(path: Path) -> None:
    """The line is written through logging: nothing of a LogRecord may join it or be mistaken for it."""
    event = {"msg": "m", "args": [1], "levelname": "x", "exc_info": "y", "time": 1, "reason": 2}
    log = log_at(path)
    log.write("c", event, "%d is no format here")
    log.close()
    [letter] = letters_of(path)
    assert letter["event"] == event
    assert letter["reason"] == "%d is no format here"
    assert len(letter) == 5


def test_a_servers_endless_reason_is_cut(path: Path) -> None:
    log = log_at(path)
    log.write("c", {}, "r" * 10_000_000)
    log.close()
    assert letters_of(path)[0]["reason"] == "r" * MAX_REASON


# The file


def test_nothing_is_made_before_the_first_letter(path: Path) -> None:
    log_at(path).close()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_log_and_its_lock_are_the_owners_alone(path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dead_letter, "MAX_BYTES", 500)
    before = os.umask(umask)
    try:
        log = log_at(path)
        for _ in range(20):
            log.write("c", {"a": 1}, "reason")
        log.close()
    finally:
        os.umask(before)
    files = sorted(path.parent.iterdir())
    assert len(files) > 3, "the log, its lock, and some that were rotated"
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_full_file_is_rotated_and_the_oldest_goes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dead_letter, "MAX_BYTES", 1_000)
    log = log_at(path)
    for number in range(200):
        log.write("c", {"number": number}, "reason")
    log.close()
    rotated = [path.with_name(f"dead.log.{number}") for number in range(BACKUPS, 0, -1)]
    assert sorted(path.parent.glob("dead.log*")) == sorted([path, *rotated])
    assert all(file.stat().st_size < 1_000 + 150 for file in [path, *rotated]), "rotated once it is full"
    kept = [letter["event"]["number"] for file in [*rotated, path] for letter in letters_of(file)]
    assert kept == list(range(kept[0], 200)), "the newest, in order, none twice"


def test_a_log_that_is_closed_may_be_written_to_again(path: Path) -> None:
    """A pusher that is closed can still refuse an event."""
    log = log_at(path)
    log.write("c", {}, "first")
    log.close()
    log.close()
    log.write("c", {}, "second")
    log.close()
    assert [letter["reason"] for letter in letters_of(path)] == ["first", "second"]


def test_an_earlier_runs_letters_stay(path: Path) -> None:
    for reason in ("first run", "second run"):
        log = log_at(path)
        log.write("c", {}, reason)
        log.close()
    assert [letter["reason"] for letter in letters_of(path)] == ["first run", "second run"]


WITHOUT_FILES = """
import os, resource, sys
from connect_logging._dead_letter import DeadLetterLog
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
log = DeadLetterLog(sys.argv[1], lambda: 0.0)
try:
    log.write("c", {}, "there is no file for it")
except OSError as error:
    print(error.strerror)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
log.write("c", {}, "there are files again")
log.close()
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the number of open files is read from /proc")
def test_a_log_is_made_where_no_file_can_be_opened_not_even_its_module(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_FILES, path], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("Too many open files\n", "")
    assert [letter["reason"] for letter in letters_of(path)] == ["there are files again"]


def write_many(path: Path, who: str, count: int) -> None:
    log = DeadLetterLog(path, time.time)
    for number in range(count):
        log.write(who, {"number": number, "padding": "x" * (number % 7 * 1_000)}, "reason")
    log.close()


def assert_whole(path: Path, writers: list[str], count: int) -> None:
    letters = letters_of(path)
    for who in writers:
        assert [each["event"]["number"] for each in letters if each["collection"] == who] == list(range(count))
    assert len(letters) == len(writers) * count


def test_two_processes_at_once_break_no_line(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = ["a", "b"]
    processes = [context.Process(target=write_many, args=(path, who, 200)) for who in writers]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert_whole(path, writers, 200)


def test_two_processes_that_rotate_at_once_break_no_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dead_letter, "MAX_BYTES", 20_000)
    monkeypatch.setattr(_dead_letter, "BACKUPS", 1_000)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_many, args=(path, who, 100)) for who in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    letters = [letter for file in path.parent.glob("dead.log*") for letter in letters_of(file)]
    for who in "ab":
        numbers = sorted(each["event"]["number"] for each in letters if each["collection"] == who)
        assert numbers == list(range(100))
    assert len([*path.parent.glob("dead.log*")]) > 10


def test_a_parent_and_its_child_share_a_log_that_was_open_at_the_fork(path: Path) -> None:
    log = DeadLetterLog(path, time.time)
    log.write("first", {"number": 0}, "reason")
    child = os.fork()
    who = "child" if child == 0 else "parent"
    try:
        for number in range(200):
            log.write(who, {"number": number}, "reason")
    finally:
        if child == 0:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    log.close()
    assert status == 0
    letters = letters_of(path)
    assert len(letters) == 401
    for who in ("parent", "child"):
        assert [each["event"]["number"] for each in letters if each["collection"] == who] == list(range(200))


def test_threads_break_no_line(path: Path) -> None:
    log = log_at(path)
    writers = list("abcd")

    def write(who: str) -> None:
        for number in range(100):
            log.write(who, {"number": number}, "reason")

    threads = [threading.Thread(target=write, args=(who,)) for who in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    log.close()
    assert_whole(path, writers, 100)


def make_directory(path: Path) -> Path:
    path.mkdir()
    return path


UNWRITABLE: dict[str, Callable[[Path], Path]] = {
    "a directory": make_directory,
    "in no directory": lambda path: path / "missing" / "dead.log",
    "in a file": lambda path: (path.write_text(""), path / "dead.log")[1],
}


@pytest.mark.parametrize("kind", UNWRITABLE)
def test_a_file_that_cannot_be_written_raises_and_prints_nothing(
    kind: str, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = log_at(UNWRITABLE[kind](path))
    for _ in range(2):
        with pytest.raises(OSError, match=r"\[Errno"):
            log.write("c", {}, "reason")
    log.close()
    assert capfd.readouterr() == ("", "")


def test_a_disk_that_is_full_raises_for_each_letter_and_lets_the_log_be_closed(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a child, as a limit on a file's size stands for the disk."""
    log = log_at(path)
    log.write("c", {}, "kept")
    size = path.stat().st_size
    child = os.fork()
    if child == 0:
        refused = 0
        with files_limited_to(size + 10):
            for _ in range(3):
                try:
                    log.write("c", {"padding": "x" * 20_000}, "lost")
                except OSError:
                    refused += 1
            log.close()
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    log.close()
    assert os.waitstatus_to_exitcode(status) == 3
    assert capfd.readouterr() == ("", "")
    assert [letter["reason"] for letter in letters_of(path)] == ["kept"]
    assert path.stat().st_size == size, "no part of a line"


def test_a_disk_that_has_room_again_gets_whole_lines(path: Path) -> None:
    log = log_at(path)
    log.write("c", {}, "first")
    size = path.stat().st_size
    child = os.fork()
    if child == 0:
        refused = 0
        with files_limited_to(size + 10):
            try:
                log.write("c", {"padding": "x" * 20_000}, "lost")
            except OSError:
                refused += 1
        log.write("c", {}, "last")
        log.close()
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    log.close()
    assert os.waitstatus_to_exitcode(status) == 1
    assert [letter["reason"] for letter in letters_of(path)] == ["first", "last"]


def test_a_file_that_can_be_written_again_is(tmp_path: Path) -> None:
    log = log_at(tmp_path / "later" / "dead.log")
    with pytest.raises(OSError, match=r"\[Errno"):
        log.write("c", {}, "lost")
    (tmp_path / "later").mkdir()
    log.write("c", {}, "kept")
    log.close()
    assert [letter["reason"] for letter in letters_of(tmp_path / "later" / "dead.log")] == ["kept"]


# shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"ok": [1, None, True, 2.5], "price": Decimal("34.95")},
            "{'ok': [1, None, True, 2.5], 'price': Decimal('34.95')}",
        ),
        (OrderedDict(a=(1,)), "{'a': (1,)}"),
        ({1, 2}, "{1, 2}"),
        (frozenset([1]), "frozenset({1})"),
        (b"bytes", "b'bytes'"),
        (bytearray(b"bytes"), "bytearray(b'bytes')"),
        ("text\n", "'text\\n'"),
        (-(10**30), "-1000000000000000000000000000000"),
        (10**5_000, "<int of 16610 bits>"),
        (-(10**5_000), "<int of 16610 bits>"),
        (float("nan"), "nan"),
        (deque([1, 2]), "deque([1, 2])"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_small_values_are_shown_as_they_are(value: object, expected: str) -> None:
    assert shown(value) == expected


class Raising:
    def __repr__(self) -> str:
        raise RuntimeError("hostile")


class DeepRepr:
    def __repr__(self) -> str:
        return repr(self)


BILLION_NESTED_DICTS: dict[str, Any] = {str(at): None for at in range(50)}
for _level in range(6):
    BILLION_NESTED_DICTS = {str(at): BILLION_NESTED_DICTS for at in range(50)}

MORE_HOSTILE: dict[str, Callable[[], Any]] = {
    "a raising repr": Raising,
    "an endless repr": DeepRepr,
    "a repr that is no str": type("NoText", (), {"__repr__": lambda self: 7}),
    "a repr of 10 MB": type("Long", (), {"__repr__": lambda self: "x" * 10_000_000}),
    "a type that says it is an int": type("int", (), {}),
    "50**7 dicts": lambda: BILLION_NESTED_DICTS,
    "100 MB of bytes": lambda: b"\0" * 100_000_000,
    "100 MB of a bytearray": lambda: bytearray(100_000_000),
    "a million of a set": lambda: set(range(1_000_000)),
    "a million of a frozenset": lambda: frozenset(range(1_000_000)),
    "a million of a deque": lambda: deque(range(1_000_000)),
    "an ordered depth of 10,000": lambda: _ordered_depth(10_000),
}


def _ordered_depth(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = OrderedDict(n=value)
    return value


@pytest.mark.parametrize("name", [*HOSTILE, *MORE_HOSTILE])
def test_hostile_values_are_shown_in_bounded_time_and_size(name: str) -> None:
    value = {**HOSTILE, **MORE_HOSTILE}[name]()
    event = {"fine": 1, "hostile": value, "also fine": [value] * 3}
    best = min(_timed(value) for _ in range(2))
    text, both = shown(value), shown(event)
    assert best < 0.1
    assert 0 < len(text) <= 16_384 + 3
    assert 0 < len(both) <= 16_384 + 3


def _timed(value: object) -> float:
    began = time.perf_counter()
    shown(value)
    return time.perf_counter() - began


@pytest.mark.parametrize("name", ["100 MB of text", "100 MB of bytes", "10 million items", "a million names"])
def test_showing_a_large_value_takes_little_memory(name: str) -> None:
    value = {**HOSTILE, **MORE_HOSTILE}[name]()
    tracemalloc.start()
    try:
        shown({"large": value})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_one_value_that_raises_leaves_the_others_readable() -> None:
    text = shown({"bad": Opaque(), "price": 34.95})
    assert "Opaque" in text
    assert "'price': 34.95" in text


def test_a_cut_says_that_it_is_one() -> None:
    assert shown("x" * 501).count("...") == 1
    assert shown(list(range(51))).endswith(", 49, ...]")
    assert shown({at: at for at in range(51)}).endswith(", 49: 49, ...}")
    assert shown([["x" * 490] * 50] * 50).endswith("...")
    assert "..." not in shown(list(range(50)))
    assert "..." not in shown("x" * 490)


def test_a_letter_does_not_wait_for_ever_for_one_who_keeps_the_file_locked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process that was stopped does; events wait with it."""
    monkeypatch.setattr(_rotating_file, "PATIENCE", 0.05)
    log, other = log_at(path), log_at(path)
    with other.locked(), pytest.raises(OSError, match="another process keeps it locked"):
        log.write("things", {"id": 1}, "no")
    log.write("things", {"id": 2}, "no")
    log.close()
    other.close()
    assert [letter["id"] for letter in letters_of(path)] == [2]
