"""The real app on a real store, in this process, with a clock that stands still; and what is tried on it.

What is tried are plain functions, which tests call with a few cases and ``make fuzz`` with as many as it has time for.
Each returns how many things it tried, and raises AssertionError when something is wrong.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from backed import backed

from connect_logging.server.app import make_app
from connect_logging.server.projects import ProjectFile
from connect_logging.server.query.clickhouse_dialect import ClickHouseDialect
from connect_logging.server.query.compiler import compile_query
from connect_logging.server.query.dialect import Dialect, Source
from connect_logging.server.query.duckdb_dialect import DuckDBDialect
from connect_logging.server.query.parser import parse_query
from connect_logging.server.settings import Settings
from connect_logging.server.stores.base import Store

from ..asgi import Answer, ask
from ..stores.backings import OpenStore
from . import reference

Json = dict[str, Any]


class Asked:
    """An app that is pushed events and asked questions. ``now``: what its clock shows."""

    def __init__(self, store: Store, data: Path, runner: asyncio.Runner) -> None:
        self.now = datetime(2015, 11, 24, tzinfo=UTC)
        projects = ProjectFile(data / "projects.json")
        project = projects.create()
        self._app = make_app(Settings(data), backed(data, store, projects), clock=lambda: self.now.timestamp())
        self._headers = {"X-Project-Id": project.id, "X-Api-Key": project.keys.master}
        self._runner = runner
        self._collections = 0
        self.some = self.collection()
        self.push(self.some, [{"a": 1, "b": {"c": "x"}, "t": ["a", 1]}, {"a": "1"}, {}])

    def request(self, method: str, target: str, body: bytes = b"") -> Answer:
        """What the app answers to the master key."""
        return ask(self._app, method, target, [body], self._headers, self._runner.run)

    def collection(self) -> str:
        """A new one."""
        self._collections += 1
        return f"c{self._collections}"

    def push(self, collection: str, events: list[Json]) -> None:
        """More events."""
        answer = self.request("POST", "/events", json.dumps({collection: events}).encode())
        assert all(each["success"] for each in answer.json()[collection]), answer

    def query(self, collection: str, document: Any, body: bool = False) -> Answer:
        """A question, as the parameter or as the body."""
        text = document if isinstance(document, str) else json.dumps(document)
        if body:
            return self.request("POST", f"/events/{collection}/query", text.encode())
        return self.request("GET", f"/events/{collection}?query={quote(text)}")


@contextmanager
def asked(backing: AbstractContextManager[OpenStore]) -> Iterator[Asked]:
    """One on a database of its own, that is gone afterwards."""
    with (
        tempfile.TemporaryDirectory() as data,
        asyncio.Runner() as runner,
        backing as opening,
        closing(opening()) as store,
    ):
        yield Asked(store, Path(data), runner)


def differ(server: Asked, events: list[Json], queries: list[Json], now: str) -> int:
    """The server's answers to ``queries`` about ``events`` are those of the reference.

    The first of both come first: a server may learn something of the events that is not true of later ones.
    """
    server.now = datetime.fromisoformat(now)
    collection = server.collection()
    pushed: list[Json] = []
    for part in (0, 1):
        more = events[part * len(events) // 2 : (part + 1) * len(events) // 2]
        if more:
            server.push(collection, more)
            pushed += more
        agree(server, collection, pushed, queries[part::2])
    return len(queries)


def agree(server: Asked, collection: str, events: list[Json], queries: list[Json]) -> None:
    """The server's answers are those of the reference."""
    for place, query in enumerate(queries):
        found = server.query(collection, query, body=place % 2 == 1)
        expected = reference.answer(events, query, server.now)
        if expected == reference.TOO_MANY:
            assert found.status == 413, (query, found)
            continue
        assert found.status == 200, (query, found)
        difference = compare(found.json(), expected)
        assert not difference, f"{difference}\n  query {query}\n  found {found.json()}\nexpected {expected}"


