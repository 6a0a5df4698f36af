"""Lines out of pieces: each once, whole, numbered, in bounded memory and time."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connect_logging.server.transfers import lines
from connect_logging.server.transfers.lines import MAX_LINE_BYTES, DamagedSourceError, inflated, read_lines

BOM = b"\xef\xbb\xbf"


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """``data`` in pieces of these sizes, the last of what is left."""
    position = 0
    for size in sizes:
        yield data[position : position + size]
        position += size
    yield data[position:]


BLANKS = st.sampled_from([b"", b" ", b"\t\r", b" x", b"x "])
LINES = BLANKS | st.binary(max_size=6).filter(lambda line: b"\n" not in line)


@given(st.lists(LINES), st.lists(st.integers(0, 20)))
@example([BOM], [])
@example([BOM + b" ", BOM], [1])
def test_each_line_comes_once_with_its_number_however_it_is_cut(content: list[bytes], sizes: list[int]) -> None:
    without_mark = b"\n".join(content).removeprefix(BOM).split(b"\n")
    expected = [(number, line) for number, line in enumerate(without_mark, 1) if line and not line.isspace()]
    assert [*read_lines(cut(b"\n".join(content), sizes))] == expected


def test_a_line_of_a_source_that_breaks_off_is_not_handed_on() -> None:
    def breaking() -> Iterator[bytes]:
        yield b'{"a":1}\n{"b"'
        raise OSError("gone")

    found = read_lines(breaking())
    assert next(found) == (1, b'{"a":1}')
    with pytest.raises(OSError, match="gone"):
        next(found)


@pytest.mark.parametrize("piece", [1_000, 300_000, 5_000_000])
def test_a_line_that_is_too_long_is_skipped_without_being_held(piece: int) -> None:
    data = b"a\n" + b"x" * (MAX_LINE_BYTES + 1) + b"\nb\n" + b"y" * MAX_LINE_BYTES + b"\n" + b"z" * (3 * MAX_LINE_BYTES)
    found = [*read_lines(cut(data, [piece] * (len(data) // piece)))]
    assert [(number, line and line[:1]) for number, line in found] == [
        (1, b"a"),
        (2, None),
        (3, b"b"),
        (4, b"y"),
        (5, None),
    ]


@pytest.mark.parametrize("blank", [b"\n", b" \n"])
def test_blank_lines_are_counted_and_not_looked_at_one_by_one(blank: bytes) -> None:
    run = 0

    def count(*_: object) -> object:
        nonlocal run
        run += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        found = [*read_lines([blank * 100_000, b"x\n"])]
    finally:
        sys.settrace(before)
    assert found == [(100_001, b"x")]
    assert run < 100, "steps of Python"


@given(st.lists(st.binary(max_size=300), min_size=1), st.lists(st.integers(0, 50)))
def test_gzip_of_any_members_is_inflated_however_it_is_cut(members: list[bytes], sizes: list[int]) -> None:
    packed = b"".join(map(gzip.compress, members))
    assert b"".join(inflated(cut(packed, sizes))) == b"".join(members)


def test_what_an_inflater_still_holds_when_all_is_fed_comes_too() -> None:
    content = bytes(5 * lines._PIECE)
    assert b"".join(inflated([gzip.compress(content)])) == content


ABC = gzip.compress(b"abc", mtime=0)


@pytest.mark.parametrize("packed", [b"", b"{}", ABC[:-1], ABC + b"x", ABC + ABC + b"\x1f\x8b", b"\x1f\x8b"])
def test_what_is_no_gzip_to_its_end_is_damaged(packed: bytes) -> None:
    with pytest.raises(DamagedSourceError, match="gzip"):
        list(inflated([packed]))


def test_a_bomb_is_given_up() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(100)) + packer.flush()
    made = 0
    parts = inflated([bomb])
    with pytest.raises(DamagedSourceError, match="250 times"):  # noqa: PT012
        while True:
            made += len(next(parts))
    assert made < lines.RATIO_FROM + lines._PIECE
    assert len(bomb) < 200_000
