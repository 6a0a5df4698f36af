"""Aggregates and orders are written as a query's JSON has them."""

from __future__ import annotations

from typing import Any

import pytest

from connect_logging import _select, _terms
from connect_logging._select import Aggregate, Order

MADE = {
    "count": (_select.count(), "count"),
    "sum": (_select.sum("a.b"), {"sum": "a.b"}),
    "avg": (_select.avg("a"), {"avg": "a"}),
    "min": (_select.min("a"), {"min": "a"}),
    "max": (_select.max("a"), {"max": "a"}),
    "median": (_select.median("a"), {"median": "a"}),
    "percentile": (_select.percentile("a", 99.9), {"percentile": {"property": "a", "p": 99.9}}),
    "distinct": (_select.distinct("a"), {"distinct": "a"}),
}


@pytest.mark.parametrize("name", MADE)
def test_an_aggregate_is_written_as_in_json(name: str) -> None:
    made, document = MADE[name]
    assert made == Aggregate(document)


def test_every_aggregation_can_be_reached() -> None:
    assert set(MADE) == set(_terms.AGGREGATIONS.values())


@pytest.mark.parametrize(("make", "direction"), [(_select.asc, "asc"), (_select.desc, "desc")])
def test_an_order_has_a_direction(make: Any, direction: Any) -> None:
    assert make("revenue") == Order("revenue", direction)
