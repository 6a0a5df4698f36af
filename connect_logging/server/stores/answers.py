"""The rows of an answer, as long as they are not too much for the memory that is outside of the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from ..query.answer import TooManyResultsError

MAX_ANSWER_LENGTH: Final = 67_108_864
"""Characters of text in the rows of one answer: 10,000 rows may hold ten times as many."""


def collect(parts: Iterable[Sequence[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """All rows of ``parts``. Raises TooManyResultsError."""
    rows: list[tuple[Any, ...]] = []
    left = MAX_ANSWER_LENGTH
    for part in parts:
        rows += part
        left -= sum(len(value) for row in part for value in row if isinstance(value, str))
        if left < 0:
            raise too_large()
    return rows


def too_large() -> TooManyResultsError:
    """What is raised when an answer is."""
    return TooManyResultsError(f"too large results: an answer has at most {MAX_ANSWER_LENGTH:,} characters")
