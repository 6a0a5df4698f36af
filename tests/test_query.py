"""The builder: what each step says in JSON, that answers are those to the same JSON sent by hand, and every mistake."""

from __future__ import annotations

import asyncio
import functools
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet
import pytest
from oracle import Exchange, Oracle
from oracle_faults import Status
from pushing import CANARY
from server_process import ServerProcess

from connect_logging import (
    ConfigurationError,
    ConnectClient,
    InvalidQueryError,
    RequestError,
    UnavailableError,
    _terms,
    query,
    security,
)
from connect_logging.query import (
    Export,
    Query,
    all_of,
    any_of,
    asc,
    avg,
    contains,
    count,
    current,
    desc,
    distinct,
    ends_with,
    eq,
    exists,
    gt,
    gte,
    is_in,
    last,
    lt,
    lte,
    median,
    neq,
    percentile,
    starts_with,
)

Build = Callable[[Query], Query]
Document = dict[str, Any]

N = {"select": {"n": "count"}}


def counted(**part: Any) -> Document:
    return {**N, **part}


def n(build: Build) -> Build:
    """``build`` on a query for the number of events."""
    return lambda q: build(q.select(n=count()))


WHERE: list[tuple[Build, Document]] = [
    (n(lambda q: q.where(country="AU")), counted(filter={"country": "AU"})),
    (n(lambda q: q.where(country=eq("AU"))), counted(filter={"country": {"eq": "AU"}})),
    (n(lambda q: q.where(self=None, country="AU")), counted(filter={"self": None, "country": "AU"})),
    (n(lambda q: q.where(country=None)), counted(filter={"country": None})),
    (n(lambda q: q.where(country=["AU", "NZ"])), counted(filter={"country": ["AU", "NZ"]})),
    (n(lambda q: q.where(country=is_in(("AU", "NZ")))), counted(filter={"country": {"in": ["AU", "NZ"]}})),
    (n(lambda q: q.where(country=neq("AU"))), counted(filter={"country": {"neq": "AU"}})),
    (n(lambda q: q.where(price=gt(10))), counted(filter={"price": {"gt": 10}})),
    (n(lambda q: q.where(price=gte(10))), counted(filter={"price": {"gte": 10}})),
    (n(lambda q: q.where(price=lt(10))), counted(filter={"price": {"lt": 10}})),
    (n(lambda q: q.where(price=lte(10))), counted(filter={"price": {"lte": 10}})),
    (n(lambda q: q.where(price=gt(5) & lte(10))), counted(filter={"price": {"gt": 5, "lte": 10}})),
    (n(lambda q: q.where(country=exists())), counted(filter={"country": {"exists": True}})),
    (n(lambda q: q.where(country=exists(False))), counted(filter={"country": {"exists": False}})),
    (n(lambda q: q.where(product=starts_with("b"))), counted(filter={"product": {"startsWith": "b"}})),
    (n(lambda q: q.where(product=ends_with("l"))), counted(filter={"product": {"endsWith": "l"}})),
    (n(lambda q: q.where(product=contains("el"))), counted(filter={"product": {"contains": "el"}})),
    (n(lambda q: q.where(tags=contains("new"))), counted(filter={"tags": {"contains": "new"}})),
    (n(lambda q: q.where(tags=contains(7))), counted(filter={"tags": {"contains": 7}})),
    (n(lambda q: q.where({"customer.age": gt(30)})), counted(filter={"customer.age": {"gt": 30}})),
    (n(lambda q: q.where(price={"gt": 10, "lt": 30})), counted(filter={"price": {"gt": 10, "lt": 30}})),
    (
        n(lambda q: q.where(any_of(country="AU", price=gt(20)))),
        counted(filter={"or": [{"country": "AU"}, {"price": {"gt": 20}}]}),
    ),
    (
        n(
            lambda q: q.where(
                any_of({"country": "AU", "price": lt(9)}, all_of(product="pump") | all_of(product="bell"))
            )
        ),
        counted(
            filter={
                "or": [
                    {"country": "AU", "price": {"lt": 9}},
                    {"product": "pump"},
                    {"product": "bell"},
                ]
            }
        ),
    ),
    (
        n(lambda q: q.where(product=contains("e")).where(product=contains("b"))),
        counted(filter={"product": {"contains": "e"}, "or": [{"product": {"contains": "b"}}]}),
    ),
]
SELECT: list[tuple[Build, Document]] = [
    (lambda q: q, {}),
    (
        lambda q: q.select(n=count(), a=query.sum("price"), b=avg("price")).select(c=query.min("price")),
        {"select": {"n": "count", "a": {"sum": "price"}, "b": {"avg": "price"}, "c": {"min": "price"}}},
    ),
    (lambda q: q.select(self=count()), {"select": {"self": "count"}}),
    (
        lambda q: q.select({"the most": query.max("customer.age")}, d=distinct("country"), m=median("price")),
        {"select": {"the most": {"max": "customer.age"}, "d": {"distinct": "country"}, "m": {"median": "price"}}},
    ),
    (
        lambda q: q.select(p=percentile("price", 95)),
        {"select": {"p": {"percentile": {"property": "price", "p": 95}}}},
    ),
    (n(lambda q: q.group_by("country")), counted(groupBy=["country"])),
    (n(lambda q: q.group_by("country").group_by("product")), counted(groupBy=["country", "product"])),
    (
        n(lambda q: q.group_by("country", "product").order_by(desc("n"), "country", asc("product")).limit(3)),
        counted(groupBy=["country", "product"], orderBy=[{"n": "desc"}, "country", {"product": "asc"}], limit=3),
    ),
    (
        n(lambda q: q.group_by("country").order_by("n").order_by("country")),
        counted(groupBy=["country"], orderBy=["n", "country"]),
    ),
]
WEST = timezone(timedelta(hours=-5))
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
TIME: list[tuple[Build, Document]] = [
    *((n(lambda q, name=name: q.timeframe(name)), counted(timeframe=name)) for name in _terms.RELATIVE_TIMEFRAMES),
    *(
        (n(lambda q, p=p: q.timeframe(getattr(last(3), p))), counted(timeframe={"previous": {p: 3}}))
        for p in _terms.PERIODS
    ),
    *(
        (n(lambda q, p=p: q.timeframe(getattr(current(3), p))), counted(timeframe={"current": {p: 3}}))
        for p in _terms.PERIODS
    ),
    (
        n(lambda q: q.timeframe(START, END)),
        counted(timeframe={"start": "2026-01-01T00:00:00Z", "end": "2026-03-01T00:00:00Z"}),
    ),
    (n(lambda q: q.timeframe(start=START)), counted(timeframe={"start": "2026-01-01T00:00:00Z"})),
    (
        n(lambda q: q.timeframe(end=datetime(2026, 3, 1, 10, 0, 0, 5, timezone(timedelta(hours=10))))),
        counted(timeframe={"end": "2026-03-01T00:00:00.000005Z"}),
    ),
    (n(lambda q: q.timeframe(end=datetime(2026, 3, 1))), counted(timeframe={"end": "2026-03-01T00:00:00Z"})),
    *(
        (
            n(lambda q, i=i: q.interval(i).timezone("Australia/Brisbane").timeframe(last(2).hours)),
            counted(interval=i, timezone="Australia/Brisbane", timeframe={"previous": {"hours": 2}}),
        )
        for i in _terms.INTERVALS
    ),
    (
        n(lambda q: q.interval("daily", non_empty=True).timezone(10.5).group_by("country")),
        counted(interval="daily", nonEmpty=True, timezone=10.5, groupBy=["country"]),
    ),
    (
        n(lambda q: q.timezone(-8).timeframe(START, END).interval("monthly")),
        counted(
            timezone=-8,
            timeframe={"start": "2026-01-01T00:00:00Z", "end": "2026-03-01T00:00:00Z"},
            interval="monthly",
        ),
    ),
]
CASES = WHERE + SELECT + TIME


