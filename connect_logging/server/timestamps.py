"""Timestamps as the stores keep them: microseconds since 1970.

What a timestamp may be, :func:`~connect_logging.rules.parse_timestamp` says; this agrees with it, and is quicker.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, cast

from ..rules import parse_timestamp

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = len("2015-07-17T11:11:11.")
_MILLISECOND: Final = len("2015-07-17T11:11:11.111")
_THOUSANDTHS: Final = {f"{number:03}": 1_000 * number for number in range(1_000)}
_MILLIONTHS: Final[dict[str, int]] = {"Z": 0} | {
    f"{number:0{digits}}Z": number * 10 ** (3 - digits) for digits in (1, 2, 3) for number in range(10**digits)
}
"""Microseconds: by the three digits after the second, and by the rest of a timestamp of the usual form."""
_SECONDS_KNOWN: Final = 4_096


class Timestamps:
    """Reads timestamps, those of the usual form (``2015-07-17T11:11:11.111Z``) five times faster than the rules.

    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, int] = {}
        """Microseconds since 1970, by the beginning of a timestamp: a few begin those of most events."""

    def all_microseconds(self, timestamps: Sequence[object]) -> list[int]:
        """Of each. Where all are of the usual form, and their seconds are known, in two thirds of the time."""
        seconds = self._seconds
        try:
            return [
                seconds[each[:_SECOND]] + _THOUSANDTHS[each[_SECOND:_MILLISECOND]] + _MILLIONTHS[each[_MILLISECOND:]]
                for each in cast("Sequence[str]", timestamps)
            ]
        except (KeyError, TypeError):
            return [*map(self.microseconds, timestamps)]

    def microseconds(self, timestamp: object) -> int:
        """``timestamp``, text or a datetime. Raises ValueError that says what is wrong with it."""
        if type(timestamp) is not str:
            return _since_epoch(parse_timestamp(timestamp))
        begin = timestamp[:_SECOND]
        try:
            fraction = _THOUSANDTHS[timestamp[_SECOND:_MILLISECOND]] + _MILLIONTHS[timestamp[_MILLISECOND:]]
        except KeyError:
            return _since_epoch(parse_timestamp(timestamp))
        second = self._seconds.get(begin)
        return (self._read_second(begin) if second is None else second) + fraction

    def _read_second(self, begin: str) -> int:
        second = _since_epoch(parse_timestamp(begin + "0Z"))
        if len(self._seconds) >= _SECONDS_KNOWN:
            self._seconds.clear()
        self._seconds[begin] = second
        return second


def _since_epoch(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
