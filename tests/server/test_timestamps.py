"""Timestamps mean what the rules say, the usual ones too, which are read by a way of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_logging.rules import parse_timestamp
from connect_logging.server.timestamps import Timestamps

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
USUAL = "2015-07-17T11:11:11.000001Z"
USUAL_TIME = 1_437_131_471_000_001


@pytest.mark.parametrize(
    "timestamp",
    ["2015-07-17t11:11:11.1234567z", "2015-02-05T14:55:56+0000", "2015-08-01T00:00:00", "2015-07-17 11:11:11.1-05",
     "2015-07-17T11:11:11.123456Z", "2015-07-17T11:11:11.12345678Z", "2015-07-17T11:11:11Z",
     "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
     "2015-07-17T11:11:11-00:30", "2015-07-17T11:11:11.5Z", "2015-07-17T11:11:11.050Z", "2015-07-17T11:11:12.0Z",
     "2015-07-17T11:11:11.12Z", "2015-07-17T11:11:11.0123Z", "2015-07-17T11:11:11.01234Z",
     "2015-07-17T11:11:11.123456"],
)  # fmt: skip
def test_every_form_of_time_means_what_the_rules_say(timestamp: str) -> None:
    timestamps = Timestamps()
    expected = (parse_timestamp(timestamp) - EPOCH) // timedelta(microseconds=1)
    assert [timestamps.microseconds(timestamp) for _ in range(2)] == [expected] * 2
    assert timestamps.all_microseconds([USUAL, timestamp, USUAL]) == [USUAL_TIME, expected, USUAL_TIME]


@pytest.mark.parametrize(
    "timestamp",
    ["2015-07-17T11:11:11.12345\u0666Z", "2015-07-17T11:11:11.1_2Z", "2015-07-17T11:11:11.Z", "2015-07-17T11:11:61.5Z",
     "2015-07-17T11:11:11+1Z", "2015-07-17T11:11:11,123Z", "15-07-17T11:11:11.1111111Z", ".000000Z",
     "2015-07-17T11:11:11+123Z", "2015-07-17T11:11:11.123456ZZ",
     "2015-07-17T11:11:11.\u0661\u0662\u0663Z", 1_700_000_000, None],
)  # fmt: skip
def test_what_is_nearly_a_usual_timestamp_is_refused(timestamp: object) -> None:
    timestamps = Timestamps()
    timestamps.microseconds("2015-07-17T11:11:11.123456Z")
    with pytest.raises(ValueError, match="timestamp"):
        timestamps.microseconds(timestamp)
    with pytest.raises(ValueError, match="timestamp"):
        timestamps.all_microseconds([USUAL, timestamp])


@given(st.datetimes(timezones=st.just(UTC)))
def test_any_time_in_the_form_of_our_client(moment: datetime) -> None:
    text = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    timestamps, expected = Timestamps(), (moment - EPOCH) // timedelta(microseconds=1)
    assert timestamps.microseconds(text) == expected
    assert timestamps.all_microseconds([text] * 2) == [expected] * 2


def test_no_more_seconds_are_remembered_than_may_be() -> None:
    timestamps = Timestamps()
    first = parse_timestamp("2015-07-17T11:11:11Z")
    times = [first + timedelta(seconds=number) for number in range(4_200)]
    read = [timestamps.microseconds(f"{moment:%Y-%m-%dT%H:%M:%S}.500Z") for moment in times]
    assert read == [round(each.timestamp()) * 1_000_000 + 500_000 for each in times]
    assert len(timestamps._seconds) <= 4_096