def ids(cases: list[tuple[Build, Document]]) -> list[str]:
    return [json.dumps(document, separators=(",", ":"))[:80] for _, document in cases]


@pytest.fixture
def purchases(oracle: Oracle) -> Iterator[Query]:
    with ConnectClient("p", CANARY, oracle.url) as client:
        yield client.query("purchases")


@pytest.mark.parametrize(("build", "document"), CASES, ids=ids(CASES))
def test_each_step_is_json(purchases: Query, build: Build, document: Document) -> None:
    built = build(purchases).document
    chosen, expected = built.pop("filter", {}), dict(document)
    wanted = expected.pop("filter", {})
    assert built == expected
    assert spelt(chosen) == spelt(wanted)


def spelt(chosen: Document) -> Document:
    """A filter with its operators spelt out: a bare value is ``eq``, a bare array ``in``."""
    read: Document = {}
    for path, wanted in chosen.items():
        if path == "or":
            read[path] = [spelt(each) for each in wanted]
        else:
            read[path] = wanted if isinstance(wanted, dict) else {"in" if isinstance(wanted, list) else "eq": wanted}
    return read


def words(document: Any) -> set[str]:
    if isinstance(document, dict):
        return set(document).union(*map(words, document.values()))
    if isinstance(document, list):
        return set().union(*map(words, document))
    return {document} if isinstance(document, str) else set()


