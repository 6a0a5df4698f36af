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
from functools import cache
from itertools import count
from typing import Final, TypeAlias

from .event import Draft, Event, up_to_second

SEED_BITS: Final = 50
PLACE_BITS: Final = 24

_Beginning: TypeAlias = tuple[int, float, int, bytes, bytes]
"""Of drafts of one millisecond: that, the second, the random part of their ids, and what their heads have in common,
before and behind what tells them apart."""


class Completion:
    """Safe to share between threads.

    To write an id and a timestamp costs more than all else that is done to send an event, and most of it is the same
    for hundreds of them.
    """

    def __init__(self) -> None:
        self._beginning: _Beginning = -1, -1.0, 0, b"", b""
        self._three_digits = _three_digits()
        self._variants = [b"-%x" % (8 | bits) for bits in range(4)]

    def event(self, draft: Draft, seed: int, place: int) -> Event:
        """The event that ``draft`` stands for."""
        return Event(draft.collection, self.body(draft.body[1:], draft.created, seed, place))

    def body(self, rest: bytes, created: float, seed: int, place: int) -> bytes:
        """A whole body. ``rest``: that of the draft, without its ``{``; ``created``: as in a draft."""
        random = seed ^ (place >> PLACE_BITS)
        milliseconds, second = int(created * 1_000), created // 1.0
        of_milliseconds, of_second, of_random, before, between = self._beginning
        if of_milliseconds != milliseconds or of_second != second or of_random != random:
            before, between = self._begin(milliseconds, second, random)
        low = place & 0xFFF
        return b'%b%b%b%b%b%06dZ",%b' % (
            before,
            self._three_digits[place >> 12 & 0xFFF],
            self._variants[low >> 10],
            self._three_digits[(low & 0x3FF) << 2 | random >> 48],
            between,
            created % 1.0 * 1e6,
            rest,
        )

    def _begin(self, milliseconds: int, second: float, random: int) -> tuple[bytes, bytes]:
        _, of_second, of_random, _, between = self._beginning
        if of_second != second or of_random != random:
            between = b'-%012x","timestamp":"%b' % (random & 0xFFFFFFFFFFFF, up_to_second(second).encode())
        before = b'{"id":"%08x-%04x-7' % (milliseconds >> 16 & 0xFFFFFFFF, milliseconds & 0xFFFF)
        self._beginning = milliseconds, second, random, before, between
        return before, between


@cache
def _three_digits() -> tuple[bytes, ...]:
    """The texts of all numbers of 12 bits: half a millisecond's work, for all of a process."""
    return tuple([b"%03x" % number for number in range(4096)])


class OrderedCompletion:
    """Completes each draft once, in the order in which they come, with a seed of its own."""

    def __init__(self) -> None:
        self._completion = Completion()
        self._seed = secrets.randbits(SEED_BITS)
        self._places = count()

    def event(self, draft: Draft) -> Event:
        """The event that ``draft`` becomes."""
        return self._completion.event(draft, self._seed, next(self._places))
