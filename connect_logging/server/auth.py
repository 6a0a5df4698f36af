"""From the headers of a request to what its sender may do.

Invariants: whatever is wrong with the credentials, and when they are right but not for this, the answer is the same;
a grant's filters can only narrow a query; a filtered key may push and query at most.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec
from starlette.requests import HTTPConnection

from .._grammar.filters import parse_filters
from .._grammar.model import Filter
from ..exceptions import InvalidFilteredKeyError, InvalidQueryError
from ..security import SEALED, decrypt_filtered_key, open_filtered_key
from .answers import RefusedError, unauthorized
from .failed_keys import FailedKeys
from .projects import Project, Projects, Role

_LEGACY = re.compile(r"[0-9A-Fa-f]{32}-[0-9A-Fa-f]+")
_REMEMBERED: Final = 1_024
"""Filtered keys that are not read anew at each request."""

Right: TypeAlias = Literal["push", "query", "browse", "manage"]
"""push: send events. query: ask about the events that the grant's filters leave. browse: see what a project holds
beyond any filter, such as the names of its collections. manage: delete.
"""
_RIGHTS: Final[Mapping[Role, frozenset[Right]]] = {
    "push": frozenset({"push"}),
    "query": frozenset({"query", "browse"}),
    "push_query": frozenset({"push", "query", "browse"}),
    "master": frozenset({"push", "query", "browse", "manage"}),
}


class Grant(msgspec.Struct, frozen=True):
    """What a key allows in ``project``. ``filters`` are to be ANDed with those of every query."""

    project: str
    rights: frozenset[Right]
    filters: tuple[Filter, ...] = ()


class Authenticator:
    """Reads keys against the projects as they are at the moment of each request. For one thread.

    Who fails too often is told to wait, and no key of the legacy form that is new to this process is tried meanwhile:
    these are what guesses are of use against. All other keys are read however often somebody fails, and so is a legacy
    key that was good before: nobody's failures lock out a program that works.
    ``on_failure`` is called for each wrong key.
    """

    def __init__(
        self, projects: Projects, failures: FailedKeys, on_failure: Callable[[], object] = lambda: None
    ) -> None:
        self._projects = projects
        self._on_failure = on_failure
        self._failures = failures
        self._good: OrderedDict[bytes, Grant] = OrderedDict()
        """Of filtered keys that were read, by a digest of key and master key; the last used comes last."""

    def require(self, request: HTTPConnection, right: Right) -> Grant:
        """The grant of the one who asks, which has ``right``.

        Raises RefusedError: 401, the same for every cause, or 429 to who fails too often.
        """
        project_id, key = _claimed(request.headers)
        project = self._projects.get(project_id)
        client = request.client
        source = client.host if client else None, project.id if project else None
        wait = self._failures.wait(*source)
        grant = self._grant(project, key, guess=not wait) if project else None
        if grant is None:
            self._on_failure()
            if wait:
                raise RefusedError(429, "too many wrong keys: try again later", {"Retry-After": str(wait)})
            self._failures.count(*source)
        if grant is None or right not in grant.rights:
            raise unauthorized()
        request.state.project = grant.project  # for the access log
        return grant

    def _grant(self, project: Project, key: str, *, guess: bool) -> Grant | None:
        is_legacy = _LEGACY.fullmatch(key) is not None
        if not is_legacy and not key.startswith(SEALED):
            role = project.role_of(key)
            return None if role is None else Grant(project.id, _RIGHTS[role])
        if is_legacy and not project.legacy_filtered_keys:
            return None
        digest = hashlib.sha256(f"{project.id} {project.keys.master} {key}".encode()).digest()
        grant = self._good.pop(digest, None)
        if grant is None and (guess or not is_legacy):
            grant = _read(project, key)
        if grant is not None:
            self._good[digest] = grant
            if len(self._good) > _REMEMBERED:
                self._good.popitem(last=False)
        return grant


def _claimed(headers: Mapping[str, str]) -> tuple[str, str]:
    """Project id and key: ``X-Project-Id`` and ``X-Api-Key``, or ``PROJECT-KEY`` in ``X-Api-Key`` alone.

    The joined form is for systems that have one field for a key; a project id has no hyphen.
    """
    key = headers.get("x-api-key", "")
    project_id = headers.get("x-project-id")
    if project_id is None:
        project_id, _, key = key.partition("-")
    return project_id, key


def _read(project: Project, key: str) -> Grant | None:
    """What a filtered key allows; None when it is not one."""
    try:
        if key.startswith(SEALED):
            definition = open_filtered_key(key, project.keys.master, project.id)
        else:
            definition = decrypt_filtered_key(key, project.keys.master)
        rights: dict[Right, bool] = {"push": definition["canPush"], "query": definition["canQuery"]}
        filters = parse_filters(definition["filters"]) if definition["canQuery"] else ()
    except (InvalidFilteredKeyError, InvalidQueryError):
        return None
    return Grant(project.id, frozenset(right for right, given in rights.items() if given), filters)