def test_every_word_of_the_language_is_among_the_cases() -> None:
    said = words([document for _, document in CASES])
    for terms in (_terms.OPERATORS.values(), _terms.AGGREGATIONS.values(), _terms.PERIODS, _terms.INTERVALS):
        assert set(terms) <= said
    assert set(_terms.RELATIVE_TIMEFRAMES) <= said
    parts = {"select", "filter", "groupBy", "timeframe", "interval", "timezone", "orderBy", "limit", "nonEmpty"}
    assert parts <= said


def test_the_types_have_the_words_of_the_language() -> None:
    assert get_args(_terms.Interval) == tuple(_terms.INTERVALS)
    assert get_args(_terms.RelativeTimeframe) == tuple(_terms.RELATIVE_TIMEFRAMES)
    assert sorted(query.__all__) == sorted({*query.__all__})
    assert all(getattr(query, name).__doc__ for name in query.__all__)


def test_a_step_is_a_new_query(purchases: Query) -> None:
    au = purchases.where(country="AU").select(n=count())
    narrower = au.where(country="NZ", price=gt(5)).select(n=query.sum("price")).group_by("product").limit(3)
    assert au.document == counted(filter={"country": "AU"})
    assert purchases.document == {}
    assert narrower.document["filter"]["or"] == [{"country": "NZ"}], "AU and NZ at once: a filter is never taken back"
    assert narrower.document["select"] == {"n": {"sum": "price"}}
    narrower.document["limit"] = 7
    assert narrower.document["limit"] == 3
    assert au == purchases.select(n=count()).where(country="AU")
    assert au != narrower


def test_queries_of_two_clients_are_not_equal(oracle: Oracle, purchases: Query) -> None:
    with ConnectClient("another", CANARY, oracle.url) as client:
        assert client.query("purchases") != purchases


def test_later_steps_replace_what_there_is_one_of(purchases: Query) -> None:
    built = purchases.interval("daily", non_empty=True).timeframe("today").timezone(1).limit(5)
    assert built.interval("weekly").timeframe(last(1).days).timezone("UTC").limit(6).document == {
        "interval": "weekly",
        "timeframe": {"previous": {"days": 1}},
        "timezone": "UTC",
        "limit": 6,
    }


def test_a_query_may_begin_with_json(oracle: Oracle) -> None:
    document = {"select": {"n": "Count"}, "groupBy": "country", "orderBy": "n", "filter": {"a": 1}, "custom": 1}
    with ConnectClient("p", CANARY, oracle.url) as client:
        built = client.query("purchases", {**document, "interval": None})
        assert built.document == document
        further = built.group_by("product").order_by(desc("country")).select(m=count()).where(b=2).document
    assert further == {
        "select": {"n": "Count", "m": "count"},
        "groupBy": ["country", "product"],
        "orderBy": ["n", {"country": "desc"}],
        "filter": {"a": 1, "b": 2},
        "custom": 1,
    }


def test_a_query_shows_itself(purchases: Query) -> None:
    assert (
        repr(purchases.where(price=gt(5)).limit(1))
        == "Query('purchases', {'limit': 1, 'filter': {'price': {'gt': 5}}})"
    )
    assert CANARY not in repr(purchases)


