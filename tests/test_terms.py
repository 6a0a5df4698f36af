"""The words of the query language."""

from __future__ import annotations

from connect_logging import _terms


def test_every_spelling_is_in_lower_case_and_means_an_operator() -> None:
    assert all(name == name.lower() for name in _terms.OPERATORS)
    assert _terms.OPERATORS["endswidth"] == _terms.OPERATORS["endswith"] == "endsWith"
    assert _terms.OPERATORS["ne"] == "neq"


def test_the_relative_timeframes_are_the_documented_ones() -> None:
    assert " ".join(_terms.RELATIVE_TIMEFRAMES) == (
        "this_minute last_minute this_hour last_hour today yesterday this_week last_week this_month last_month"
        " this_quarter last_quarter this_year last_year"
    )
