"""A file is there as a whole, or as it was before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from full_disks import files_limited_to

from connect_logging._download import save


def pieces(*given: bytes, failure: BaseException | None = None) -> Iterator[bytes]:
    yield from given
    if failure is not None:
        raise failure


def test_a_file_is_there_as_a_whole(tmp_path: Path) -> None:
    told: list[int] = []
    path = tmp_path / "events.jsonl"
    assert save(pieces(b"ab", b"c"), path, told.append) == 3
    assert path.read_bytes() == b"abc"
    assert told == [2, 3]
    assert path.stat().st_mode & 0o777 == 0o600
    assert save(pieces(b"d"), path) == 1
    assert path.read_bytes() == b"d"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("failure", [OSError("broke off"), KeyboardInterrupt()])
def test_what_breaks_off_leaves_what_was_there(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"before")
    with pytest.raises(type(failure)) as caught:
        save(pieces(b"ab", failure=failure), path)
    assert str(caught.value) in ("broke off", "")
    assert path.read_bytes() == b"before"
    assert [*tmp_path.iterdir()] == [path]


def test_the_file_has_its_name_only_when_all_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    seen: list[list[str]] = []

    def watched() -> Iterator[bytes]:
        yield b"ab"
        seen.append([each.name for each in tmp_path.iterdir()])

    save(watched(), path)
    [[partial]] = seen
    assert partial.startswith(".events.jsonl.")
    assert partial.endswith(".part")


def test_all_of_it_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else there would be an empty file after a power cut, and not what was there before."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"before")
    synced: list[tuple[int, bytes]] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        sync(descriptor)
        synced.append((os.fstat(descriptor).st_size, path.read_bytes()))

    monkeypatch.setattr(os, "fsync", watched)
    save(pieces(b"ab", b"c"), path)
    assert synced == [(3, b"before")]


@pytest.mark.parametrize("name", ["", "."])
def test_a_directory_is_no_file(name: str) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        save(pieces(b"ab"), Path(name))


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "events.jsonl"
    with pytest.raises(FileNotFoundError) as caught:
        save(pieces(b"ab"), path)
    assert caught.value.filename == str(path)


def test_a_disk_that_takes_no_more_is_told_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"before")
    with files_limited_to(1_000), pytest.raises(OSError, match="File too large") as caught:
        save(pieces(b"x" * 100_000), path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"before"
    assert [*tmp_path.iterdir()] == [path]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """As root, a device would be gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="no file that could be replaced"):
        save(pieces(b"a"), pipe)
    assert pipe.is_fifo()


def test_a_link_stays_one(tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "there" / "file"
    file.parent.mkdir()
    link.symlink_to(file)
    for content in (b"a", b"b"):
        save(pieces(content), link)
        assert link.is_symlink()
        assert file.read_bytes() == content
