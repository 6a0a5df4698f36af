"""Which buffer an application gets, and what it is told when its options make no sense."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from journaling import entry, numbers

from connect_logging._buffer import MemoryBuffer
from connect_logging._durability import DURABILITIES, MIN_SPOOL_BYTES, BufferOptions
from connect_logging._journal.spool import Spool
from connect_logging._notices import Notices
from connect_logging._settings import DEAD_LETTERS
from connect_logging.exceptions import ConfigurationError


def options(**changed: Any) -> BufferOptions:
    given = {
        "spool": None,
        "durability": None,
        "spool_max_bytes": MIN_SPOOL_BYTES,
        "loss_window_ms": 100.0,
        "max_events": 10,
        "max_bytes": 1_000,
        "overflow": "drop_oldest",
        "block_timeout": 0.0,
    }
    return BufferOptions(**{**given, **changed})


def made(**changed: Any) -> Any:
    return options(**changed).make(Notices(time.monotonic), time.monotonic)


def test_without_a_spool_events_are_in_memory() -> None:
    for durability in (None, "memory"):
        assert isinstance(made(durability=durability), MemoryBuffer)


def test_with_a_spool_they_survive_the_process(tmp_path: Path) -> None:
    for durability in (None, "process"):
        buffer = made(spool=tmp_path / "spool", durability=durability)
        assert isinstance(buffer, Spool)
        assert buffer._syncer is None
        buffer.close()
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


def test_or_a_power_cut(tmp_path: Path) -> None:
    buffer = made(spool=str(tmp_path), durability="disk", loss_window_ms=250)
    assert buffer._syncer._window == 0.25
    buffer.put(entry(1))
    buffer.close()
    assert buffer._syncer.syncs == 1


def test_the_bounds_are_those_of_the_options(tmp_path: Path) -> None:
    buffer = made(spool=tmp_path, overflow="drop_newest")
    lost = [gone for number in range(20) for gone in buffer.put(entry(number, 60_000))]
    assert numbers(lost) == [17, 18, 19]
    assert buffer.figures()["spool_bytes"] <= MIN_SPOOL_BYTES
    buffer.close()


def test_the_bounds_of_memory_are_those_of_the_options_too() -> None:
    buffer = made(max_events=2, overflow="drop_oldest")
    lost = [gone for number in range(5) for gone in buffer.put(entry(number))]
    assert numbers(lost) == [0, 1, 2]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"durability": "paper"}, "durability must be one of 'memory', 'process', 'disk', not 'paper'"),
        ({"durability": "process"}, "durability 'process': pass spool, a directory"),
        ({"durability": "disk"}, "durability 'disk': pass spool, a directory"),
        ({"durability": "memory", "spool": "here"}, "durability 'memory': leave spool out"),
        ({"overflow": "explode"}, "overflow must be one of 'drop_oldest', 'drop_newest', 'block', not 'explode'"),
        ({"block_timeout": -1}, "block_timeout must be a number"),
        ({"max_events": 0}, "max_events must be a whole number at least 1, not 0"),
        ({"max_bytes": 1.5}, "max_bytes must be a whole number"),
        ({"spool": "here", "spool_max_bytes": MIN_SPOOL_BYTES - 1}, "spool_max_bytes must be a whole number at least"),
        ({"spool": ""}, "spool must be a directory, not ''"),
        ({"spool": "a\0b"}, "spool must be a directory, not 'a.x00b'"),
        ({"spool": 5}, "spool must be a directory, not 5"),
        ({"spool_max_bytes": 100}, "spool_max_bytes must be a whole number at least"),
        ({"spool": "here", "loss_window_ms": 0}, "loss_window_ms must be a number between 1 and"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=words):
        made(**wrong)


def test_a_spool_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="must be a directory, not a link or file"):
        made(spool=tmp_path / "file")


def test_dead_letters_lie_where_they_are_told_to_or_in_the_spool(tmp_path: Path) -> None:
    assert options().dead_letters(None) is None
    assert options().dead_letters("letters") == "letters"
    assert options(spool=tmp_path).dead_letters("letters") == "letters"
    assert options(spool=tmp_path).dead_letters(None) == tmp_path / DEAD_LETTERS
    assert options(spool=tmp_path / "new").dead_letters(tmp_path / "new" / "letters") == tmp_path / "new" / "letters"


def test_dead_letters_that_cannot_be_a_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for wrong in ("", 1, tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigurationError, match=f"dead_letters must be a file, not '{wrong}'"):
            options().dead_letters(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"dead_letters: '.*none' is no directory"):
        options().dead_letters(tmp_path / "none" / "letters")


def test_the_levels_are_told_from_the_least_to_the_most() -> None:
    assert DURABILITIES == ("memory", "process", "disk")


def test_no_file_has_a_name_with_a_nul() -> None:
    with pytest.raises(ConfigurationError, match="dead_letters must be a file"):
        options().dead_letters("a\0b")
