"""Fixtures of the server's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from backed import backed
from starlette.types import ASGIApp

from connect_logging.server.app import make_app
from connect_logging.server.projects import ProjectFile
from connect_logging.server.settings import Settings
from connect_logging.server.stores.base import Store
from connect_logging.server.stores.duckdb import DuckDBStore

from .stores.backings import BACKINGS, OpenStore


class Stored(NamedTuple):
    """An app over a real store, and its projects."""

    app: ASGIApp
    projects: ProjectFile


class MakeStored(Protocol):
    """Makes the app once more over the module's store and projects, with these settings."""

    def __call__(self, **settings: Any) -> Stored: ...


@pytest.fixture(scope="module")
def make_stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeStored]:
    """One store for all tests of a module: give each a project of its own."""
    data = tmp_path_factory.mktemp("stored")
    projects = ProjectFile(data / "projects.json")
    store = DuckDBStore(
        data / "events.duckdb", memory_limit="256MB", threads=1, query_timeout=10, max_waiting=10_000_000
    )
    with closing(store):
        yield lambda **settings: Stored(make_app(Settings(data, **settings), backed(data, store, projects)), projects)


@pytest.fixture(params=BACKINGS)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStore]:
    """One database after the other, empty."""
    with BACKINGS[request.param](tmp_path, request) as opening:
        yield opening


@pytest.fixture
def any_store(open_store: OpenStore) -> Iterator[Store]:
    """A store of each kind."""
    with closing(open_store()) as store:
        yield store
