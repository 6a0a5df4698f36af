"""Events of one collection, held by column: so they come, and so a database takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, compress
from typing import Literal, Self, TypeAlias, overload

from .base import NewEvent

Kind: TypeAlias = Literal["text", "whole", "fraction", "boolean", "texts"]
"""Of JSON's values. ``whole``: a number from 0 to 2^63 - 1, without a fraction. ``texts``: an array of strings."""

Shape: TypeAlias = "tuple[tuple[str, Kind | Shape], ...]"
"""Of an object: the kind of each property by its name, or its own shape."""


class Batch(Sequence[NewEvent]):
    """``ids``, ``timestamps`` and documents of as many events, see :class:`~.base.NewEvent`.

    ``lines``: each document, which has no newline, and a newline.
    ``shape``: of each document, which has these properties, all of them and no other. None where it is not known, or
    they have no such shape.
    """

    __slots__ = ("ids", "lines", "shape", "timestamps")

    def __init__(self, ids: Sequence[str], timestamps: Sequence[int], lines: bytes, shape: Shape | None = None) -> None:
        self.ids = ids
        self.timestamps = timestamps
        self.lines = lines
        self.shape = shape

    @classmethod
    def of(cls, events: Sequence[NewEvent]) -> Self:
        """``events`` by column, if they are not yet."""
        if isinstance(events, cls):
            return events
        if not events:
            return cls((), (), b"")
        ids, timestamps, documents = zip(*events, strict=True)
        return cls(ids, timestamps, _lines(documents))

    @classmethod
    def joined(cls, batches: Sequence[Self]) -> Self:
        """All of them, at least one, in their order."""
        if len(batches) == 1:
            return batches[0]
        shapes = {batch.shape for batch in batches}
        return cls(
            [*chain.from_iterable([batch.ids for batch in batches])],
            [*chain.from_iterable([batch.timestamps for batch in batches])],
            b"".join([batch.lines for batch in batches]),
            shapes.pop() if len(shapes) == 1 else None,
        )

    def chosen(self, which: Sequence[bool]) -> Self:
        """Those for which ``which`` says so."""
        if all(which):
            return self
        return type(self)(
            [*compress(self.ids, which)],
            [*compress(self.timestamps, which)],
            _lines([*compress(self.documents, which)]),
            self.shape,
        )

    @property
    def documents(self) -> list[bytes]:
        """Each by itself."""
        return self.lines.split(b"\n")[:-1]

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[NewEvent]:
        return map(NewEvent, self.ids, self.timestamps, self.documents)

    @overload
    def __getitem__(self, place: int) -> NewEvent: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> NewEvent | Self:
        if isinstance(place, slice):
            return type(self)(self.ids[place], self.timestamps[place], _lines(self.documents[place]), self.shape)
        return NewEvent(self.ids[place], self.timestamps[place], self.documents[place])


def _lines(documents: Sequence[bytes]) -> bytes:
    return b"\n".join([*documents, b""])
