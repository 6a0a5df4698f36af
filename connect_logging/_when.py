"""Timeframes that are counted in periods of the calendar: ``last(3).days``."""

from __future__ import annotations

from typing import Any

import msgspec


class Relative(msgspec.Struct, frozen=True):
    """``document``: as a query's ``timeframe`` has it."""

    document: Any


class Periods(msgspec.Struct, frozen=True):
    """So many periods of a kind that is still to be said, all of them complete or the last one the current one."""

    which: str
    number: int

    @property
    def minutes(self) -> Relative:
        """Of 60 seconds."""
        return self._of("minutes")

    @property
    def hours(self) -> Relative:
        """From the full hour."""
        return self._of("hours")

    @property
    def days(self) -> Relative:
        """From midnight, in the query's time zone, as are all that follow."""
        return self._of("days")

    @property
    def weeks(self) -> Relative:
        """From Sunday."""
        return self._of("weeks")

    @property
    def months(self) -> Relative:
        """From the first day."""
        return self._of("months")

    @property
    def quarters(self) -> Relative:
        """From January, April, July and October."""
        return self._of("quarters")

    @property
    def years(self) -> Relative:
        """From January."""
        return self._of("years")

    def _of(self, name: str) -> Relative:
        return Relative({self.which: {name: self.number}})


def last(number: int) -> Periods:
    """The last ``number`` complete periods, without the current one."""
    return Periods("previous", number)


def current(number: int) -> Periods:
    """The current period and those before it, ``number`` in all."""
    return Periods("current", number)