MISTAKES: list[tuple[Callable[[Any], Any], str, str]] = [
    (lambda q: q.where(price=gt(None)), "filter.price", "gt takes a string or a number"),
    (lambda q: q.where(price={"above": 5}), "filter.price", "unknown operator 'above'"),
    (lambda q: q.where(price=START), "filter.price", "eq takes a string"),
    (lambda q: q.where(price=float("nan")), "filter.price", "number within 64 bits"),
    (lambda q: q.where(price=2**64), "filter.price", "number within 64 bits"),
    (lambda q: q.where(price={1, 2}), "filter.price", "eq takes a string"),
    (lambda q: q.where(price=[1, "a"]), "filter.price", "in takes an array"),
    (lambda q: q.where(product=starts_with(5)), "filter.product", "startsWith takes a string"),
    (lambda q: q.where(product=contains(None)), "filter.product", "contains takes"),
    (lambda q: q.where(price=exists("yes")), "filter.price", "true or false"),
    (lambda q: q.where({"a..b": 1}), "filter.a..b", "joined by dots"),
    (lambda q: q.where(id=1), "filter.id", "id is for no query"),
    (lambda q: q.where(timestamp="x"), "filter.timestamp", "timeframe and interval"),
    (lambda q: q.where({5: 1}), "filter.5", "named by a string"),
    (lambda q: q.where(price={5: 1}), "filter.price", "unknown operator 5"),
    (lambda q: q.where(country=is_in("AU")), "filter.country", "in takes an array"),
    (lambda q: q.where(price=is_in(5)), "filter.price", "in takes an array"),
    (lambda q: q.where(price=is_in(b"AU")), "filter.price", "in takes an array"),
    (lambda q: q.where(country=is_in({"AU": "Australia"})), "filter.country", "in takes an array"),
    (lambda q: q.where(any_of({"a": gt(None)}, b=1)), "filter.or.0.a", "gt takes"),
    (lambda q: q.where(any_of()), "filter.or", "one or more"),
    (lambda q: q.where("country"), "filter", "a filter, or a dict"),
    (lambda q: q.where(text="\ud800").document, "query", "lone surrogate"),
    (lambda q: q.select(n="count"), "select.n", "no aggregate"),
    (lambda q: q.select(count()), "select", "a column has a name"),
    (lambda q: q.select({5: count()}), "select.5", "1 to 255 characters"),
    (lambda q: q.select(n=query.sum(5)), "select.n", "named by a string"),
    (lambda q: q.select(n=percentile("price", 101)), "select.n", "from 0 to 100"),
    (lambda q: q.select(_count=count()), "select._count", "another alias"),
    (lambda q: q.select(a=count()).group_by("a").document, "select.a", "also a column of groupBy"),
    (lambda q: q.group_by("id"), "groupBy", "id is for no query"),
    (lambda q: q.group_by(5), "groupBy", "named by a string"),
    (lambda q: q.interval("dayly"), "interval", "one of minutely"),
    (lambda q: q.interval("daily", non_empty=1), "nonEmpty", "true or false"),
    (lambda q: q.timezone("Mars/Olympus"), "timezone", "Australia/Brisbane"),
    (lambda q: q.timezone(15), "timezone", "-14 to 14"),
    (lambda q: q.timezone(10).document, "timezone", "only with an interval or a relative timeframe"),
    (lambda q: q.timezone(10).timeframe(START, END).document, "timezone", "only with an interval"),
    (lambda q: q.timeframe("this_day"), "timeframe", "one of this_minute"),
    (lambda q: q.timeframe(datetime.max, datetime.max.replace(tzinfo=WEST)), "timeframe.end", "the years 1 to 9999"),
    (lambda q: q.timeframe(last(0).days), "timeframe.previous", "a whole number from 1"),
    (lambda q: q.timeframe("today", END), "timeframe", "it has no end"),
    (lambda q: q.timeframe(date(2026, 1, 1)), "timeframe.start", "date-time"),
    (lambda q: q.timeframe(end="2026-01-01"), "timeframe.end", "date-time"),
    (lambda q: q.order_by("n").document, "orderBy", "no column of the answer"),
    (lambda q: q.order_by(5).document, "orderBy", "a column"),
    (lambda q: q.limit(0), "limit", "from 1 to 10,000"),
    (lambda q: q.limit("5"), "limit", "a whole number"),
]