def compare(found: Any, expected: Any, at: str = "") -> str:
    """Where two documents differ; empty when they do not. Numbers may be 1 or 1.0, and rounded where they are sums."""
    if isinstance(expected, dict):
        if not isinstance(found, dict) or list(found) != list(expected):
            return f"{at}: {found!r} is not {expected!r}"
        return next(filter(None, (compare(found[name], each, f"{at}.{name}") for name, each in expected.items())), "")
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return f"{at}: {found!r} is not {expected!r}"
        pairs = enumerate(zip(found, expected, strict=True))
        return next(filter(None, (compare(one, other, f"{at}[{place}]") for place, (one, other) in pairs)), "")
    if isinstance(expected, reference.Near) and isinstance(found, int | float) and not isinstance(found, bool):
        same = math.isclose(found, expected, rel_tol=1e-12, abs_tol=expected.slack)
    else:
        same = isinstance(found, bool) == isinstance(expected, bool) and found == expected
    return "" if same else f"{at}: {found!r} is not {expected!r}"


def survive(server: Asked, document: Any) -> int:
    """Whatever is asked is answered, or refused in one of the two shapes."""
    for body in (False, True):
        answer = server.query(server.some, document, body)
        assert answer.status in (200, 413, 422), (document, answer)
        assert set(answer.json()) in ({"metadata", "results"}, {"errorMessage"}, {"errors"}), (document, answer)
    return 2


def hide(query: Json) -> int:
    """A statement has no text of the user in it: with other texts in their places it is the same to the letter.

    Where a dialect quotes names that are plain, other plain names make no difference but in their places.
    """
    for dialect in (DuckDBDialect(), ClickHouseDialect()):
        hostile, more = renamed(query), renamed(renamed(query))
        assert statement(hostile, dialect) == statement(more, dialect)
        plain, other = (
            re.sub("`[A-Za-z0-9_]+`", "`name`", statement(each, dialect)) for each in (query, plainly(query))
        )
        assert plain == other
    return 2


def statement(query: Json, dialect: Dialect) -> str:
    """What is sent to the database, and how many parameters."""
    compiled = compile_query(parse_query(json.dumps(query), 0), Source("events"), dialect)
    return f"{compiled.sql} {len(compiled.parameters)}"


def plainly(query: Json) -> Json:
    """The same query about properties that are called otherwise, with names that are plain where they were."""
    return renamed(query, "_")


def renamed(query: Json, more: str = "--") -> Json:
    """The same query about properties, values and aliases that are called otherwise: ``more`` ends each name."""
    path = partial(_path, more)
    select = query.get("select") or {}
    aliases = {alias: f"{alias}'" for alias in select}
    order = query.get("orderBy") or []
    return {
        **query,
        "select": {f"{alias}'": _target(each, path) for alias, each in select.items()},
        "filter": _filter(query.get("filter") or {}, path),
        "groupBy": [path(each) for each in reference.paths(query.get("groupBy"))],
        "orderBy": [_column(each, aliases, path) for each in (order if isinstance(order, list) else [order])],
    }


Rename = Callable[[str], str]


def _path(more: str, path: str) -> str:
    return ".".join(f"{step}{more}" for step in path.split("."))


def _column(column: Any, aliases: dict[str, str], path: Rename) -> Any:
    if isinstance(column, dict):
        return {_column(name, aliases, path): direction for name, direction in column.items()}
    return aliases.get(column) or (column if column == "_count" else path(column))


def _target(wanted: Any, path: Rename) -> Any:
    if isinstance(wanted, str):
        return wanted
    return {
        name: path(each) if isinstance(each, str) else {**each, "property": path(each["property"])}
        for name, each in wanted.items()
    }


def _filter(filters: Json, path: Rename) -> Json:
    found: Json = {}
    for name, wanted in filters.items():
        if name == "or" and isinstance(wanted, list) and any(isinstance(each, dict) for each in wanted):
            found[name] = [_filter(each, path) for each in wanted]
        elif isinstance(wanted, dict):
            found[path(name)] = {operator: _value(each) for operator, each in wanted.items()}
        else:
            found[path(name)] = _value(wanted)
    return found


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(each) for each in value]
    return f"{value}';" if isinstance(value, str) else value
