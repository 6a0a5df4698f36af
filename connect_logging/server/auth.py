"""From the headers of a request to what its sender may do.

Invariants: whatever is wrong with the credentials, the answer is the same None; a grant's filters can only narrow a
query; a filtered key never makes a master.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..exceptions import InvalidFilteredKeyError
from ..security import decrypt_filtered_key
from .projects import Project, ProjectFile
from .query.model import Condition, InvalidQueryError, parse_filters

_FILTERED_KEY = re.compile(r"[0-9A-Fa-f]{32}-[0-9A-Fa-f]+")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key allows in ``project``. ``filters`` are to be ANDed with those of every query."""

    project: str
    can_push: bool = False
    can_query: bool = False
    is_master: bool = False
    filters: tuple[Condition, ...] = ()


class Authenticator:
    """Reads keys against the projects as they are at the moment of each request."""

    def __init__(self, projects: ProjectFile) -> None:
        self._projects = projects

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
        if role is None:
            return None
        return Grant(
            project.id,
            can_push=role in ("push", "push_query", "master"),
            can_query=role in ("query", "push_query", "master"),
            is_master=role == "master",
        )


def _filtered(project: Project, key: str) -> Grant | None:
    try:
        definition = decrypt_filtered_key(key, project.keys.master)
        can_query = bool(definition["canQuery"])
        filters = parse_filters(definition["filters"]) if can_query else ()
    except (InvalidFilteredKeyError, InvalidQueryError):
        return None
    return Grant(project.id, can_push=bool(definition["canPush"]), can_query=can_query, filters=filters)
