"""From the headers of a request to what its sender may do.

Invariants: whatever is wrong with the credentials, and when they are right but not for this, the answer is the same;
a grant's filters can only narrow a query; a filtered key may push and query at most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from starlette.requests import HTTPConnection

from ..exceptions import InvalidFilteredKeyError
from ..security import SEALED, decrypt_filtered_key, open_filtered_key
from .answers import unauthorized
from .projects import Project, ProjectFile, Role
from .query.filters import parse_filters
from .query.model import Filter, InvalidQueryError

_FILTERED_KEY = re.compile(rf"{SEALED}.*|[0-9A-Fa-f]{{32}}-[0-9A-Fa-f]+", re.DOTALL)

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


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key allows in ``project``. ``filters`` are to be ANDed with those of every query."""

    project: str
    rights: frozenset[Right]
    filters: tuple[Filter, ...] = ()


class Authenticator:
    """Reads keys against the projects as they are at the moment of each request."""

    def __init__(self, projects: ProjectFile) -> None:
        self._projects = projects

    def require(self, request: HTTPConnection, right: Right) -> Grant:
        """The grant of the one who asks, which has ``right``. Raises RefusedError, the same for every cause."""
        grant = self.grant(request.headers)
        if grant is None or right not in grant.rights:
            raise unauthorized()
        return grant

    def grant(self, headers: Mapping[str, str]) -> Grant | None:
        """The grant for ``X-Project-Id`` and ``X-Api-Key``, or for ``PROJECT-KEY`` in ``X-Api-Key`` alone.

        The joined form is for systems that have one field for a key; a project id has no hyphen.
        """
        key = headers.get("x-api-key", "")
        project_id = headers.get("x-project-id")
        if project_id is None:
            project_id, _, key = key.partition("-")
        project = self._projects.get(project_id)
        if project is None:
            return None
        if _FILTERED_KEY.fullmatch(key):
            return _filtered(project, key)
        role = project.role_of(key)
        return None if role is None else Grant(project.id, _RIGHTS[role])


def _filtered(project: Project, key: str) -> Grant | None:
    try:
        if key.startswith(SEALED):
            definition = open_filtered_key(key, project.keys.master, project.id)
        elif project.legacy_filtered_keys:
            definition = decrypt_filtered_key(key, project.keys.master)
        else:
            return None
        rights: dict[Right, bool] = {"push": definition["canPush"], "query": definition["canQuery"]}
        filters = parse_filters(definition["filters"]) if definition["canQuery"] else ()
    except (InvalidFilteredKeyError, InvalidQueryError):
        return None
    return Grant(project.id, frozenset(right for right, given in rights.items() if given), filters)
