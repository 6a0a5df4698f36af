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
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from connect_logging.server.app import make_app
from connect_logging.server.projects import ProjectFile
from connect_logging.server.settings import Settings
from connect_logging.server.stores.duckdb import DuckDBStore

SECONDS = int(os.environ.get("CONNECT_FUZZ_SECONDS", "0"))
EXAMPLES = 100_000 if SECONDS else 15
SEED = secrets.randbits(32) if SECONDS else 1

# What no JSON Schema can say, and other tests do.


def filter_path_parameters(_: Any, path_parameters: Any) -> bool:
    """A collection's name is in form NFKC (tests/test_rules.py)."""
    return all(unicodedata.is_normalized("NFKC", unquote(str(value))) for value in (path_parameters or {}).values())


def filter_query(_: Any, query: Any) -> bool:
    """No alias is also a group (tests/server/query/test_model.py)."""
    try:
        document = json.loads((query or {}).get("query"))
        return not set(document["select"]) & set(_names(document["groupBy"]))
    except (TypeError, ValueError, KeyError):
        return True


@pytest.fixture
def schema(tmp_path: Path) -> Iterator[Any]:
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
            **({"max-time": SECONDS} if SECONDS else {}),
        }
    )
    app = make_app(Settings(tmp_path), projects, store)
    loaded = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    loaded.hook(filter_path_parameters)
    loaded.hook(filter_query)
    yield loaded
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


def _names(group_by: Any) -> list[Any]:
    return group_by if isinstance(group_by, list) else [group_by]


def _failures(finished: events.ScenarioFinished) -> list[str]:
    found = []
    for checks in finished.recorder.checks.values():
        for check in checks:
            if check.failure_info:
                failure = check.failure_info.failure
                found.append(f"{finished.label}: {failure.title}: {failure.message}\n{check.failure_info.code_sample}")
    return found
