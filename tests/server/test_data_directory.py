"""The data directory: ours or not, ready or not, in use or not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from full_disks import files_limited_to

from connect_logging.server.data_directory import DataDirectory, DataDirectoryError, write_atomically
from connect_logging.server.projects import ProjectFile


def test_it_is_made_closed_to_others_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    made = DataDirectory(path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()] == [0o600]
    assert DataDirectory(path).events_file == made.events_file


def test_an_open_mode_is_closed(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    empty.chmod(0o777)
    DataDirectory(empty, create=True)
    assert stat.S_IMODE(empty.stat().st_mode) == 0o700
    empty.chmod(0o755)
    DataDirectory(empty)
    assert stat.S_IMODE(empty.stat().st_mode) == 0o700


def test_what_is_not_ours_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(DataDirectoryError, match="not ours"):
        DataDirectory(tmp_path, create=True)
    assert [file.name for file in tmp_path.iterdir()] == ["photo.jpg"]


def test_only_serving_makes_a_directory(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError, match="does not exist"):
        DataDirectory(tmp_path / "data")
    with pytest.raises(DataDirectoryError, match="is empty"):
        DataDirectory(tmp_path)


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_link_or_a_file_is_no_directory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data"
    if kind == "link":
        path.symlink_to(tmp_path)
    else:
        path.touch()
    with pytest.raises(DataDirectoryError):
        DataDirectory(path, create=kind == "link")
    with pytest.raises(DataDirectoryError):
        DataDirectory(path, create=True)


def test_a_linked_marker_is_not_followed(tmp_path: Path) -> None:
    DataDirectory(tmp_path / "real", create=True)
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "connect-logging.json").symlink_to(tmp_path / "real" / "connect-logging.json")
    with pytest.raises(DataDirectoryError, match="cannot be used"):
        DataDirectory(fake)


def test_another_owner_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data"
    DataDirectory(path, create=True)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(DataDirectoryError, match="another user"):
        DataDirectory(path)


@pytest.mark.parametrize(
    ("marker", "reason"),
    [(b'{"format":2,"product":"connect-logging"}', "has format 2"), (b"{", "damaged"), (b"[]", "damaged")],
)
def test_a_newer_or_damaged_format_is_refused(tmp_path: Path, marker: bytes, reason: str) -> None:
    DataDirectory(tmp_path, create=True)
    write_atomically(tmp_path / "connect-logging.json", marker)
    with pytest.raises(DataDirectoryError, match=reason):
        DataDirectory(tmp_path, create=True)


def test_no_right_to_write_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)  # tests may run as root, whom modes do not stop
    with pytest.raises(DataDirectoryError, match="cannot be written to"):
        DataDirectory(tmp_path / "data", create=True)


def test_a_first_start_that_was_killed_is_made_good(tmp_path: Path) -> None:
    half = tmp_path / ".connect-logging.json.4321"
    half.touch()
    with pytest.raises(DataDirectoryError, match="is empty"):
        DataDirectory(tmp_path)
    DataDirectory(tmp_path, create=True).lock().close()
    assert not half.exists()
    half.touch()
    DataDirectory(tmp_path).lock().close()
    assert not half.exists()


def test_what_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with files_limited_to(10), pytest.raises(OSError, match="File too large"):
        write_atomically(path, b"new" * 1_000)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"old")]


def test_one_server_at_a_time(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path, create=True)
    lock = directory.lock()
    with pytest.raises(DataDirectoryError, match=f"in use by another server \\(process {os.getpid()}\\)"):
        directory.lock()
    lock.close()
    lock.close()
    directory.lock().close()


def test_the_lock_names_the_one_who_has_it_and_nobody_before(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path, create=True)
    (tmp_path / "lock").write_text("12345678901234567")
    lock = directory.lock()
    assert (tmp_path / "lock").read_text() == str(os.getpid())
    lock.close()


def test_what_is_written_is_on_disk_before_it_has_its_name_and_then_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what a process that was killed left there, with the same number, is not in it."""
    path, steps = tmp_path / "file", list[tuple[str, bytes | None]]()
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append((synced.name, synced.read_bytes() if synced.is_file() else None))
        assert path.exists() == synced.is_dir()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    beside = tmp_path / f".file.{os.getpid()}"
    beside.write_bytes(b"much longer than what is written")
    write_atomically(path, b"content")
    assert steps == [(beside.name, b"content"), (tmp_path.name, None)]
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize(
    ("name", "opening"),
    [
        ("lock", DataDirectory.lock),
        (f".projects.json.{os.getpid()}", lambda directory: write_atomically(directory.projects_file, b"")),
        ("projects.json.lock", lambda directory: ProjectFile(directory.projects_file).create()),
    ],
    ids=["the lock", "what is written", "the lock of the projects"],
)
def test_no_link_stands_in_for_a_file_that_is_opened(
    tmp_path: Path, name: str, opening: Callable[[DataDirectory], object]
) -> None:
    directory = DataDirectory(tmp_path / "data", create=True)
    other = tmp_path / "other"
    other.write_text("not ours")
    (directory.path / name).symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        opening(directory)
    assert other.read_text() == "not ours"
