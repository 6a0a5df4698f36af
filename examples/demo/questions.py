"""What the demo asks the server, and what the answer must be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import requests

from .processes import DemoError
from .traffic import Truth

Rows: TypeAlias = dict[str, tuple[float, ...]]
"""By group: its figures, in the order of a question's columns."""


@dataclass(frozen=True)
class Question:
    """``query`` over ``collection``, whose rows are named by ``group``.

    ``columns``: names of the query's ``select``, with the format that they are shown in. ``truth``: the right answer.
    ``show``: how many rows, the largest of the last column first; all are compared.
    """

    title: str
    collection: str
    group: str
    columns: dict[str, str]
    select: dict[str, Any]
    truth: Callable[[Truth], Rows]
    show: int = 10

    def ask(self, url: str, project: dict[str, str]) -> Rows:
        """The server's answer, with the project's query key. Raises DemoError."""
        query = {"select": self.select, "groupBy": self.group}
        try:
            answer = requests.get(
                f"{url}/events/{self.collection}",
                params={"query": json.dumps(query)},
                headers={"X-Project-Id": project["projectId"], "X-Api-Key": project["query"]},
                timeout=30,
            )
        except requests.RequestException as error:
            raise DemoError(f"the server does not answer: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise DemoError(f"the server answers a query with HTTP {answer.status_code}: {answer.text}")
        return {str(row[self.group]): tuple(row[name] for name in self.columns) for row in answer.json()["results"]}


QUESTIONS: Final = (
    Question(
        "Requests by status",
        "access",
        "status",
        {"requests": ","},
        {"requests": "count"},
        lambda truth: {str(status): (number,) for status, number in truth.statuses.items()},
    ),
    Question(
        "Revenue by product",
        "purchases",
        "product.name",
        {"orders": ",", "units": ",", "revenue": ",.2f"},
        {"orders": "count", "units": {"sum": "quantity"}, "revenue": {"sum": "total"}},
        lambda truth: {name: (orders, truth.units[name], truth.revenue[name]) for name, orders in truth.orders.items()},
    ),
    Question(
        "Slowest paths, in milliseconds",
        "access",
        "path",
        {"requests": ",", "slowest": ",.2f", "average": ",.2f"},
        {"requests": "count", "slowest": {"max": "duration"}, "average": {"avg": "duration"}},
        lambda truth: {
            path: (len(times), max(times), math.fsum(times) / len(times)) for path, times in truth.durations.items()
        },
        show=5,
    ),
)


def differences(question: Question, answer: Rows, truth: Rows) -> list[str]:
    """Where ``answer`` is not the truth, in words. Only averages may differ from it, and in their last bits."""
    found = []
    for group in sorted(answer.keys() | truth.keys()):
        got, right = answer.get(group), truth.get(group)
        if got is None or right is None:
            found.append(f"{question.title}: {group} is only in the {'truth' if got is None else 'answer'}")
            continue
        for column, have, want in zip(question.columns, got, right, strict=True):
            if not (have == want or (column == "average" and math.isclose(have, want, rel_tol=1e-9))):
                found.append(f"{question.title}: {group}, {column}: {have} instead of {want}")
    return found
