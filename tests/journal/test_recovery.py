"""Recovery: any damage to a journal costs what was hit and nothing else; the directory is ours alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import pytest
from journaling import (
    FULL,
    HEADER,
    Troubles,
    a_spool,
    an_orphan,
    append,
    event,
    flip,
    numbers,
    put_all,
    recovered,
    segments,
    take_all,
    weight,
)

from connect_logging._journal.payload import Codec
from connect_logging._journal.recovery import (
    DAMAGED_SUFFIX,
    SegmentInfo,
    adopt_orphans,
    inspect,
    open_directory,
    set_aside,
)
from connect_logging._journal.segment import Segment
from connect_logging.exceptions import ConfigurationError

COUNT = 20


class Sweep:
    """A journal of 20 events, of which 5 are acknowledged, damaged again and again, and what became of each event."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        segment = Segment.create(directory)
        self.starts = append(segment, [event(number, 30 + number) for number in range(COUNT)])
        self.ends = [*self.starts[1:], segment.end]
        segment.read_to = self.starts[5]
        segment.acknowledge()
        segment.close()
        self.path = segment.path
        self.damaged = self.path.with_suffix(DAMAGED_SUFFIX)
        self.content = self.path.read_bytes()
        self.states = self.undamaged = self.found = 0

    def try_out(self, content: bytes, intact: Callable[[int], bool], damaged: range) -> None:
        """``intact``: whether an event is to survive. ``damaged``: how many bytes may be set aside."""
        self.path.write_bytes(content)
        troubles = Troubles()
        spool = a_spool(self.directory, trouble=troubles.tell)
        spool.maintain()
        came = take_all(spool)
        found = numbers(came)
        expected = [number for number in range(COUNT) if intact(number)]
        assert [number for number in found if number >= 5] == [number for number in expected if number >= 5]
        assert found in (expected, [number for number in expected if number >= 5]), "in order, and none is made up"
        assert [each for each, _ in came] == [event(number, 30 + number) for number in found]
        aside = spool.figures()["damaged_bytes"]
        assert aside in damaged
        if aside:
            assert set(troubles.topics) == {"damaged"}
            assert self.damaged.stat().st_size == aside
            assert stat.S_IMODE(self.damaged.stat().st_mode) == 0o600
            self.damaged.unlink()
        else:
            assert troubles == []
        assert not self.damaged.exists()
        spool.release(came)
        spool.close()
        assert not self.path.exists()
        self.states += 1
        self.undamaged += sum(number >= 5 for number in expected)
        self.found += sum(number >= 5 for number in found)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


MASKS = [1 << bit for bit in range(8)] + [0xFF, 0x2A] if FULL else [0x01, 0xFF]


def test_row_17_every_byte_flipped(sweep: Sweep, figure: Callable[[str, str], None]) -> None:
    size = len(sweep.content)
    for offset in range(size):
        for mask in MASKS:
            content = bytearray(sweep.content)
            content[offset] ^= mask
            hit = [number for number in range(COUNT) if sweep.starts[number] <= offset < sweep.ends[number]]
            # What is acknowledged is not looked at, and a header is repaired by what it says twice.
            unread = HEADER <= offset < sweep.starts[5] or offset < HEADER
            lost = 0 if unread else weight(event(hit[0], 30 + hit[0]))
            sweep.try_out(bytes(content), lambda number, hit=hit: number not in hit, range(lost, lost + 1))
    percent = 100 * sweep.found / sweep.undamaged
    figure("17", f"each of {size:,} bytes flipped in {len(MASKS)} ways: {percent:g} % of the undamaged recovered")
    assert sweep.states == size * len(MASKS)
    assert sweep.found == sweep.undamaged


def test_row_17_truncated_at_every_length(sweep: Sweep, figure: Callable[[str, str], None]) -> None:
    size = len(sweep.content)
    for length in range(size + 1):
        start = next((start for start in reversed(sweep.starts) if start <= length), 0)
        torn = length if length < HEADER else 0 if length in (*sweep.ends, HEADER) else length - start
        if HEADER <= length < sweep.starts[5]:
            torn = 0  # all of it is acknowledged
        sweep.try_out(
            sweep.content[:length], lambda number, length=length: sweep.ends[number] <= length, range(torn, torn + 1)
        )
    percent = 100 * sweep.found / sweep.undamaged
    figure("17", f"truncated at each of {size + 1:,} lengths: {percent:g} % of the undamaged recovered")
    assert sweep.found == sweep.undamaged


