"""Completes drafts: an id and the timestamp come in front of what is there.

The timestamp is when the event was logged, to the microsecond. The id is a UUID of version 7: 48 bits of that time in
milliseconds; 24 of the draft's *place*, the upper 12 behind the version; 50 bits of a *seed*, XORed with what the place
has beyond 24 bits. Invariants:

* The same draft with the same seed and place is the same event, wherever and however often it is completed.
* Two drafts with one seed and different places have different ids; of those of one time, they are in the order of their
  places.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from functools import cache
from itertools import count
from typing import Final, TypeAlias, TypeVar

from .event import Draft, Event, up_to_second

SEED_BITS: Final = 50
PLACE_BITS: Final = 24
LOWER_BITS: Final = 12
"""Of a place: so many are in the fourth group of an id, the others in the third."""

_LOWER: Final = (1 << LOWER_BITS) - 1

_Texts: TypeAlias = tuple[bytes, ...]
"""Of 0 and what follows it."""
_Other = TypeVar("_Other", Event, Event | None)
"""What is no draft."""
_Beginning: TypeAlias = tuple[int, int, bytes, _Texts, bytes]
"""Of drafts of one millisecond: that, the random part of their ids, and what their heads have in common: the text in
front of a place's upper 12 bits, the texts of its lower 12 bits, and the text behind these."""


class Completion:
    """Safe to share between threads.

    To write an id and a timestamp costs more than all else that is done to send an event, and most of it is the same
    for hundreds of them.
    """

    def __init__(self) -> None:
        self._beginning: _Beginning = -1, 0, b"", (), b""
        self._second: tuple[int, bytes] = -1, b""
        self._upper = _texts(b"%03x", 4096)
        self._microseconds = _texts(b'%03dZ",', 1_000)

    def events(self, drafts: Iterable[_Other | Draft], seed: int, places: Iterable[int]) -> list[_Other]:
        """The events that ``drafts`` stand for, each of which has its place; what is none remains what it is."""
        events: list[_Other] = []
        upper, last_digits = self._upper, self._microseconds
        begun, with_random, before, lower, between = self._beginning
        stretch, front = -1, b""  # places that differ in their lower bits alone, and what is in front of these
        for draft, place in zip(drafts, places, strict=False):
            if not isinstance(draft, Draft):
                events.append(draft)
                continue
            microseconds = int(draft.created * 1e6)
            if begun != microseconds // 1_000 or stretch != place >> LOWER_BITS:
                stretch = place >> LOWER_BITS
                random = seed ^ (place >> PLACE_BITS)
                if begun != microseconds // 1_000 or with_random != random:
                    begun, with_random, before, lower, between = self._begin(microseconds // 1_000, random)
                front = before + upper[stretch & _LOWER]
            parts = (front, lower[place & _LOWER], between, last_digits[microseconds % 1_000], draft.body[1:])
            events.append(Event(draft.collection, b"".join(parts)))
        return events

    def _begin(self, milliseconds: int, random: int) -> _Beginning:
        second, text = self._second
        if second != milliseconds // 1_000:
            second, text = self._second = milliseconds // 1_000, up_to_second(milliseconds // 1_000).encode()
        before = b'{"id":"%08x-%04x-7' % (milliseconds >> 16 & 0xFFFFFFFF, milliseconds & 0xFFFF)
        between = b'-%012x","timestamp":"%b%03d' % (random & 0xFFFFFFFFFFFF, text, milliseconds % 1_000)
        beginning = self._beginning = milliseconds, random, before, _lower(random >> 48), between
        return beginning


@cache
def _texts(form: bytes, count: int) -> _Texts:
    """Of the numbers from 0: half a millisecond's work, for all of a process."""
    return tuple([form % number for number in range(count)])


@cache
def _lower(bits: int) -> _Texts:
    """Of 12 bits behind the variant, which is 2 bits, and before two ``bits`` of a seed."""
    return tuple([b"-%x%03x" % (8 | low >> 10, (low & 0x3FF) << 2 | bits) for low in range(4096)])


class OrderedCompletion:
    """Completes each draft once, in the order in which they come, with a seed of its own."""

    def __init__(self) -> None:
        self._completion = Completion()
        self._seed = secrets.randbits(SEED_BITS)
        self._places = count()

    def events(self, drafts: Iterable[Event | Draft]) -> list[Event]:
        """The events that ``drafts`` become."""
        return self._completion.events(drafts, self._seed, self._places)
