"""What a server says of when to come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from connect_logging._http import retry_after


def refusal(**fields: str) -> requests.Response:
    response = requests.Response()
    response.headers.update({name.replace("_", "-"): value for name, value in fields.items()})
    return response


@pytest.mark.parametrize("behind", [timedelta(0), timedelta(days=4_000), timedelta(days=-4_000)])
def test_a_date_counts_from_that_of_the_answer_whatever_our_clock_says(behind: timedelta) -> None:
    said = datetime.now(UTC) + behind
    for seconds, wait in ((30, 30.0), (0, 0.0), (-30, 0.0)):
        until = format_datetime(said + timedelta(seconds=seconds), usegmt=True)
        assert retry_after(refusal(Date=format_datetime(said, usegmt=True), Retry_After=until)) == wait


@pytest.mark.parametrize("date", [None, "yesterday", "Wed, 99 Oct 2015 07:28:00 GMT"])
def test_without_a_date_of_the_answer_ours_has_to_do(date: str | None) -> None:
    until = {"Retry_After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert retry_after(refusal(**until, **({} if date is None else {"Date": date}))) in (0.0, None)


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("0", 0.0), ("soon", None), ("-1", None)])
def test_seconds_are_seconds(value: str, seconds: float | None) -> None:
    now = format_datetime(datetime.now(UTC), usegmt=True)
    assert retry_after(refusal(Date=now, Retry_After=value)) == seconds


@pytest.mark.parametrize("date", ["yesterday", "", "Wed, 21 Oct 20151021 07:28:00 GMT"])
def test_seconds_need_no_date(date: str) -> None:
    assert retry_after(refusal(Date=date, Retry_After="7")) == 7.0


def test_nothing_said_is_nothing() -> None:
    assert retry_after(refusal()) is None