@pytest.mark.parametrize(("make", "field", "message"), MISTAKES)
def test_a_mistake_is_named_before_any_request(
    oracle: Oracle, purchases: Query, make: Any, field: str, message: str
) -> None:
    with pytest.raises(InvalidQueryError, match=message) as caught:
        make(purchases)
    assert [*caught.value.errors] == [field]
    assert oracle.requests == []


@pytest.mark.parametrize("collection", ["", "a/b", None])
def test_a_collection_that_cannot_be_is_named(oracle: Oracle, collection: Any) -> None:
    with ConnectClient("p", CANARY, oracle.url) as client:
        for make in (client.query, client.export):
            with pytest.raises(InvalidQueryError) as caught:
                make(collection)
            assert [*caught.value.errors] == ["collection"]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"interval": 5}, "interval"),
        ({"filter": 5}, "filter"),
        ({"select": "count"}, "select"),
        ({"timezone": 1}, "timezone"),
        ({"select": {"n": {5: "price"}}}, "select.n"),
        ({"timeframe": {"current": {5: 1}}}, "timeframe.current"),
        ({"custom": date(2026, 1, 1)}, "query"),
        ({"custom": float("nan")}, "query"),
        ({"custom": functools.reduce(lambda inner, _: [inner], range(100_000), [])}, "query"),
        ("{}", "query"),
        ([1], "query"),
    ],
)
def test_a_mistake_in_json_is_named(oracle: Oracle, document: Document, field: str) -> None:
    with ConnectClient("p", CANARY, oracle.url) as client, pytest.raises(InvalidQueryError) as caught:
        client.query("purchases", document)
    assert [*caught.value.errors] == [field]


def test_what_goes_wrong_with_a_request_is_raised(oracle: Oracle, purchases: Query) -> None:
    oracle.fail(Status(401))
    with pytest.raises(RequestError, match="HTTP 401"):
        purchases.execute()
    oracle.refuse()
    with pytest.raises(UnavailableError):
        purchases.execute(timeout=0.1)
    with pytest.raises(UnavailableError):
        asyncio.run(purchases.execute_async(timeout=0.1))


def test_whoever_executes_a_query_is_told_of_a_wrong_timeout(purchases: Query) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        purchases.execute(timeout=0)
    with pytest.raises(ConfigurationError, match="timeout"):
        asyncio.run(purchases.execute_async(timeout=0))


def test_a_query_cannot_be_pickled_with_its_key(purchases: Query) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(purchases)


# Exports

LINES = b'{"id":"1","timestamp":"2026-01-01T00:00:00.000Z","text":"\xc3\xa4"}\n{"id":"2"}\n'


@pytest.fixture
def export(oracle: Oracle) -> Iterator[Export]:
    with ConnectClient("p", CANARY, oracle.url) as made:
        yield made.export("purchases")


def test_an_export_is_iterated(oracle: Oracle, export: Export) -> None:
    oracle.fail(Status(200, LINES), times=2)
    chosen = export.where(country="AU").timeframe("today").timezone("Australia/Brisbane")
    assert [event["id"] for event in chosen] == ["1", "2"]
    assert next(iter(chosen))["text"] == "ä"
    query = parse_qs(urlsplit(oracle.requests[0].path).query)
    assert query["format"] == ["jsonl"]
    assert json.loads(query["query"][0]) == {
        "filter": {"country": "AU"},
        "timeframe": "today",
        "timezone": "Australia/Brisbane",
    }


@pytest.mark.parametrize(
    ("body", "events"),
    [(b"\n", []), (b'{"n":1}', [1]), (b"".join(b'{"n":%d}\n' % n for n in range(40_000)), [*range(40_000)])],
    ids=["no events", "no newline at the end", "many pieces"],
)
def test_events_are_lines_however_they_arrive(oracle: Oracle, export: Export, body: bytes, events: list[int]) -> None:
    oracle.fail(Status(200, body))
    assert [event["n"] for event in export] == events


