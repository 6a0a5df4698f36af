"""Segments: laid out as specified, owned by one process at a time, acknowledged, removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from journaling import HEADER, an_orphan, append, descriptors, event, flip, record_of, recovered, rows_of, segments

from connect_logging._journal.segment import NewerVersionError, Segment


def header(version: int = 1, pid: int = 1, acknowledged: int = HEADER) -> bytes:
    """As the specification has it."""
    fixed = struct.pack("<8sHHI", b"CNCTJRNL", version, 32, pid)
    offset = struct.pack("<Q", acknowledged)
    return fixed + offset + struct.pack("<II", crc32(offset), crc32(fixed))


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    """A new one of this process."""
    made = Segment.create(tmp_path)
    yield made
    made.close()


def adopted(path: Path) -> Segment:
    segment = Segment.adopt(path)
    assert segment is not None
    return segment


# The format


def test_a_golden_header(segment: Segment) -> None:
    assert segment.path.read_bytes() == header(pid=os.getpid())
    assert (segment.size, segment.end, segment.read_to) == (HEADER, HEADER, HEADER)


def test_the_specification_says_so_too(segment: Segment) -> None:
    written = segment.path.read_bytes()

    def number(offset: int, size: int | None) -> int:
        assert size is not None
        return int.from_bytes(written[offset : offset + size], "little")

    table = dict(rows_of("offset  size"))
    assert table.pop('magic "CNCTJRNL"') == (0, 8)
    assert written[:8] == b"CNCTJRNL"
    assert number(*table.pop("version, 1")) == 1
    assert number(*table.pop("size of this header, 32: where the records begin")) == 32
    assert number(*table.pop("process id of the writer, for people to read")) == os.getpid()
    assert number(*table.pop("acknowledged: the offset below which nothing has to be sent any more")) == 32
    assert number(*table.pop("CRC-32 of bytes 16 to 23")) == crc32(written[16:24])
    assert number(*table.pop("CRC-32 of bytes 0 to 15")) == crc32(written[0:16])
    assert table.pop("records") == (32, None)
    assert table == {}


def test_records_follow_the_header(segment: Segment) -> None:
    assert append(segment, [event(1), event(2)]) == [32, segment.path.read_bytes().index(b"\xffCJ\x01", 33)]
    records = [record_of(b"\x06\x00things" + bytes(8) + event(number).body) for number in (1, 2)]
    assert segment.path.read_bytes() == header(pid=os.getpid()) + b"".join(records)


def test_a_file_packed_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "0.journal"
    records = [record_of(b"\x06\x00things" + bytes(8) + event(number).body) for number in range(3)]
    path.write_bytes(header(acknowledged=HEADER + len(records[0])) + b"".join(records))
    assert recovered(tmp_path) == [1, 2]


def test_it_is_for_this_user_only_and_not_for_children(segment: Segment) -> None:
    assert stat.S_IMODE(segment.path.stat().st_mode) == 0o600
    assert not os.get_inheritable(segment.descriptor)


def test_names_are_ordered_by_time(tmp_path: Path) -> None:
    made = [Segment.create(tmp_path) for _ in range(50)]
    assert [segment.path for segment in made] == segments(tmp_path)
    for segment in made:
        segment.close()


# Who owns it


def test_nobody_adopts_a_segment_that_is_owned(segment: Segment) -> None:
    before = descriptors()
    assert Segment.adopt(segment.path) is None
    assert descriptors() == before
    segment.close()
    adopter = adopted(segment.path)
    assert adopter.pid == os.getpid()
    assert Segment.adopt(segment.path) is None
    adopter.close()


def test_a_segment_that_is_gone_is_not_adopted(tmp_path: Path) -> None:
    assert Segment.adopt(tmp_path / "0.journal") is None


def interfere(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """``act`` between the opening of a file and its lock, once."""
    lock = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        act()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)


def test_who_was_too_late_with_the_lock_has_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, before = an_orphan(tmp_path, 1), descriptors()
    interfere(monkeypatch, lambda: adopted(path).remove())
    assert Segment.adopt(path) is None
    assert descriptors() == before


def test_a_creator_whose_file_is_taken_for_an_orphan_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs: list[Segment] = []

    def adopt() -> None:
        theirs.append(adopted(segments(tmp_path)[0]))

    before = descriptors()
    interfere(monkeypatch, adopt)
    segment = Segment.create(tmp_path)
    assert segment.path != theirs[0].path
    assert theirs[0].done
    theirs[0].remove()
    assert segments(tmp_path) == [segment.path]
    segment.close()
    assert descriptors() == before


def test_a_creator_whose_file_was_even_removed_makes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()
    interfere(monkeypatch, lambda: adopted(segments(tmp_path)[0]).remove())
    segment = Segment.create(tmp_path)
    assert segments(tmp_path) == [segment.path]
    segment.close()
    assert descriptors() == before


CREATOR = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from journaling import append, event
from connect_logging._journal.segment import Segment
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    segment = Segment.create(Path(sys.argv[1]))
    append(segment, [event(number)])
    segment.close()
"""