@pytest.mark.parametrize("block", [1, 37, 512])
def test_row_17_blocks_zeroed_and_cut_out(sweep: Sweep, figure: Callable[[str, str], None], block: int) -> None:
    """As file systems and careless tools do it: with or without a shift of what follows."""
    size = len(sweep.content)
    step = 1 if FULL else max(1, block // 8, size // 300)
    for offset in range(HEADER, size, step):
        end = min(size, offset + block)

        def intact(number: int, offset: int = offset, end: int = end) -> bool:
            return sweep.ends[number] <= offset or sweep.starts[number] >= end

        some = range(len(sweep.content) + block + 1)
        before, hit, after = sweep.content[:offset], sweep.content[offset:end], sweep.content[end:]
        if any(hit):
            changed = [number for number in range(COUNT) if not intact(number)]
            zeroed = before + bytes(len(hit)) + after
            same = {
                number
                for number in changed
                if zeroed[sweep.starts[number] : sweep.ends[number]]
                == sweep.content[sweep.starts[number] : sweep.ends[number]]
            }
            sweep.try_out(zeroed, lambda number, same=same: intact(number) or number in same, some)
        if offset >= sweep.starts[5]:  # else the acknowledgement no longer points at the same event
            sweep.path.write_bytes(before + after)
            found = recovered(sweep.directory, Troubles().tell)
            sweep.damaged.unlink(missing_ok=True)
            expected = [number for number in range(5, COUNT) if intact(number)]
            assert [number for number in found if number in expected] == expected
            assert found == sorted({*found} & {*range(5, COUNT)})
            sweep.states += 1
    assert sweep.found == sweep.undamaged
    figure("17", f"blocks of {block} zeroed or cut out: {sweep.states} files, nothing undamaged lost")


def test_damaged_parts_are_added_to_those_before(tmp_path: Path) -> None:
    path = an_orphan(tmp_path, 3)
    size = weight(event(0))
    content = path.read_bytes()
    flip(path, HEADER)
    flip(path, HEADER + 2 * size + 3)
    damaged = path.read_bytes()
    assert recovered(tmp_path, Troubles().tell) == [1]
    aside = path.with_suffix(DAMAGED_SUFFIX)
    assert aside.read_bytes() == damaged[HEADER : HEADER + size] + damaged[HEADER + 2 * size :]
    path.write_bytes(content)
    flip(path, HEADER)
    assert recovered(tmp_path, Troubles().tell) == [1, 2]
    assert aside.stat().st_size == 3 * size


def test_damage_that_is_larger_than_memory_should_hold_is_set_aside_in_pieces(tmp_path: Path) -> None:
    segment = Segment.create(tmp_path)
    size = 3 * 1024 * 1024 + 17
    segment.write(os.urandom(1_000) + bytes(size - 1_000), HEADER)
    troubles = Troubles()
    set_aside(segment, HEADER, HEADER + size, troubles.tell)
    assert segment.path.with_suffix(DAMAGED_SUFFIX).read_bytes() == segment.path.read_bytes()[HEADER:]
    assert troubles.topics == ["damaged"]
    assert "3,145,745 bytes" in troubles[0][1]
    segment.remove()


def test_what_cannot_be_set_aside_is_told_and_holds_up_nothing(tmp_path: Path) -> None:
    path, troubles = an_orphan(tmp_path, 3), Troubles()
    victim = tmp_path / "victim"
    victim.write_text("not ours")
    path.with_suffix(DAMAGED_SUFFIX).symlink_to(victim)
    flip(path, HEADER)
    assert recovered(tmp_path, troubles.tell) == [1, 2]
    assert troubles.topics == ["damaged", "damaged"]
    assert "could not be written" in troubles[1][1]
    assert victim.read_text() == "not ours"


# Orphans


@pytest.fixture
def adopted(tmp_path: Path) -> Iterator[Callable[[], list[Segment]]]:
    """Adopts all; told to ``troubles`` of the call. Closed at the end."""
    made: list[Segment] = []

    def adopt() -> list[Segment]:
        made[:] = adopt_orphans(tmp_path, {segment.path for segment in made}, Codec(), Troubles().tell)
        return list(made)

    yield adopt
    for segment in made:
        segment.close()


def test_orphans_are_counted_from_their_acknowledgement(tmp_path: Path, adopted: Callable[[], list[Segment]]) -> None:
    for count in (3, 0, 2):
        an_orphan(tmp_path, count)
    flip(segments(tmp_path)[0], HEADER)
    assert [(segment.path, segment.unread) for segment in adopted()] == list(
        zip(segments(tmp_path), [2, 0, 2], strict=True)
    )


def test_what_is_ours_and_what_is_in_use_is_no_orphan(tmp_path: Path) -> None:
    ours, in_use = an_orphan(tmp_path, 1), Segment.create(tmp_path)
    assert list(adopt_orphans(tmp_path, {ours}, Codec(), Troubles().tell)) == []
    in_use.close()


def test_what_cannot_be_adopted_is_told_and_the_next_one_is(tmp_path: Path) -> None:
    (tmp_path / "0.journal").mkdir()
    newer = an_orphan(tmp_path, 1)
    fixed = newer.read_bytes()[:8] + b"\x02" + newer.read_bytes()[9:16]
    newer.write_bytes(fixed + newer.read_bytes()[16:28] + crc32(fixed).to_bytes(4, "little") + b"the future")
    good, troubles = an_orphan(tmp_path, 1), Troubles()
    [segment] = adopt_orphans(tmp_path, (), Codec(), troubles.tell)
    assert segment.path == good
    assert troubles == [
        ("orphans", "0.journal cannot be read: Is a directory"),
        ("newer", f"{newer.name} was written by a newer version and is left alone"),
    ]
    segment.close()


def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    troubles = Troubles()
    assert list(adopt_orphans(tmp_path / "gone", (), Codec(), troubles.tell)) == []
    assert troubles.topics == ["orphans"]


# Looking


def test_people_are_shown_what_lies_there(tmp_path: Path) -> None:
    orphan, empty = an_orphan(tmp_path, 3), an_orphan(tmp_path, 0)
    spool = a_spool(tmp_path)
    put_all(spool, 2)
    taken = spool.take(1, 10)
    spool.release(taken)
    in_use = segments(tmp_path)[-1]
    (tmp_path / "z.journal").symlink_to("nowhere")
    before = {path: path.read_bytes() for path in segments(tmp_path)[:3]}
    assert inspect(tmp_path) == [
        SegmentInfo(orphan.name, orphan.stat().st_size, "orphan", os.getpid(), 3, event(0)),
        SegmentInfo(empty.name, HEADER, "orphan", os.getpid(), 0),
        SegmentInfo(in_use.name, in_use.stat().st_size, "in use", os.getpid(), 1, event(1)),
        SegmentInfo("z.journal", 7, "unreadable", problem="Too many levels of symbolic links"),
    ]
    assert {path: path.read_bytes() for path in segments(tmp_path)[:3]} == before
    spool.close()


# The directory


def test_the_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    made = open_directory(tmp_path / "var" / "spool")
    assert made == tmp_path / "var" / "spool"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    made.chmod(0o755)
    assert stat.S_IMODE(open_directory(str(made)).stat().st_mode) == 0o700


def test_a_relative_directory_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_directory("spool") == tmp_path / "spool"


def test_what_is_no_directory_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "used").mkdir()
    (tmp_path / "used").chmod(0o755)  # whatever the umask is
    (tmp_path / "used" / "notes.txt").touch()
    for name, words in {
        "file": "must be a directory, not a link or file",
        "file/below": "cannot be made: Not a directory",
        "link": "must be a directory, not a link",
        "shared": "is shared with other users",
        "used": "has files of something else",
    }.items():
        with pytest.raises(ConfigurationError, match=words):
            open_directory(tmp_path / name)
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o1777
    (tmp_path / "used" / "dead-letters.log").touch()
    open_directory(tmp_path / "used")  # a spool of which all was sent, and that others were allowed into since
    assert stat.S_IMODE((tmp_path / "used").stat().st_mode) == 0o700


def test_what_is_made_is_closed_to_others_and_so_is_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(0o755)
    for name in ("a/b/c", "open"):
        open_directory(tmp_path / name)
    for name in ("a", "a/b", "a/b/c", "open"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        open_directory(theirs)
