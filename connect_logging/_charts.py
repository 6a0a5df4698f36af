"""Charts of characters, for terminals and files alike: no colours, and no line longer than asked for.

Bars are of block characters, an eighth of a column fine; a line is of braille dots, two by four to a character.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from rich.cells import cell_len, set_cell_size

HEIGHT: Final = 9
"""Lines of the plot of a line chart; odd, so that one is in the middle."""

_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille character, by row and column of its dots."""
_BRAILLE: Final = 0x2800

Values = Sequence[float | None]


def bars(labels: Sequence[str], values: Values, width: int) -> Iterator[str]:
    """A line for each value: its label, a bar from zero, to the left when negative, and the number."""
    numbers = [_number(value) for value in values]
    side = min(max(map(cell_len, labels), default=0), width // 3)
    shares = _shares(values)
    least, most = min(0.0, 0.0, *shares), max(0.0, 0.0, *shares)
    room = max(4, width - side - max(map(len, numbers), default=0) - 2)
    scale = room / (most - least) if most > least else 0.0
    zero = int(-least * scale)
    for label, share, number in zip(labels, shares, numbers, strict=True):
        bar = _bar(share, scale, zero)
        yield f"{_fitted(label, side)} {bar} {number}".rstrip()


def _shares(values: Values) -> list[float]:
    """The values in relation to the largest of them: of numbers at the ends of their range neither sum overflows."""
    largest = max((abs(value) for value in values if value is not None), default=0) or 1
    return [(value or 0) / largest for value in values]


def _bar(share: float, scale: float, zero: int) -> str:
    if share < 0:
        size = int(-share * scale)
        return " " * (zero - size) + "█" * size
    whole, eighths = divmod(int(share * scale * 8), 8)
    return " " * zero + "█" * whole + _EIGHTHS[eighths].strip()


def line(labels: Sequence[str], values: Values, width: int) -> Iterator[str]:
    """The values from left to right, ``HEIGHT`` lines high, with a scale; a gap where one is None."""
    least, most = _range([value for value in values if value is not None])
    parts = [(HEIGHT - 1 - row) / (HEIGHT - 1) for row in range(HEIGHT)]
    scale = [_rounded(most * part + least * (1 - part)) for part in parts]
    ticks = {0, HEIGHT // 2, HEIGHT - 1}
    side = max(len(scale[row]) for row in ticks)
    columns = max(2, width - side - 2)
    canvas = _plotted(values, least, most, columns)
    for row, dots in enumerate(canvas):
        edge = f"{scale[row]:>{side}} ┤" if row in ticks else f"{'':{side}} │"
        yield f"{edge}{''.join(chr(_BRAILLE + each) if each else ' ' for each in dots)}".rstrip()
    yield f"{'':{side}} └{'─' * columns}"
    yield f"{'':{side}}  {_ends(labels, columns)}".rstrip()


def _range(values: Sequence[float]) -> tuple[float, float]:
    """What the scale goes from and to: from zero where that leaves room for what differs."""
    least, most = min(values, default=0.0), max(values, default=0.0)
    if 0 <= least <= most / 2 or 0 <= least == most:
        least = 0.0
    return least, most if most > least else least + (abs(least) or 1.0)


def _plotted(values: Values, least: float, most: float, columns: int) -> list[list[int]]:
    canvas = [[0] * columns for _ in range(HEIGHT)]
    across, down = 2 * columns - 1, 4 * HEIGHT - 1
    step = across / max(1, len(values) - 1)
    top, bottom, *shares = _shares([most, least, *values])
    points = [
        None if value is None else (round(at * step), round(down * (top - share) / (top - bottom)))
        for at, (value, share) in enumerate(zip(values, shares, strict=True))
    ]
    for point in points:
        if point is not None:
            _dot(canvas, *point)
    for start, end in pairwise(points):
        if start is not None and end is not None:
            steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
            for each in range(steps):
                part = each / steps
                _dot(canvas, round(start[0] + (end[0] - start[0]) * part), round(start[1] + (end[1] - start[1]) * part))
    return canvas


def _dot(canvas: list[list[int]], x: int, y: int) -> None:
    canvas[y // 4][x // 2] |= _DOTS[y % 4][x % 2]


def _ends(labels: Sequence[str], columns: int) -> str:
    """The first and the last label, at their ends."""
    if not labels:
        return ""
    first, last = labels[0], labels[-1]
    gap = columns - cell_len(first) - cell_len(last)
    return f"{first}{' ' * gap}{last}" if gap > 0 and len(labels) > 1 else _fitted(first, columns)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e12 else f"{value:.4g}"


def _fitted(text: str, size: int) -> str:
    return text + " " * (size - cell_len(text)) if cell_len(text) <= size else f"{set_cell_size(text, size - 1)}…"