ADOPTER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from journaling import recovered
from connect_logging._journal.segment import Segment
print("ready", flush=True)
sys.stdin.readline()
found = []
while (Path(sys.argv[1]) / "going").exists():
    found += recovered(Path(sys.argv[1]))
print(*found, flush=True)
"""


def test_of_two_adopters_and_a_creator_no_two_ever_own_the_same(tmp_path: Path) -> None:
    (tmp_path / "going").touch()
    count = 200
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path, str(count), Path(__file__).parent.parent],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for script in (CREATOR, ADOPTER, ADOPTER)
    ]
    found: list[int] = []
    try:
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
        for program in programs:
            assert program.stdin is not None
            program.stdin.write("go\n")
            program.stdin.flush()
        assert programs[0].wait(60) == 0
        (tmp_path / "going").unlink()
        for program in programs[1:]:
            said, _ = program.communicate(timeout=60)
            assert program.returncode == 0
            found += map(int, said.split())
    finally:
        for program in programs:
            program.kill()
            program.communicate()
    assert sorted([*found, *recovered(tmp_path)]) == list(range(count))
    assert segments(tmp_path) == []


def test_a_look_does_not_disturb_the_owner(segment: Segment) -> None:
    append(segment, [event(1)])
    seen, owned = Segment.look_at(segment.path)
    assert (owned, seen.pid, seen.size) == (True, os.getpid(), segment.size)
    seen.close()
    segment.close()
    seen, owned = Segment.look_at(segment.path)
    assert not owned
    adopted(segment.path).close()  # while we look
    seen.close()


# What is no segment


@pytest.mark.parametrize("adopt", [Segment.adopt, Segment.look_at])
def test_what_is_no_regular_file_is_left_alone(tmp_path: Path, adopt: Callable[[Path], Any]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = an_orphan(elsewhere, 1)
    (tmp_path / "link.journal").symlink_to(target)
    os.mkfifo(tmp_path / "fifo.journal")
    (tmp_path / "directory.journal").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.journal"))
        before = descriptors()
        for path in segments(tmp_path):
            with pytest.raises(OSError, match=r"\w"):
                adopt(path)
        assert descriptors() == before
    assert len(segments(tmp_path)) == 4


@pytest.mark.parametrize("adopt", [Segment.adopt, Segment.look_at])
def test_a_newer_version_is_left_alone(tmp_path: Path, adopt: Callable[[Path], Any]) -> None:
    path = tmp_path / "0.journal"
    newer = header(version=2) + b"whatever it may be"
    path.write_bytes(newer)
    before = descriptors()
    with pytest.raises(NewerVersionError):
        adopt(path)
    assert descriptors() == before
    assert path.read_bytes() == newer


@pytest.mark.parametrize("offset", [8, 9])
def test_a_damaged_version_is_not_taken_for_a_newer_one(tmp_path: Path, offset: int) -> None:
    flip(an_orphan(tmp_path, 3), offset)
    assert recovered(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize("length", range(HEADER))
def test_a_file_that_is_shorter_than_a_header_holds_nothing(tmp_path: Path, length: int) -> None:
    path = an_orphan(tmp_path, 0)
    os.truncate(path, length)
    told: list[str] = []
    assert recovered(tmp_path, lambda topic, _: told.append(topic)) == []
    assert segments(tmp_path) == []
    assert told == ["damaged"] * (length > 0)


@pytest.mark.parametrize("lost", [1, 31, 32])
def test_records_whose_header_is_lost_are_sent_all_the_same(tmp_path: Path, lost: int) -> None:
    path = an_orphan(tmp_path, 5)
    path.write_bytes(path.read_bytes()[lost:])
    told: list[str] = []
    assert recovered(tmp_path, lambda topic, _: told.append(topic)) == list(range(5))
    assert segments(tmp_path) == []


def test_an_acknowledgement_is_not_written_over_records_that_lie_in_the_headers_place(tmp_path: Path) -> None:
    path = tmp_path / "0.journal"
    records = [record_of(b"\x01\x00t{%d" % number) for number in range(3)]
    assert len(records[0]) < 28
    path.write_bytes(b"".join(records))
    segment = adopted(path)
    segment.read_to = len(records[0])
    segment.acknowledge()
    segment.close()
    assert path.read_bytes() == b"".join(records)


# Acknowledgement


def acknowledged_to(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[16:24], "little")


def test_the_acknowledgement_is_that_of_the_oldest_unsettled_record(segment: Segment) -> None:
    starts = append(segment, [event(number) for number in range(4)])
    segment.read_to = starts[3]
    segment.taken = {number: starts[number] for number in range(3)}
    del segment.taken[1]
    segment.acknowledge()
    assert acknowledged_to(segment.path) == HEADER
    del segment.taken[0]
    segment.acknowledge()
    assert acknowledged_to(segment.path) == starts[2]
    assert not segment.done
    segment.taken.clear()
    segment.acknowledge()
    assert acknowledged_to(segment.path) == starts[3]
    assert not segment.done
    segment.read_to = segment.size
    assert segment.done


def test_the_acknowledgement_is_kept(segment: Segment) -> None:
    starts = append(segment, [event(number) for number in range(3)])
    segment.read_to = starts[2]
    segment.acknowledge()
    segment.close()
    again = adopted(segment.path)
    assert (again.read_to, again.acknowledged, again.size) == (starts[2], starts[2], segment.size)
    again.close()
    assert recovered(segment.path.parent) == [2]


@pytest.mark.parametrize("offset", range(16, 28))
def test_a_torn_acknowledgement_sends_everything_again(tmp_path: Path, offset: int) -> None:
    path = an_orphan(tmp_path, 3)
    segment = adopted(path)
    segment.read_to = segment.size
    segment.acknowledge()
    segment.close()
    flip(path, offset)
    assert recovered(tmp_path) == [0, 1, 2]


def test_an_acknowledgement_beyond_the_end_leaves_nothing_to_send(tmp_path: Path) -> None:
    """The file was cut behind our back, or a power cut undid its growth: what was acknowledged is delivered."""
    path = an_orphan(tmp_path, 3)
    content = path.read_bytes()
    path.write_bytes(header(acknowledged=10**12) + content[HEADER:])
    segment = adopted(path)
    assert segment.done
    assert segment.read_to == segment.size
    segment.close()
    assert recovered(tmp_path) == []
    assert segments(tmp_path) == []


# Failing


def test_a_record_that_is_written_in_part_only_is_an_error(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: write(descriptor, data[:-1], at))
    with pytest.raises(OSError, match="No space left"):
        segment.write(b"a record", segment.end)


def test_a_header_that_is_written_in_part_only_is_an_error_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, before = os.pwrite, descriptors()
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: write(descriptor, data[:10], at))
    with pytest.raises(OSError, match="No space left"):
        Segment.create(tmp_path)
    assert segments(tmp_path) == []
    assert descriptors() == before


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        Segment.create(tmp_path / "gone")
    assert descriptors() == before


def test_a_segment_that_somebody_has_deleted_says_so(segment: Segment) -> None:
    assert not segment.unlinked
    shutil.rmtree(segment.path.parent)
    assert segment.unlinked
    segment.path.parent.mkdir()
    segment.remove()


def test_a_segment_that_cannot_be_deleted_is_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment, before = adopted(an_orphan(tmp_path, 3)), descriptors()

    def unlink(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", unlink)
        with pytest.raises(PermissionError):
            segment.remove()
    assert descriptors() == before - 1
    assert recovered(tmp_path) == [0, 1, 2]


def test_what_is_closed_twice_closes_nobody_elses_file(segment: Segment) -> None:
    segment.close()
    with (segment.path.parent / "another").open("w") as another:
        segment.close()
        another.write("still open")
    with pytest.raises(OSError, match="Bad file descriptor"):
        segment.write(b"", 0)
