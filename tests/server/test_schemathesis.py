"""Schemathesis sends what the OpenAPI document allows and what it does not, and checks each answer against it.

All its checks run; no operation is left out. With ``CONNECT_FUZZ_SECONDS`` it goes on for that long, from another seed
each time.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from connect_logging.rules import collection_violation
from connect_logging.server.app import make_app
from connect_logging.server.projects import ProjectFile
from connect_logging.server.settings import Settings
from connect_logging.server.stores.duckdb import DuckDBStore

SECONDS = int(os.environ.get("CONNECT_FUZZ_SECONDS", "0"))
EXAMPLES = 100_000 if SECONDS else 15
SEED = secrets.randbits(32) if SECONDS else 1

COLLECTIONS = st.from_regex(r"\w([\w .:-]{0,30}[\w.:-])?", fullmatch=True)
schemathesis.openapi.format("collection", COLLECTIONS.filter(lambda name: collection_violation(name) is None))


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
    yield schemathesis.openapi.from_asgi("/openapi.json", make_app(Settings(tmp_path), projects, store), config=config)
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
        assert not isinstance(event, events.NonFatalError | events.FatalError), event
    print(f"schemathesis, seed {SEED}: {sum(sent.values())} requests to {len(sent)} operations")
    assert failures == []
    operations = {operation.ok().label for operation in schema.get_all_operations()}
    assert {label for label, count in sent.items() if count} >= operations


def _failures(finished: events.ScenarioFinished) -> list[str]:
    found = []
    for checks in finished.recorder.checks.values():
        for check in checks:
            if check.failure_info:
                failure = check.failure_info.failure
                found.append(f"{finished.label}: {failure.title}: {failure.message}\n{check.failure_info.code_sample}")
    return found
