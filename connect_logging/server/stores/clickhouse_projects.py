"""Projects in a table of ClickHouse, for any number of servers.

Each server has all of them in memory, for requests to be checked without waiting for anybody, and reads the table once
a second (:meth:`ClickHouseProjects.refresh`). What it has written itself it heeds at once. While the table cannot be
read, what was read last counts.

Invariants: of two versions of a project the higher one counts, here as in the table, so that a replica which lags
behind takes nothing back; there is one first project, whoever makes it at the same time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from ..projects import DamagedProjectsError, Keys, Project, UnknownProjectError
from .base import StoreError
from .clickhouse_connection import ClickHouse, Column

REFRESH_AFTER: Final = 1.0
"""Seconds."""

_SETTINGS: Final = {"insert_quorum": "auto"}
"""On a cluster most replicas have it when it is answered; one server has no quorum."""
_FIRST: Final = {"insert_deduplication_token": "first project"}
"""Of inserts with the same token ClickHouse takes one, whoever sends them."""
_SEEN_WITHIN: Final = 10.0
"""Seconds that a replica may need for what another one has taken."""
_LOOK_AGAIN: Final = 0.1

_decode: Callable[[bytes | str], Project] = msgspec.json.Decoder(Project).decode


class _Known(NamedTuple):
    version: int
    project: Project


class ClickHouseProjects:
    """See :class:`~..projects.Projects`. ``table``: its name, quoted. Raises StoreError, DamagedProjectsError."""

    def __init__(self, database: ClickHouse, table: str) -> None:
        self._database = database
        self._table = table
        self._changing = threading.Lock()
        self._known: dict[str, _Known] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what others have changed. Raises StoreError, DamagedProjectsError."""
        with self._changing:
            self._read()

    def get(self, project_id: str) -> Project | None:
        """See :meth:`~..projects.Projects.get`."""
        known = self._known.get(project_id)
        return None if known is None else known.project

    def list(self) -> list[Project]:
        """See :meth:`~..projects.Projects.list`."""
        self.refresh()
        return sorted((known.project for known in self._known.values()), key=lambda project: project.created)

    def create(self) -> Project:
        """See :meth:`~..projects.Projects.create`."""
        return self.add(Project.new())

    def create_first(self) -> Project | None:
        """See :meth:`~..projects.Projects.create_first`."""
        with self._changing:
            self._read()
            if self._known:
                return None
            made = Project.new()
            self._insert(_Known(1, made), _FIRST)
            ends = time.monotonic() + _SEEN_WITHIN
            while not self._known:
                self._read()
                if time.monotonic() > ends:
                    raise StoreError("the first project cannot be read: does the replica get what others have?")
                if not self._known:
                    time.sleep(_LOOK_AGAIN)
            return self.get(made.id)

    def add(self, project: Project) -> Project:
        """See :meth:`~..projects.Projects.add`."""
        with self._changing:
            self._read()
            if project.id not in self._known:
                self._write(_Known(1, project))
            return self._known[project.id].project

    def reset_keys(self, project_id: str) -> Project:
        """See :meth:`~..projects.Projects.reset_keys`."""
        return self._change(project_id, keys=Keys.new())

    def configure(self, project_id: str, *, legacy_filtered_keys: bool) -> Project:
        """See :meth:`~..projects.Projects.configure`."""
        return self._change(project_id, legacy_filtered_keys=legacy_filtered_keys)

    def _change(self, project_id: str, **changes: Any) -> Project:
        with self._changing:
            self._read()
            known = self._known.get(project_id)
            if known is None:
                raise UnknownProjectError(f"there is no project {project_id!r}")
            self._write(_Known(known.version + 1, msgspec.structs.replace(known.project, **changes)))
            return self._known[project_id].project

    def _read(self) -> None:
        rows = self._database.rows(
            "the projects could not be read",
            f"SELECT document, version FROM {self._table} FINAL",  # noqa: S608 - a name of ours
        )
        known = {**self._known}
        for document, version in rows:
            try:
                project = _decode(document)
            except msgspec.MsgspecError:
                raise DamagedProjectsError(f"{self._table} holds what is no project: restore it") from None
            if project.id not in known or known[project.id].version <= version:
                known[project.id] = _Known(version, project)
        self._known = known

    def _write(self, known: _Known) -> None:
        self._insert(known, {})
        self._known = {**self._known, known.project.id: known}

    def _insert(self, known: _Known, settings: dict[str, str]) -> None:
        columns = [
            Column("id", "String", [known.project.id]),
            Column("document", "String", [msgspec.json.encode(known.project)]),
            Column("version", "UInt64", [known.version]),
        ]
        self._database.insert("the project could not be stored", self._table, columns, {**_SETTINGS, **settings})
