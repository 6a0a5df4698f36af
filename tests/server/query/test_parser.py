"""The query document: what is read, and what is said about what is not."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_logging._grammar.filters import MAX_NESTING, MAX_VALUES, parse_filters
from connect_logging._grammar.model import Aggregate, AnyOf, Condition, Order, Query
from connect_logging._grammar.reading import MAX_PARTS
from connect_logging.exceptions import InvalidQueryError
from connect_logging.server.query.parser import MAX_LENIENT_LENGTH, MAX_QUERY_LENGTH, parse_export_query, parse_query

PRICE = ("price",)


def errors(document: Any) -> dict[str, str]:
    text = document if isinstance(document, str) or document is None else json.dumps(document)
    with pytest.raises(InvalidQueryError) as caught:
        parse_query(text, 0)
    return caught.value.errors


def nested(levels: int) -> dict[str, Any]:
    return {"or": [nested(levels - 1)]} if levels else {}


def test_a_whole_query() -> None:
    query = {
        "select": {"n": "count", "total": {"sum": "price"}},
        "filter": {"price": {"gt": 1, "lte": 9.5}, "customer.name": "Tom"},
        "groupBy": ["product.name", "customer.name", "product.name"],
    }
    assert parse_query(json.dumps(query), 0) == Query(
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
        ("{}", Query()),
        ('{"select": {}, "filter": null, "groupBy": []}', Query()),
        ("{select:{totalPrice:{sum:'price'}}}", Query((Aggregate("totalPrice", "sum", PRICE),))),
        ('{"select":{"n":"Count"}}', Query((Aggregate("n", "count", None),))),
        ('{"select":{"n":{"MAX":"price"}}}', Query((Aggregate("n", "max", PRICE),))),
        ('{"groupBy":"price"}', Query(group_by=(PRICE,))),
        ('{"nonEmpty":true,"timezone":null,"custom":{"a":[1]}}', Query(non_empty=True)),
        ('{"select":{"n":{"Median":"price"}}}', Query((Aggregate("n", "median", PRICE),))),
        ('{"select":{"n":{"distinct":"price"}}}', Query((Aggregate("n", "distinct", PRICE),))),
        (
            '{"select":{"n":{"percentile":{"p":95,"property":"price"}}}}',
            Query((Aggregate("n", "percentile", PRICE, 95.0),)),
        ),
        ('{"interval":"Hourly","limit":3,"nonEmpty":false}', Query(interval="hourly", limit=3)),
        ('{"orderBy":"_count"}', Query(order_by=(Order(0),))),
        (
            '{"groupBy":["price","or"],"select":{"n":"count"},"orderBy":["n",{"or":"Desc"},{"n":"desc"}]}',
            Query(
                (Aggregate("n", "count", None),), (), (PRICE, ("or",)), order_by=(Order(2), Order(1, descending=True))
            ),
        ),
        ("{filter:{price:{Gte:1,}}}", Query(filters=(Condition(PRICE, "gte", 1),))),
    ],
)
def test_spellings_that_sdks_and_the_documentation_use(text: str, query: Query) -> None:
    assert parse_query(text, 0) == query


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
        ({"contains": 1.5}, "contains", 1.5),
        ({"contains": False}, "contains", False),
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
        ("{" + " " * MAX_QUERY_LENGTH + "}", ["query"]),
        ("{a:1}" + " " * MAX_LENIENT_LENGTH, ["query"]),
        (r"{filter:{a:'\ud800'}}", ["query"]),
        (r'{"filter":{"a":"\ud800"}}', ["query"]),
        ({"select": []}, ["select"]),
        ({"select": {"": "count"}}, ["select."]),
        ({"select": {"_count": "count"}}, ["select._count"]),
        ({"select": {"a": "sum"}}, ["select.a"]),
        ({"select": {"a": {"sum": "x", "max": "x"}}}, ["select.a"]),
        ({"select": {"a": {"mode": "x"}}}, ["select.a"]),
        ({"select": {"a": {"median": "id"}}}, ["select.a"]),
        ({"select": {"a": {"percentile": "x"}}}, ["select.a"]),
        ({"select": {"a": {"percentile": {"property": "x"}}}}, ["select.a"]),
        ({"select": {"a": {"percentile": {"property": "x", "p": 1, "q": 2}}}}, ["select.a"]),
        ({"select": {"a": {"percentile": {"property": "x", "p": 101}}}}, ["select.a"]),
        ({"select": {"a": {"percentile": {"property": "x", "p": True}}}}, ["select.a"]),
        ({"select": {"a": {"percentile": {"property": "x", "p": "9"}}}}, ["select.a"]),
        ({"select": {"a": {"percentile": {"property": "id", "p": 9}}}}, ["select.a"]),
        ("{select:{a:{percentile:{property:'x',p:NaN}}}}", ["select.a"]),
        ({"orderBy": "x"}, ["orderBy"]),
        ({"orderBy": 1}, ["orderBy"]),
        ({"orderBy": {}}, ["orderBy"]),
        ({"orderBy": [["_count"]]}, ["orderBy"]),
        ({"orderBy": {"_count": "up"}}, ["orderBy"]),
        ({"orderBy": {"_count": 1}}, ["orderBy"]),
        ({"orderBy": "_count", "select": {"n": "count"}}, ["orderBy"]),
        ({"limit": 0}, ["limit"]),
        ({"limit": 10_001}, ["limit"]),
        ({"limit": 1.5}, ["limit"]),
        ({"limit": True}, ["limit"]),
        ({"interval": "decadely"}, ["interval"]),
        ({"interval": {}}, ["interval"]),
        ({"nonEmpty": "yes"}, ["nonEmpty"]),
        ({"filter": {"a": list(range(MAX_VALUES + 1))}}, ["filter.a"]),
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
        ({"filter": {"a": {"contains": None}}}, ["filter.a"]),
        ({"filter": {"a": {"contains": [1]}}}, ["filter.a"]),
        ({"filter": {"a": {"startsWith": 1}}}, ["filter.a"]),
        ({"filter": {"a": [1, "x"]}}, ["filter.a"]),
        ({"filter": {"a": [None]}}, ["filter.a"]),
        ({"filter": {"a": {"in": "x"}}}, ["filter.a"]),
        ({"filter": {"a": 2**64}}, ["filter.a"]),
        ("{filter:{a:Infinity}}", ["filter.a"]),
        ({"filter": {str(n): 1 for n in range(MAX_PARTS + 1)}}, ["filter"]),
        ({"filter": {"or": [{"a": {"x": 1}}, {"id": 1}]}}, ["filter.or.0.a", "filter.or.1.id"]),
        ({"filter": {"or": [{}, 1]}}, ["filter.or.1"]),
        ({"filter": {"or": [{}] * (MAX_PARTS + 1)}}, ["filter"]),
        ({"filter": nested(MAX_NESTING + 1)}, ["filter" + ".or.0" * MAX_NESTING + ".or"]),
        ({"filter": {"id": 1}, "groupBy": "timestamp"}, ["groupBy", "filter.id"]),
        ({"select": {"a": {"max": "timestamp"}}}, ["select.a"]),
        (
            {"timeframe": "someday", "interval": "dayly", "timezone": "Moon", "select": 1, "limit": -1, "orderBy": "y"},
            ["select", "interval", "timezone", "timeframe", "orderBy", "limit"],
        ),
    ],
)
def test_each_fault_is_told_once_by_its_field(document: Any, fields: list[str]) -> None:
    found = errors(document)
    assert list(found) == fields
    assert all(found.values())


def test_alternatives_are_what_an_array_with_an_object_under_or_is() -> None:
    one, two = Condition(PRICE, "eq", 1), Condition(("or",), "eq", 2)
    assert parse_filters({"or": [{"price": 1, "or": 2}, {}], "a": 3}) == (
        AnyOf(((one, two), ())),
        Condition(("a",), "eq", 3),
    )
    assert parse_filters({"or": [{"or": [{"price": 1}]}]}) == (AnyOf(((AnyOf(((one,),)),),)),)
    assert parse_filters(nested(MAX_NESTING))


@pytest.mark.parametrize("wanted", [2, None, [2], [], {"neq": 2}])
def test_a_property_may_be_called_or(wanted: Any) -> None:
    [condition] = parse_filters({"or": wanted})
    assert isinstance(condition, Condition)
    assert condition.path == ("or",)


@pytest.mark.parametrize("field", ["select", "groupBy", "interval", "orderBy", "limit"])
def test_an_export_takes_no_more_than_filter_and_timeframe(field: str) -> None:
    document = {"filter": {"price": 1}, "timeframe": "today", "timezone": 10, "custom": 1}
    query = parse_export_query(document, 0)
    whole = parse_query(json.dumps(document), 0)
    assert query == parse_export_query(json.dumps({**document, field: {}}), 0)
    assert query == Query(filters=whole.filters, span=whole.span)
    with pytest.raises(InvalidQueryError) as caught:
        parse_export_query({**document, field: 1, "filter": 1}, 0)
    assert list(caught.value.errors) == [field, "filter"]


def test_an_export_of_what_is_no_query_is_refused() -> None:
    for text in (None, "", "[]"):
        with pytest.raises(InvalidQueryError, match="query: "):
            parse_export_query(text, 0)


def test_a_body_is_strict_json_and_may_be_longer() -> None:
    padding = " " * MAX_QUERY_LENGTH
    assert parse_query(b'{"groupBy": "price"}' + padding.encode(), 0) == Query(group_by=(PRICE,))
    for body in (b"", b"[]", b"{groupBy: 'price'}", b"\xff", b"[" * 100_000):
        with pytest.raises(InvalidQueryError, match="query: "):
            parse_query(body, 0)


def test_a_nested_id_is_a_property_like_any_other() -> None:
    assert parse_query('{"groupBy": "customer.id"}', 0).group_by == (("customer", "id"),)


def test_filters_alone_are_refused_like_a_querys() -> None:
    assert parse_filters(None) == ()
    with pytest.raises(InvalidQueryError, match=r"filter\.a: unknown operator 'x'"):
        parse_filters({"a": {"x": 1}})


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidQueryError):
        parse_query(text, 0)
