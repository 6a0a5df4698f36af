"""The server's answers against those of the reference: random questions about random events, and no difference.

What ``make fuzz`` has found is kept in ``found/``, a file a case.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzz import FOUND, TARGETS
from hypothesis import HealthCheck, given, settings

from ..stores.backings import IN_PROCESS
from . import reference
from .asking import Asked, asked, compare, differ, hide, survive
from .generating import CASES, DOCUMENTS, queries

ALWAYS_THE_SAME = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(scope="module", params=IN_PROCESS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with asked(IN_PROCESS[request.param](tmp_path_factory.mktemp("store"), request)) as running:
        yield running


@settings(ALWAYS_THE_SAME, max_examples=10)
@given(CASES)
def test_answers_are_those_of_the_reference(server: Asked, case: Any) -> None:
    differ(server, **case)


@pytest.mark.parametrize("file", sorted(FOUND.glob("*.json")), ids=lambda file: file.stem)
def test_what_was_found_once_is_right_now(server: Asked, file: Path) -> None:
    target = TARGETS[file.stem.partition("-")[0]]
    assert target.try_(server, json.loads(file.read_text()))


@settings(ALWAYS_THE_SAME, max_examples=50)
@given(DOCUMENTS)
def test_whatever_is_asked_is_answered_or_refused(server: Asked, document: Any) -> None:
    survive(server, document)


@settings(ALWAYS_THE_SAME, max_examples=50)
@given(queries())
def test_statements_hold_nothing_that_a_user_wrote(query: Any) -> None:
    hide(query)


def test_differences_are_seen() -> None:
    same = {"a": [1, 2.0, None, {"b": "x"}]}
    assert compare(same, {"a": [1.0, 2, None, {"b": "x"}]}) == ""
    for other in (
        {"a": [1, 2.0, None, {"b": "y"}]},
        {"a": [1, 2.0, None]},
        {"a": [True, 2, None, {"b": "x"}]},
        {"b": 1},
        [],
    ):
        assert compare(same, other)
    assert compare(1.0, reference.Near(1.0 + 1e-13, 1)) == ""
    assert compare(1.0, reference.Near(1.0 + 1e-9, 1))
