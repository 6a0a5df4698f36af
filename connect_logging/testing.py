"""For the tests of programs that log: a pytest plugin, which pytest finds by itself.

* ``connect_project``: a new project on a server in this process, on a free port, which is told to handlers and clients
  by the environment.

      def test_a_purchase_is_counted(connect_project):
          checkout()
          assert connect_project.client().query("purchases").execute()[0]["_count"] == 1

* ``connect_events``: what the program logs and pushes is captured as it is logged; nothing is sent, no thread runs.

      def test_a_purchase_is_logged(connect_events):
          checkout()
          connect_events.assert_logged("purchases", price=34.95)

Invariants: a project is new for each test, and the server ends with the session. What ``connect_events`` captures has
gone through the rules and the encoding of a real push; what these refuse is in ``refused`` and not among the events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from ._completion import OrderedCompletion
from ._pusher import Pusher
from ._settings import ENVIRONMENT
from ._transport import HttpTransport
from ._types import Answer, AnswerKind, Fate, Properties
from .client import ConnectClient
from .event import Draft, Event, Receipt
from .exceptions import MissingExtraError

if TYPE_CHECKING:
    from .server.in_process import InProcess

_NOWHERE: Final = {"project_id": "captured", "api_key": "captured", "base_url": "http://connect.invalid"}
_SHOWN: Final = 5
"""Events in the message of a failed assertion."""


class Refused(NamedTuple):
    """What was logged as an event of ``collection`` and broke a rule; ``event`` is how it shows in a dead letter."""

    collection: str
    event: object
    reason: str


class CapturedEvents:
    """The events so far, in the order in which they were logged; each is a dict as the server would have got it."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self.refused: list[Refused] = []

    def __iter__(self) -> Iterator[Properties]:
        return (event.properties for event in list(self._events))

    def __len__(self) -> int:
        return len(self._events)

    def of(self, collection: str) -> list[Properties]:
        """Those of one collection."""
        return [event.properties for event in list(self._events) if event.collection == collection]

    def clear(self) -> None:
        """Forget them, and what was refused."""
        self._events.clear()
        self.refused.clear()

    def assert_logged(
        self, collection: str, wanted: Mapping[str, object] | None = None, /, **properties: object
    ) -> list[Properties]:
        """Fail unless an event of ``collection`` has these properties, whatever else it has. Returns all that do.

        ``assert_logged("purchases", {"customer.country": "AU"}, price=34.95)``; a value may be a ``pytest.approx``.
        """
        __tracebackhide__ = True
        expected = {**(wanted or {}), **properties}
        found = self._matching(collection, expected)
        if not found:
            raise AssertionError(f"no event of {collection!r} has {_shown(expected)}{self._seen(collection)}")
        return found

    def assert_not_logged(
        self, collection: str, wanted: Mapping[str, object] | None = None, /, **properties: object
    ) -> None:
        """Fail when an event of ``collection`` has these properties; without any, when there is one at all."""
        __tracebackhide__ = True
        expected = {**(wanted or {}), **properties}
        found = self._matching(collection, expected)
        if found:
            raise AssertionError(f"{len(found)} events of {collection!r} have {_shown(expected)}: {found[0]!r}")

    def add(self, event: Event) -> None:
        """Capture ``event``."""
        self._events.append(event)

    def _matching(self, collection: str, expected: Mapping[str, object]) -> list[Properties]:
        return [
            event
            for event in self.of(collection)
            if all(_value(event, path) == value for path, value in expected.items())
        ]

    def _seen(self, collection: str) -> str:
        events = self.of(collection)
        lines = [f"\n  {event!r}" for event in events[:_SHOWN]]
        lines += [f"\n  … and {len(events) - _SHOWN} more"] if len(events) > _SHOWN else []
        lines += [f"\n  refused: {each.reason}" for each in self.refused if each.collection == collection]
        return f"; there are {len(events)}{':' if lines else ''}{''.join(lines)}"


@pytest.fixture
def connect_events(monkeypatch: pytest.MonkeyPatch) -> CapturedEvents:
    """The events that handlers and clients of this process log and push during the test; nothing is sent.

    Handlers and clients that were made before the test are captured as well. Those that are made without an address
    need none.
    """
    captured = CapturedEvents()
    completion = OrderedCompletion()

    def submit(_: Pusher, event: Event | Draft, receipt: Receipt | None = None, urgent: bool = False) -> None:
        [whole] = completion.events([event])
        captured.add(whole)
        if receipt is not None:
            receipt(whole, Fate.DELIVERED, None, 200)

    def refuse(_: Pusher, collection: str, event: object, reason: str) -> None:
        captured.refused.append(Refused(collection, event, reason))

    def push(_: HttpTransport, events: object) -> Answer:
        """Not even what an earlier process has left in a spool."""
        return Answer(AnswerKind.UNAVAILABLE, None, "events are captured")

    monkeypatch.setattr(Pusher, "submit", submit)
    monkeypatch.setattr(Pusher, "refuse", refuse)
    monkeypatch.setattr(HttpTransport, "push", push)
    for option, variable in ENVIRONMENT.items():
        monkeypatch.setenv(variable, _NOWHERE[option])
    return captured


@dataclass(frozen=True)
class TestProject:
    """``base_url`` and ``project_id``; ``push``, ``query``, ``push_query`` and ``master`` are its keys."""

    __test__ = False  # pytest takes classes that are called Test… for its own

    base_url: str
    project_id: str
    push: str = field(repr=False)
    query: str = field(repr=False)
    push_query: str = field(repr=False)
    master: str = field(repr=False)
    _clients: list[ConnectClient] = field(repr=False, default_factory=list)

    def client(self, **options: Any) -> ConnectClient:
        """A client with the master key, which is closed at the end of the test; ``options`` as of any."""
        client = ConnectClient(
            **{"api_key": self.master, **options, "project_id": self.project_id, "base_url": self.base_url}
        )
        self._clients.append(client)
        return client


@pytest.fixture(scope="session")
def connect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """The server that all projects of the session are on."""
    with serving(tmp_path_factory.mktemp("connect") / "data") as server:
        yield server


def serving(data: Path) -> AbstractContextManager[InProcess]:
    """A server in this process. Raises MissingExtraError."""
    try:
        from .server.in_process import running
    except ImportError as error:
        hint = "pip install 'connect-logging[server]'"
        raise MissingExtraError(f"connect_project needs {error.name}: {hint}", name=error.name) from None
    return running(data)


@pytest.fixture
def connect_project(connect_server: InProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestProject]:
    """A project for this test. The environment names it, with the key that may push and query."""
    created = connect_server.projects.create()
    keys = created.keys
    project = TestProject(connect_server.url, created.id, keys.push, keys.query, keys.push_query, keys.master)
    values = {"project_id": project.project_id, "api_key": project.push_query, "base_url": project.base_url}
    for option, variable in ENVIRONMENT.items():
        monkeypatch.setenv(variable, values[option])
    yield project
    for client in project._clients:
        client.close()


_MISSING: Final = object()


def _value(event: Properties, path: str) -> Any:
    value: Any = event
    for step in path.split("."):
        value = value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
    return value


def _shown(expected: Mapping[str, object]) -> str:
    return ", ".join(f"{path}={value!r}" for path, value in expected.items()) or "any properties"