@pytest.mark.parametrize("body", [b"<html>", b"[]\n", b'{"n":1}{"n":2}', b"\xff\n", b'{"n":' * 100_000])
def test_lines_that_are_no_events_are_an_error(oracle: Oracle, export: Export, body: bytes) -> None:
    oracle.fail(Status(200, body))
    with pytest.raises(RequestError, match="not that of a Connect server"):
        list(export)


def test_an_export_that_breaks_off_is_an_error(oracle: Oracle, export: Export, tmp_path: Path) -> None:
    def breaking(exchange: Exchange) -> None:
        exchange._connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + LINES * 2_000)
        raise OSError("the connection ends here")

    oracle.fail(breaking, times=2)
    events = iter(export)
    assert next(events)["id"] == "1"
    with pytest.raises(UnavailableError):
        list(events)
    with pytest.raises(UnavailableError):
        export.to_file(tmp_path / "purchases.jsonl")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    "take", [lambda e, _: [*e], lambda e, path: e.to_file(path / "a.jsonl", progress=lambda done: 1 // 0)]
)
def test_an_export_that_fails_lets_go_of_its_connection(
    oracle: Oracle, export: Export, tmp_path: Path, take: Any
) -> None:
    let_go = threading.Event()

    def endless(exchange: Exchange) -> None:
        exchange._connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n[]\n" + LINES * 2_000)
        with suppress(ConnectionError):
            exchange._connection.recv(1)
        let_go.set()

    oracle.fail(endless)
    with pytest.raises((RequestError, ZeroDivisionError)) as caught:
        take(export, tmp_path)
    assert let_go.wait(10), f"also while somebody keeps {caught.value!r}"


@pytest.mark.parametrize(
    ("name", "form", "asked"),
    [
        ("a.jsonl", None, "jsonl"),
        ("a.NDJSON", None, "jsonl"),
        ("a.csv", None, "csv"),
        ("a.parquet", None, "parquet"),
        ("a", "csv", "csv"),
    ],
)
def test_an_export_is_written_to_a_file(
    oracle: Oracle, export: Export, tmp_path: Path, name: str, form: Any, asked: str
) -> None:
    oracle.fail(Status(200, LINES))
    told: list[int] = []
    assert export.to_file(str(tmp_path / name), form, progress=told.append) == len(LINES)
    assert (tmp_path / name).read_bytes() == LINES
    assert told[-1] == len(LINES)
    assert f"format={asked}" in oracle.requests[0].path


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda e: e.to_file("events.txt"), "format"),
        (lambda e: e.to_file("events", "xml"), "format"),
        (lambda e: e.where(price=gt(None)), "filter.price"),
        (lambda e: e.timeframe("this_day"), "timeframe"),
        (lambda e: [*e.timezone(10)], "timezone"),
    ],
)
def test_a_mistake_in_an_export_is_named(oracle: Oracle, export: Export, make: Any, field: str) -> None:
    with pytest.raises(InvalidQueryError) as caught:
        make(export)
    assert [*caught.value.errors] == [field]
    assert oracle.requests == []


# Against a real server

PURCHASES = [
    {"country": "AU", "product": "bell", "price": 7.25, "customer": {"age": 31}, "tags": ["new", 7]},
    {"country": "AU", "product": "pump", "price": 19.25, "customer": {"age": 64}, "tags": ["used"]},
    {"country": "NZ", "product": "bell", "price": 10, "customer": {"age": 25}},
    {"country": "NZ", "product": "lamp", "price": 42.5, "customer": {"age": 47}, "tags": "newish"},
    {"country": "DE", "product": "bell", "price": 8, "customer": {"age": 19}},
    {"product": "wheel", "price": 120},
]
TIMES = [
    timedelta(),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(days=40),
    timedelta(days=400),
]


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[ConnectClient]:
    now = datetime.now(UTC)
    for at, back in enumerate(TIMES):
        events = [
            {**each, "id": f"{at}-{n}", "timestamp": (now - back).isoformat()} for n, each in enumerate(PURCHASES)
        ]
        server.push("purchases", *events)
    fixed = [{"id": n, "timestamp": f"2026-01-0{n}T12:00:00Z", **each} for n, each in enumerate(PURCHASES, start=1)]
    server.push("fixed", *fixed)
    with ConnectClient(server.project_id, server.keys["master"], server.url) as made:
        yield made


