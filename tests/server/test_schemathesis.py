"""Schemathesis sends what the OpenAPI document allows and what it does not, and checks each answer against it.

All its checks run; no operation is left out. With ``CONNECT_FUZZ_SECONDS`` it goes on for that long, from another seed
each time.
"""

from __future__ import annotations

import json
import os
import secrets
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zoneinfo import available_timezones

import pytest
import schemathesis
from backed import backed
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from starlette.types import ASGIApp, Receive, Scope, Send

from connect_logging.rules import collection_violation
from connect_logging.server.app import make_app
from connect_logging.server.projects import ProjectFile
from connect_logging.server.settings import Settings
from connect_logging.server.stores.duckdb import DuckDBStore
from connect_logging.server.transfers.service import Transfers

SECONDS = int(os.environ.get("CONNECT_FUZZ_SECONDS", "0"))
EXAMPLES = 100_000 if SECONDS else 4
SAME_DOCUMENT = ("GET /events/{collection}", "GET /events/{collection}/export", "POST /events/{collection}/export")
"""Their query is that of POST /events/{collection}/query: all its corners once more would take ten seconds."""
REFUSED = "positive_data_acceptance"
NOBODY = "http://127.0.0.1:9"
SEED = secrets.randbits(32) if SECONDS else 1

# What no JSON Schema can say, and other tests do.


def filter_path_parameters(_: Any, path_parameters: Any) -> bool:
    """A collection's name is in form NFKC, and none is errorMessage (tests/test_rules.py)."""
    values = [unquote(str(value)) for value in (path_parameters or {}).values()]
    return "errorMessage" not in values and all(unicodedata.is_normalized("NFKC", value) for value in values)


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """Which addresses of S3 there are (tests/server/s3/test_addresses.py). At this one nothing listens."""
    here = {"s3Path": f"{NOBODY}/bucket/key", "s3Endpoint": NOBODY}
    if isinstance(case.body, dict):
        case.body |= {name: here[name] for name in here if isinstance(case.body.get(name), str)}


def filter_case(_: Any, case: Any) -> bool:
    """What the parts of a request have to do with each other (test_parser.py and test_imports.py)."""
    if (case.method, case.path) == ("POST", "/event-import"):
        is_upload = case.media_type != "application/json"
        if is_upload != bool((case.query or {}).get("collection")):
            return False
        named = case.body.get("collection") if isinstance(case.body, dict) else None
        is_nfkc = not isinstance(named, str) or unicodedata.is_normalized("NFKC", named)
        return is_nfkc and (not is_upload or isinstance(case.body, str | bytes))
    query = (case.query or {}).get("query")
    inner = case.body.get("query") if isinstance(case.body, dict) else None
    try:
        return all(map(_agrees, (case.body, inner, json.loads(query) if isinstance(query, str) else query)))
    except (TypeError, ValueError):
        return True


def _agrees(query: Any) -> bool:
    """No alias is also a group; an order is by columns; a zone is one, and makes a difference; intervals are few.

    True for what is no query at all.
    """
    try:
        groups, aliases = _list(query.get("groupBy")), list(query.get("select") or ())
        ordered = [name for each in _list(query.get("orderBy")) for name in ([each] if isinstance(each, str) else each)]
        timeframe = query.get("timeframe")
        zone = query.get("timezone")
        is_relative = isinstance(timeframe, str) or "current" in (timeframe or ()) or "previous" in (timeframe or ())
        return bool(
            not set(aliases) & set(groups)
            and set(ordered) <= {*groups, *(aliases or ["_count"])}
            and (zone is None or query.get("interval") or is_relative)
            and (not isinstance(zone, str) or zone in available_timezones())
            and (not query.get("interval") or query.get("nonEmpty") is True)
        )
    except (AttributeError, TypeError):
        return True


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value in (None, {}) else [value]


def _without_coverage(operation: str) -> dict[str, Any]:
    return {"include-name": operation, "phases": {"coverage": {"enabled": False}}}


def _living(app: ASGIApp) -> ASGIApp:
    """``app``, which knows nothing but requests, for a client that begins and ends it."""

    async def living(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
        else:
            await app(scope, receive, send)

    return living


@pytest.fixture
def schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(Transfers, "_submit", lambda *_: None)  # hundreds of jobs, which all would find nobody
    projects = ProjectFile(tmp_path / "projects.json")
    project = projects.create()
    store = DuckDBStore(
        tmp_path / "events.duckdb", memory_limit="256MB", threads=1, query_timeout=10, max_waiting=1_000_000
    )
    keys = {"ProjectId": {"api_key": project.id}, "ApiKey": {"api_key": project.keys.master}}
    config = SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "continue-on-failure": True,
            "auth": {"openapi": keys},
            "generation": {"max-examples": EXAMPLES, "deterministic": not SECONDS, "database": "none"},
            **({"max-time": SECONDS} if SECONDS else {"operations": [*map(_without_coverage, SAME_DOCUMENT)]}),
        }
    )
    opened = ExitStack()
    app = make_app(Settings(tmp_path, s3_endpoints=(NOBODY,)), backed(tmp_path, store, projects), opened=opened)
    loaded = schemathesis.openapi.from_asgi("/openapi.json", _living(app), config=config)
    loaded.hook(filter_path_parameters)
    loaded.hook(filter_case)
    yield loaded
    opened.close()
    store.close()


@pytest.mark.timeout(SECONDS + 120)
def test_no_answer_differs_from_the_document(schema: Any) -> None:
    schema.validate()
    sent: Counter[str] = Counter()
    failures: list[str] = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            sent[event.label] += len(event.recorder.interactions)
            failures += _failures(event)
        elif isinstance(event, events.NonFatalError):
            failures.append(f"{event.label}: {event.info.format()}")
        assert not isinstance(event, events.FatalError), event
    print(f"schemathesis, seed {SEED}: {sum(sent.values())} requests to {len(sent)} operations")
    assert not failures, "\n\n".join(
        [f"{len(failures)} failures, the first:", *(each[:1_000] for each in failures[:5])]
    )
    operations = {operation.ok().label for operation in schema.get_all_operations()}
    assert {label for label, count in sent.items() if count} >= operations


def _failures(finished: events.ScenarioFinished) -> list[str]:
    """What differs. The phase that goes through all corners does not ask :func:`filter_case`."""
    found = []
    for identity, checks in finished.recorder.checks.items():
        case = finished.recorder.cases[identity].value
        for check in checks:
            if check.failure_info and (check.name != REFUSED or filter_case(None, case)):
                failure = check.failure_info.failure
                if not _is_called_wrong(case, failure.message):
                    found.append(
                        f"{finished.label}: {failure.title}: {failure.message}\n{check.failure_info.code_sample}"
                    )
    return found


def _is_called_wrong(case: Any, message: str) -> bool:
    """Whether a collection was accepted that is said to violate the document, and does not.

    In some runs that is said of one letter, 쮇. The rule for names has its own tests (tests/test_rules.py).
    """
    name = (case.path_parameters or {}).get("collection")
    is_blamed = "Invalid component: parameter `collection` in path" in message
    return is_blamed and name is not None and collection_violation(unquote(str(name))) is None
