"""Timeframes in periods are written as a query's JSON has them."""

from __future__ import annotations

import pytest

from connect_logging._terms import PERIODS
from connect_logging._when import Periods, Relative, current, last


@pytest.mark.parametrize("period", PERIODS)
def test_every_period_can_be_reached(period: str) -> None:
    assert getattr(last(3), period) == Relative({"previous": {period: 3}})
    assert getattr(current(1), period) == Relative({"current": {period: 1}})


def test_there_are_no_other_periods() -> None:
    assert {name for name, value in vars(Periods).items() if isinstance(value, property)} == set(PERIODS)
