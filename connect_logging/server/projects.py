"""Projects and their keys; and where they are kept beside the embedded store, a small file that processes share.

Wherever they are kept, every key is there in the clear, because the master key must be recoverable (filtered keys are
encrypted with it). No ``repr`` of anything here shows a key.

Invariants of the file:

* It has mode 0600.
* Writers take turns by a lock file, and readers see the old content or the new one, never half.
* A change made by another process is seen by the next :meth:`ProjectFile.get`: the file is compared by ``stat``. One
  that cannot be read leaves the projects as they were, for ``get`` alone, and the log says so, once until it can be.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from hmac import compare_digest
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec

from ..exceptions import ConnectError
from .data_directory import read_private, remove_unfinished, write_atomically

_log = logging.getLogger(__name__)

Role: TypeAlias = Literal["push", "query", "push_query", "master"]
ROLES: Final[tuple[Role, ...]] = ("push", "query", "push_query", "master")

_ALPHABET: Final = string.ascii_letters + string.digits
_KEY_LENGTH: Final = 32
"""A master key's bytes are an AES-256 key, so there must be 32 of them."""
_Stamp: TypeAlias = "tuple[int, int, int]"


class UnknownProjectError(ConnectError):
    """There is no project with this id."""


class DamagedProjectsError(ConnectError):
    """The file of projects cannot be read."""


class Keys(msgspec.Struct, frozen=True, rename="camel", dict=True):
    """A project's four keys, 32 ASCII letters and digits each."""

    push: str
    query: str
    push_query: str
    master: str

    def __repr__(self) -> str:
        return "Keys(…)"

    @cached_property
    def digests(self) -> tuple[tuple[Role, bytes], ...]:
        """What a key is compared with: four hashes that would cost more than the one of the key itself."""
        return tuple((role, _digest(getattr(self, role))) for role in ROLES)

    @classmethod
    def new(cls) -> Keys:
        """Four keys that nobody can guess."""
        return cls(*("".join(secrets.choice(_ALPHABET) for _ in range(_KEY_LENGTH)) for _ in ROLES))


class Project(msgspec.Struct, frozen=True, rename="camel"):
    """A project: ``id`` of 24 hex digits, ``created`` in UTC, its keys, and its settings.

    ``legacy_filtered_keys``: whether filtered keys in the old form, which is not authenticated, are taken.
    """

    id: str
    created: datetime
    keys: Keys
    legacy_filtered_keys: bool = True

    @classmethod
    def new(cls) -> Project:
        """A project that nobody has yet."""
        return cls(secrets.token_hex(12), datetime.now(UTC), Keys.new())

    def role_of(self, key: str) -> Role | None:
        """What ``key`` may do here, or None. Takes the same time for every key, right or wrong."""
        digest = _digest(key)
        found: Role | None = None
        for role, expected in self.keys.digests:
            if compare_digest(digest, expected):
                found = role
        return found


class Projects(Protocol):
    """The projects of a server. Safe to share between threads.

    All but :meth:`get` may block, and raise StoreError when what keeps the projects cannot be reached.
    """

    def get(self, project_id: str) -> Project | None:
        """The project, or None. Never blocks. What another process changed is seen within a second at the latest."""

    def list(self) -> list[Project]:
        """All projects as they are now, oldest first."""

    def create(self) -> Project:
        """A new project with new keys, on disk when this returns."""

    def create_first(self) -> Project | None:
        """A project when there is none yet, else None. Of several processes that ask at once one gets it."""

    def add(self, project: Project) -> Project:
        """Keep ``project`` as it is. When there is one with its id, that stays as it is, and is returned."""

    def reset_keys(self, project_id: str) -> Project:
        """Replace all four keys, which ends every filtered key as well. Raises UnknownProjectError."""

    def configure(self, project_id: str, *, legacy_filtered_keys: bool) -> Project:
        """Change a project's settings. Raises UnknownProjectError."""


class _Document(msgspec.Struct):
    projects: list[Project]


class ProjectFile:
    """The projects of a data directory, kept in ``path``. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[_Stamp | None, dict[str, Project]] = (None, {})
        self._is_failing = False

    def get(self, project_id: str) -> Project | None:
        """See :meth:`Projects.get`. Costs one ``stat`` when nothing has changed."""
        try:
            projects = self._current()
            self._is_failing = False
        except (ConnectError, OSError) as error:
            projects = self._read[1]
            if not self._is_failing:
                self._is_failing = True
                _log.error("%s; until then projects and keys are as they were", error)
        return projects.get(project_id)

    def list(self) -> list[Project]:
        """See :meth:`Projects.list`."""
        return list(self._current().values())

    def create(self) -> Project:
        """See :meth:`Projects.create`."""
        return self.add(Project.new())

    def create_first(self) -> Project | None:
        """See :meth:`Projects.create_first`."""
        with self._changing() as projects:
            if projects:
                return None
            project = Project.new()
            projects[project.id] = project
            return project

    def add(self, project: Project) -> Project:
        """See :meth:`Projects.add`."""
        with self._changing() as projects:
            return projects.setdefault(project.id, project)

    def reset_keys(self, project_id: str) -> Project:
        """See :meth:`Projects.reset_keys`."""
        return self._change(project_id, keys=Keys.new())

    def configure(self, project_id: str, *, legacy_filtered_keys: bool) -> Project:
        """See :meth:`Projects.configure`."""
        return self._change(project_id, legacy_filtered_keys=legacy_filtered_keys)

    def _change(self, project_id: str, **changes: Any) -> Project:
        with self._changing() as projects:
            if project_id not in projects:
                raise UnknownProjectError(f"there is no project {project_id!r}")
            projects[project_id] = msgspec.structs.replace(projects[project_id], **changes)
            return projects[project_id]

    def _current(self) -> dict[str, Project]:
        stamp, projects = self._read
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return {}
        now = (status.st_ino, status.st_mtime_ns, status.st_size)
        if now != stamp:
            # The stamp is older than what is read or the same, so a later change is never missed.
            try:
                document = msgspec.json.decode(read_private(self._path), type=_Document)
            except msgspec.MsgspecError:
                raise DamagedProjectsError(f"{self._path} is damaged: restore it from a backup") from None
            projects = {project.id: project for project in document.projects}
            self._read = (now, projects)
        return projects

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Project]]:
        """The projects to be changed in place; written when the block ends without an error."""
        lock = os.open(
            self._path.with_name(self._path.name + ".lock"),
            os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            remove_unfinished(self._path)  # it holds keys
            projects = dict(self._current())
            yield projects
            if projects != self._current():
                write_atomically(self._path, msgspec.json.encode(_Document(list(projects.values()))))
        finally:
            os.close(lock)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
