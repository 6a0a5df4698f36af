"""The query document: what is read, and what is said about what is not."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_logging.server.query.model import (
    MAX_LENIENT_LENGTH,
    MAX_PARTS,
    MAX_QUERY_LENGTH,
    Aggregate,
    Condition,
    InvalidQueryError,
    Query,
    parse_filters,
    parse_query,
)

PRICE = ("price",)


def errors(document: Any) -> dict[str, str]:
    text = document if isinstance(document, str) or document is None else json.dumps(document)
    with pytest.raises(InvalidQueryError) as caught:
        parse_query(text)
    return caught.value.errors


def test_a_whole_query() -> None:
    query = {
        "select": {"n": "count", "total": {"sum": "price"}},
        "filter": {"price": {"gt": 1, "lte": 9.5}, "customer.name": "Tom"},
        "groupBy": ["product.name", "customer.name", "product.name"],
    }
    assert parse_query(json.dumps(query)) == Query(
        (Aggregate("n", "count", None), Aggregate("total", "sum", PRICE)),
        (
            Condition(PRICE, "gt", 1),
            Condition(PRICE, "lte", 9.5),
            Condition(("customer", "name"), "eq", "Tom"),
        ),
        (("product", "name"), ("customer", "name")),
    )


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("{}", Query(())),
        ('{"select": {}, "filter": null, "groupBy": []}', Query(())),
        ("{select:{totalPrice:{sum:'price'}}}", Query((Aggregate("totalPrice", "sum", PRICE),))),
        ('{"select":{"n":"Count"}}', Query((Aggregate("n", "count", None),))),
        ('{"select":{"n":{"MAX":"price"}}}', Query((Aggregate("n", "max", PRICE),))),
        ('{"groupBy":"price"}', Query((), (), (PRICE,))),
        ('{"nonEmpty":true,"timezone":null,"custom":{"a":[1]}}', Query(())),
        ("{filter:{price:{Gte:1,}}}", Query((), (Condition(PRICE, "gte", 1),))),
    ],
)
def test_spellings_that_sdks_and_the_documentation_use(text: str, query: Query) -> None:
    assert parse_query(text) == query


@pytest.mark.parametrize(
    ("wanted", "operator", "value"),
    [
        ("Tom", "eq", "Tom"),
        (None, "eq", None),
        (True, "eq", True),
        ([1, 2.5], "in", (1, 2.5)),
        ([], "in", ()),
        ({"ne": 1}, "neq", 1),
        ({"NEQ": None}, "neq", None),
        ({"exists": False}, "exists", False),
        ({"startsWith": "a"}, "startsWith", "a"),
        ({"endsWidth": "a"}, "endsWith", "a"),
        ({"endsWith": "a"}, "endsWith", "a"),
        ({"contains": "%_"}, "contains", "%_"),
        ({"in": ["a"]}, "in", ("a",)),
        ({"in": [True, False]}, "in", (True, False)),
        ({"lt": "b"}, "lt", "b"),
        ({"gt": 2**64 - 1}, "gt", 2**64 - 1),
    ],
)
def test_every_operator(wanted: Any, operator: str, value: Any) -> None:
    assert parse_filters({"price": wanted}) == (Condition(PRICE, operator, value),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        (None, ["query"]),
        ("", ["query"]),
        ("{select", ["query"]),
        ("[]", ["query"]),
        ("3", ["query"]),
        ("[" * 10_000, ["query"]),
        ("[" * 40_000, ["query"]),
        (" " * (MAX_QUERY_LENGTH + 1), ["query"]),
        ("{a:1}" + " " * MAX_LENIENT_LENGTH, ["query"]),
        (r"{filter:{a:'\ud800'}}", ["query"]),
        (r'{"filter":{"a":"\ud800"}}', ["query"]),
        ({"select": []}, ["select"]),
        ({"select": {"": "count"}}, ["select."]),
        ({"select": {"_count": "count"}}, ["select._count"]),
        ({"select": {"a": "sum"}}, ["select.a"]),
        ({"select": {"a": {"sum": "x", "max": "x"}}}, ["select.a"]),
        ({"select": {"a": {"median": "x"}}}, ["select.a"]),
        ({"select": {"a": {"count": "x"}}}, ["select.a"]),
        ({"select": {"a": {"sum": 3}}}, ["select.a"]),
        ({"select": {"a.b": "count"}, "groupBy": "a.b"}, ["select.a.b"]),
        ({"select": {str(n): "count" for n in range(MAX_PARTS + 1)}}, ["select"]),
        ({"groupBy": 3}, ["groupBy"]),
        ({"groupBy": [3]}, ["groupBy"]),
        ({"groupBy": "a..b"}, ["groupBy"]),
        ({"groupBy": ".".join("a" * 101)}, ["groupBy"]),
        ({"groupBy": [str(n) for n in range(MAX_PARTS + 1)]}, ["groupBy"]),
        ({"filter": []}, ["filter"]),
        ({"filter": {"": 1}}, ["filter."]),
        ({"filter": {"a": {}}}, ["filter.a"]),
        ({"filter": {"a": {"like": "x"}}}, ["filter.a"]),
        ({"filter": {"a": {"gt": True}}}, ["filter.a"]),
        ({"filter": {"a": {"gt": None, "lt": []}}}, ["filter.a"]),
        ({"filter": {"a": {"eq": {}}}}, ["filter.a"]),
        ({"filter": {"a": {"exists": 1}}}, ["filter.a"]),
        ({"filter": {"a": {"contains": 1}}}, ["filter.a"]),
        ({"filter": {"a": [1, "x"]}}, ["filter.a"]),
        ({"filter": {"a": [None]}}, ["filter.a"]),
        ({"filter": {"a": {"in": "x"}}}, ["filter.a"]),
        ({"filter": {"a": 2**64}}, ["filter.a"]),
        ("{filter:{a:Infinity}}", ["filter.a"]),
        ({"filter": {str(n): 1 for n in range(MAX_PARTS + 1)}}, ["filter"]),
        ({"filter": {"id": 1}, "groupBy": "timestamp"}, ["groupBy", "filter.id"]),
        ({"select": {"a": {"max": "timestamp"}}}, ["select.a"]),
        (
            {"timeframe": "today", "interval": "daily", "timezone": 10, "select": 1},
            ["select", "timeframe", "interval", "timezone"],
        ),
    ],
)
def test_each_fault_is_told_once_by_its_field(document: Any, fields: list[str]) -> None:
    found = errors(document)
    assert list(found) == fields
    assert all(found.values())


def test_a_nested_id_is_a_property_like_any_other() -> None:
    assert parse_query('{"groupBy": "customer.id"}').group_by == (("customer", "id"),)


def test_filters_alone_are_refused_like_a_querys() -> None:
    assert parse_filters(None) == ()
    with pytest.raises(InvalidQueryError, match=r"filter\.a: unknown operator 'x'"):
        parse_filters({"a": {"x": 1}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["eq", "in", "gt"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["select", "filter", "groupBy", "timeframe"]), JSON))
def test_any_json_is_read_or_refused(document: Any) -> None:
    with suppress(InvalidQueryError):
        parse_query(json.dumps(document))


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidQueryError):
        parse_query(text)