def by_hand(server: ServerProcess, document: Document, collection: str = "purchases") -> Any:
    answer = server.request("GET", f"/events/{collection}", params={"query": json.dumps(document)})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("cases", [WHERE, SELECT, TIME], ids=["where", "select", "time"])
def test_an_answer_is_that_to_the_same_json_sent_by_hand(
    server: ServerProcess, client: ConnectClient, cases: list[tuple[Build, Document]]
) -> None:
    for build, document in cases:
        before, after = None, by_hand(server, document)
        while before != after:  # the minute may end between two requests
            before = after
            response = build(client.query("purchases")).execute()
            after = by_hand(server, document)
        assert (response.metadata, response.results) == (after["metadata"], after["results"]), document
        assert len(response) >= 1
        if cases is WHERE:
            assert 0 < response[0]["n"] < len(TIMES) * len(PURCHASES), document


def test_a_query_is_executed_without_blocking_others(server: ServerProcess, client: ConnectClient) -> None:
    async def ask() -> list[int]:
        countries = [client.query("purchases").select(n=count()).where(country=name) for name in ("AU", "NZ", "DE")]
        answers = await asyncio.gather(*(each.execute_async() for each in countries))
        return [answer[0]["n"] for answer in answers]

    assert asyncio.run(ask()) == [12, 12, 6]


def test_a_filtered_key_is_made_and_tried_in_two_lines(server: ServerProcess, client: ConnectClient) -> None:
    definition = {"filters": any_of(country="AU", price=gt(100)).document, "canQuery": True}
    key = security.seal_filtered_key(definition, server.keys["master"], server.project_id)
    with ConnectClient(server.project_id, key, server.url) as customer:
        assert customer.query("purchases").execute()[0]["_count"] == 18
        assert customer.query("purchases").where(country=neq("AU")).execute()[0]["_count"] == 6


def test_a_long_query_is_answered_too(client: ConnectClient) -> None:
    countries = ["AU", *(f"nowhere {n}" for n in range(5_000))]
    assert client.query("purchases").select(n=count()).where(country=countries).execute()[0]["n"] == 12


def test_days_have_rows_and_become_a_table(client: ConnectClient) -> None:
    query_ = client.query("fixed").select(n=count(), revenue=query.sum("price")).where(price=lt(100))
    response = query_.timeframe(START, datetime(2026, 1, 8, tzinfo=UTC)).interval("daily").execute()
    assert [row["n"] for row in response] == [1, 1, 1, 1, 1, 0, 0]
    assert response[6]["start"] == datetime(2026, 1, 7, tzinfo=UTC)
    assert response.to_pandas().set_index("start")["revenue"].sum() == 87.0
    local = query_.interval("daily", non_empty=True).timezone("Australia/Brisbane").execute()
    assert local[0]["start"].isoformat() == "2026-01-01T00:00:00+10:00"


def test_the_events_of_a_collection_are_exported(client: ConnectClient, tmp_path: Path) -> None:
    events = [*client.export("fixed")]
    assert [event["id"] for event in events] == ["1", "2", "3", "4", "5", "6"]
    assert events[0]["customer"] == {"age": 31}
    chosen = client.export("fixed").where(price=lt(100)).timeframe(datetime(2026, 1, 2), datetime(2026, 1, 5))
    assert [event["price"] for event in chosen] == [19.25, 10, 42.5]
    chosen.to_file(tmp_path / "chosen.jsonl")
    assert [json.loads(line)["id"] for line in (tmp_path / "chosen.jsonl").read_text().splitlines()] == ["2", "3", "4"]
    chosen.to_file(tmp_path / "chosen.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "chosen.parquet").column("price").to_pylist() == [19.25, 10, 42.5]
    chosen.to_file(tmp_path / "chosen.csv")
    assert len((tmp_path / "chosen.csv").read_text().splitlines()) == 4
    assert [*client.export("nobody has pushed to")] == []
    assert [*client.export("fixed").timeframe("last_year").timezone("Australia/Brisbane")] == []
