"""A client with a spool: a push is on disk when it returns; its future waits for the server, or says where it is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import pytest
from injecting import injected
from journaling import flip
from oracle import Oracle
from oracle_faults import Status
from pushing import CANARY, balanced
from spooling import Program, ended, segments, until

from connect_logging import ConnectClient
from connect_logging._journal import segment
from connect_logging.responses import PushResponse


class MakeClient(Protocol):
    def __call__(self, **options: Any) -> ConnectClient: ...


@pytest.fixture
def make_client(oracle: Oracle, tmp_path: Path) -> Iterator[MakeClient]:
    """Clients that share one spool; closed, and their ledgers checked, at the end."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> ConnectClient:
            options = {"api_key": CANARY, "base_url": oracle.url, "spool": tmp_path / "spool", **options}
            client = ConnectClient("project", **options)

            def finish() -> None:
                client.close(0)
                assert balanced(client.stats())

            stack.callback(finish)
            return client

        yield make


def push(client: ConnectClient, numbers: range) -> list[Future[PushResponse]]:
    return [client.push_event("things", {"id": number}) for number in numbers]


def stored(oracle: Oracle) -> list[int]:
    return sorted(int(key) for _, key in oracle.stored)


def test_futures_resolve_on_the_answer_of_the_server(
    oracle: Oracle, make_client: MakeClient, tmp_path: Path, figure: Any
) -> None:
    oracle.fail(Status(503), times=2)
    client = make_client()
    futures = push(client, range(500))
    responses = [future.result(20) for future in futures]
    assert all(response.success for response in responses)
    assert [response.event["id"] for response in responses] == list(range(500))  # type: ignore[index]
    assert client.close()
    assert segments(tmp_path / "spool") == []
    figure("client", "500 futures through two 503s: 500 successes")


def test_after_close_the_future_says_that_the_event_is_kept(
    oracle: Oracle, make_client: MakeClient, tmp_path: Path, figure: Any
) -> None:
    oracle.refuse()
    client = make_client()
    futures = push(client, range(300))
    batch = client.push_events({"things": [{"id": number} for number in range(300, 310)]})
    assert not client.close(0.1)
    responses = [future.result(0) for future in futures]
    assert not any(response.success for response in responses)
    assert all("spool" in (response.error_message or "") for response in responses)
    assert [response.event["id"] for response in responses] == list(range(300))  # type: ignore[index]
    assert "spool" in (batch.result(0).error_message or "")
    assert len(batch.result(0).results["things"]) == 10
    assert client.stats()["dropped"] == {}
    oracle.listen()
    successor = make_client()
    oracle.wait_for(lambda oracle: len(oracle.stored) == 310)
    assert successor.flush(10)
    assert successor.stats()["recovered"] == successor.stats()["delivered"] == 310
    assert stored(oracle) == list(range(310))
    successor.close()
    assert segments(tmp_path / "spool") == []
    figure("client", "closed while the endpoint was down: 310 of 310 futures say kept, the next client delivers 310")


@pytest.mark.parametrize("fault", [Status(403), Status(404), Status(503)], ids=lambda fault: str(fault.code))
def test_with_a_spool_no_push_is_given_up(oracle: Oracle, make_client: MakeClient, fault: Status) -> None:
    """Whatever is wrong with key, address or server: the next client may have it right."""
    oracle.fail(fault, times=None)
    client = make_client(retry_for=0)
    push(client, range(10))
    oracle.wait_for(lambda oracle: len(oracle.requests) > 0)
    client.flush(0.1)
    client.close(0)
    assert client.stats()["dropped"] == {}
    oracle.heal()
    make_client()
    oracle.wait_for(lambda oracle: len(oracle.stored) == 10)


KILLED = """
client = ConnectClient(spool=os.environ["SPOOL"])
futures = [client.push_event("things", {"id": number}) for number in range(1_000)]
say(client.stats()["unjournaled"])
die()
"""


def test_pushes_of_a_killed_client_are_delivered_by_the_next(
    oracle: Oracle, make_client: MakeClient, tmp_path: Path, figure: Any
) -> None:
    oracle.refuse()
    with ended(program := Program(KILLED, tmp_path, tmp_path / "spool", oracle.url)):
        assert program.hear() == "0", program.err
        program.wait()
    oracle.listen()
    client = make_client()
    until(lambda: segments(tmp_path / "spool") == [])
    assert client.stats()["recovered"] == 1_000
    assert stored(oracle) == list(range(1_000))
    figure("client", "killed: 1,000 of 1,000 pushes recovered by the next client")


UNREADABLE = """
segment.RECENT_BYTES = 0
client = ConnectClient(spool=os.environ["SPOOL"])
futures = [client.push_event("things", {"id": number}) for number in range(200)]
say("ready")
listen()
say(client.close(0.2))
say(json.dumps([future.done() for future in futures]))
say(json.dumps([future.result(0).success for future in futures if future.done()]))
"""


def test_every_future_has_its_result_even_when_the_disk_cannot_be_read(
    oracle: Oracle, make_client: MakeClient, tmp_path: Path, figure: Any
) -> None:
    oracle.refuse()
    program = Program(UNREADABLE, tmp_path, tmp_path / "spool", oracle.url)
    with injected(program, "pread64:error=EIO"):
        assert program.hear() == "False", program.err
        done, success = json.loads(program.hear()), json.loads(program.hear())
        assert program.wait() == 0
    assert "Traceback" not in program.err
    oracle.listen()
    make_client()
    until(lambda: segments(tmp_path / "spool") == [])
    assert stored(oracle) == list(range(200))
    assert all(done)
    assert not any(success)
    figure("client", f"a spool that cannot be read: {done.count(True)} of 200 futures have a result, lost 0")


def test_the_future_of_an_event_that_is_damaged_on_disk_says_so(
    oracle: Oracle, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "RECENT_BYTES", 0)
    oracle.refuse()
    client = make_client()
    first = push(client, range(1))
    until(lambda: client.stats()["requests"] > 0)
    futures = push(client, range(1, 4))
    [path] = segments(tmp_path / "spool")
    data = path.read_bytes()
    flip(path, data.index(b'"id":2'))
    oracle.listen()
    responses = [future.result(20) for future in first + futures]
    assert [response.success for response in responses] == [True, True, False, True]
    assert "damaged" in (responses[2].error_message or "")
    assert responses[2].event == {}
    assert client.stats()["dropped"] == {"damaged": 1}
