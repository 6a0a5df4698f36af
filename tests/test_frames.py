"""Tables of three libraries from one set of rows: types, times, and what is said when a library is missing."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pandas
import polars
import pyarrow
import pytest

from connect_logging._frames import Columns, arrow_table, pandas_frame, polars_frame
from connect_logging.exceptions import MissingExtraError

BRISBANE = ZoneInfo("Australia/Brisbane")


def column(kind: Any, values: list[Any], zone: tzinfo = UTC) -> tuple[str, list[Any]]:
    table = arrow_table({"c": kind}, [{"c": value} for value in values], zone)
    return str(table.column("c").type), table.column("c").to_pylist()


@pytest.mark.parametrize(
    ("kind", "values", "expected", "read"),
    [
        ("whole", [1, 2], "int64", [1, 2]),
        ("whole", [], "int64", []),
        ("number", [1, 2], "double", [1.0, 2.0]),
        ("number", [1, 2.5, None], "double", [1.0, 2.5, None]),
        ("number", [None], "double", [None]),
        ("number", [2**60 + 1, 0.5], "double", [float(2**60 + 1), 0.5]),
        ("number", ["odd"], "string", ["odd"]),
        ("whole", [1.5], "double", [1.5]),
        ("group", ["AU", None], "string", ["AU", None]),
        ("group", [True, None], "bool", [True, None]),
        ("group", [1, -1], "int64", [1, -1]),
        ("group", [1, 2**64 - 1], "uint64", [1, 2**64 - 1]),
        ("group", [-1, 2**64 - 1], "double", [-1.0, float(2**64 - 1)]),
        ("group", [1, 0.5], "double", [1.0, 0.5]),
        ("group", ["1", 1, True, None, 0.5], "string", ["1", "1", "true", None, "0.5"]),
        ("group", [None], "string", [None]),
        ("group", [], "string", []),
    ],
)
def test_a_column_has_the_type_that_the_query_says_or_that_of_its_values(
    kind: Any, values: list[Any], expected: str, read: list[Any]
) -> None:
    assert column(kind, values) == (expected, read)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (UTC, "timestamp[us, tz=UTC]"),
        (BRISBANE, "timestamp[us, tz=Australia/Brisbane]"),
        (timezone(timedelta(hours=-9.5)), "timestamp[us, tz=-09:30]"),
        (timezone(timedelta(hours=10)), "timestamp[us, tz=+10:00]"),
    ],
)
def test_times_are_timestamps_in_their_zone(zone: tzinfo, expected: str) -> None:
    moment = datetime(2026, 1, 1, tzinfo=zone)
    assert column("time", [moment], zone) == (expected, [moment])


@pytest.mark.parametrize("zone", [UTC, BRISBANE, timezone(timedelta(hours=5.5))])
def test_all_libraries_have_the_same_rows(zone: tzinfo) -> None:
    columns: Columns = {"start": "time", "country": "group", "n": "whole", "mean": "number"}
    rows = [
        {"start": datetime(2026, 1, 1, tzinfo=zone), "country": "AU", "n": 1, "mean": 0.5},
        {"start": datetime(2026, 1, 2, tzinfo=zone), "country": "NZ", "n": 2, "mean": None},
    ]
    arrow, data, frame = (make(columns, rows, zone) for make in (arrow_table, pandas_frame, polars_frame))
    assert isinstance(arrow, pyarrow.Table)
    assert isinstance(data, pandas.DataFrame)
    assert isinstance(frame, polars.DataFrame)
    assert arrow.to_pylist() == frame.rows(named=True) == rows
    assert [row["start"] for row in data.to_dict("records")] == [row["start"] for row in rows]
    assert list(data["n"]) == [1, 2]
    assert str(data.dtypes["mean"]) == "float64"
    assert frame.schema["start"] == polars.Datetime("us", "Australia/Brisbane" if zone is BRISBANE else "UTC")


@pytest.mark.parametrize("missing", ["pandas", "polars", "pyarrow"])
def test_a_missing_library_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    for library, make in (("pyarrow", arrow_table), ("pandas", pandas_frame), ("polars", polars_frame)):
        if missing in ("pyarrow", library):
            with pytest.raises(MissingExtraError) as caught:
                make({}, [], UTC)
            assert str(caught.value) == (
                f"to_{'arrow' if library == 'pyarrow' else library}() needs {missing}:"
                " pip install 'connect-logging[dataframe]'"
            )
            assert caught.value.name == missing
        else:
            make({}, [], UTC)
