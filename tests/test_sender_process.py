"""A handler whose events are sent by a process of its own: real ones, that are killed, stopped and orphaned."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from journaling import a_spool, flip, no_trouble, put_all, take_all
from journaling import numbers as numbers_of
from oracle import Exchange, Oracle
from oracle_faults import Hang, RefuseBatch, RefuseEvents, Status, TooLarge
from pushing import CANARY, MakeHandler, logger_with
from spooling import Program, segments, until

from connect_logging import ConnectHandler, _sender_process
from connect_logging._sender_process import SenderProcess
from connect_logging._settings import Connection

OPTIONS: dict[str, Any] = {"sender": "process", "flush_interval": 0.01}


@pytest.fixture
def handler(make_handler: MakeHandler, tmp_path: Path) -> ConnectHandler:
    return ready(make_handler(spool=tmp_path / "spool", **OPTIONS))


@pytest.fixture
def log(handler: ConnectHandler) -> Iterator[logging.Logger]:
    with logger_with(handler) as logger:
        yield logger


def log_events(log: logging.Logger, start: int, count: int, **properties: Any) -> None:
    for number in range(start, start + count):
        log.info("", extra={"collection": "things", "event": {"id": number, **properties}})


def sender_of(handler: ConnectHandler) -> SenderProcess:
    sender = handler._pusher._sender
    assert isinstance(sender, SenderProcess)
    return sender


def process_of(handler: ConnectHandler) -> int:
    running = sender_of(handler)._running
    assert running is not None
    return running.process.pid


def ready(handler: ConnectHandler) -> ConnectHandler:
    """``handler`` once its process is ready; nothing was logged so far, so that the pusher does not look at it."""
    sender = sender_of(handler)
    sender.start()
    assert sender._running is not None
    assert sender._running.channel.poll(30)
    assert sender._is_ready()
    return handler


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def counts(handler: ConnectHandler) -> tuple[int, ...]:
    stats = handler.stats()
    return tuple(stats[name] for name in ("accepted", "delivered", "duplicate", "rejected", "pending"))


def numbers(oracle: Oracle) -> list[int]:
    return sorted(each["id"] for each in oracle.events("things"))


def test_another_process_sends_and_this_one_counts(
    oracle: Oracle, handler: ConnectHandler, log: logging.Logger, tmp_path: Path
) -> None:
    log_events(log, 0, 3_000)
    assert handler.flush(30)
    assert numbers(oracle) == [*range(3_000)]
    assert counts(handler) == (3_000, 3_000, 0, 0, 0)
    assert handler._pusher._transport._request is None, "this process has sent none"
    pid = process_of(handler)
    log_events(log, 3_000, 10)
    assert handler.flush(30)
    assert process_of(handler) == pid, "one for all of them"
    handler.close()
    assert not lives(pid)
    assert segments(tmp_path / "spool") == []
    assert counts(handler) == (3_010, 3_010, 0, 0, 0)


def test_the_key_is_in_no_argument_and_no_environment_of_it(
    make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = {"CONNECT_API_KEY": "another-key-5b20", "CONNECT_MASTER_KEY": "master-key-8c41", "OUR_PUSH_KEY": CANARY}
    for name, key in keys.items():
        monkeypatch.setenv(name, key)
    handler = ready(make_handler(spool=tmp_path / "spool", **OPTIONS))
    there = Path("/proc") / str(process_of(handler))
    assert b"connect_logging._sender" in (there / "cmdline").read_bytes()
    assert b"CONNECT_LOGGING_SENDER" in (there / "environ").read_bytes()
    assert (there / "fd" / "2").readlink() == Path(os.devnull)
    for key in keys.values():
        assert key.encode() not in (there / "cmdline").read_bytes() + (there / "environ").read_bytes()
    assert CANARY not in repr(sender_of(handler)._connection)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_the_application_do_not_end_it(
    oracle: Oracle, handler: ConnectHandler, log: logging.Logger, number: int
) -> None:
    log_events(log, 0, 1)
    assert handler.flush(30)
    pid = process_of(handler)
    assert os.getpgid(pid) != os.getpgid(0)
    os.kill(pid, number)
    log_events(log, 1, 1)
    assert handler.flush(30)
    assert process_of(handler) == pid
    assert numbers(oracle) == [0, 1]


def test_when_it_is_killed_this_process_sends_and_then_there_is_another(
    oracle: Oracle, handler: ConnectHandler, log: logging.Logger, caplog: Any
) -> None:
    log_events(log, 0, 10)
    assert handler.flush(30)
    first = process_of(handler)
    os.kill(first, signal.SIGKILL)
    log_events(log, 10, 10)
    assert handler.flush(30)
    assert numbers(oracle) == [*range(20)]
    assert sender_of(handler)._running is None
    until(lambda: "has failed (it has ended): this one sends meanwhile" in caplog.text)
    sender_of(handler)._start_at = 0.0
    sender_of(handler).start()
    ready(handler)
    log_events(log, 20, 10)
    assert handler.flush(30)
    assert numbers(oracle) == [*range(30)]
    assert process_of(handler) != first
    assert counts(handler) == (30, 30, 0, 0, 0)


def test_events_that_it_had_under_way_when_it_was_killed_are_stored_once(
    oracle: Oracle, handler: ConnectHandler, log: logging.Logger
) -> None:
    log_events(log, 0, 1)
    assert handler.flush(30)
    oracle.fail(Hang(commit=True))
    log_events(log, 1, 50)
    oracle.wait_for(lambda o: len(o.stored) > 1)  # as many as were there when it was asked
    under_way = len(oracle.stored) - 1
    os.kill(process_of(handler), signal.SIGKILL)
    assert handler.flush(30)
    assert numbers(oracle) == [*range(51)]
    assert all(len(seen.payloads) == 1 for seen in oracle.seen.values()), "the same bytes again"
    assert counts(handler) == (51, 51 - under_way, under_way, 0, 0)


def test_one_that_answers_no_more_is_killed(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sender_process, "GRACE", 0.0)
    handler = ready(make_handler(spool=tmp_path, timeout=0.2, **OPTIONS))
    with logger_with(handler) as log:
        log_events(log, 0, 1)
        assert handler.flush(30)
        pid = process_of(handler)
        os.kill(pid, signal.SIGSTOP)
        log_events(log, 1, 5)
        assert handler.flush(30)
    assert not lives(pid)
    assert numbers(oracle) == [*range(6)]


def executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, first: str = "#!/bin/sh") -> None:
    """Let ``script`` be what is started."""
    path = tmp_path / "python"
    path.write_text(f"{first}\n{script}\n")
    path.chmod(0o700)
    monkeypatch.setattr(_sender_process, "get_executable", lambda: str(path))


NO_SENDERS = {
    "there is none": ("", "No such file or directory"),
    "ends": ("exit 1", "has failed (it has ended)"),
    "says why it ends": ("echo one >&2; echo 'no module' >&2; exit 1", "has failed (no module)"),
    "hangs": ("exec sleep 60", ""),
}


@pytest.mark.parametrize("kind", NO_SENDERS)
def test_where_it_does_not_start_this_process_sends_at_once(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, kind: str
) -> None:
    script, told = NO_SENDERS[kind]
    if script:
        executable(tmp_path, monkeypatch, script)
    else:
        monkeypatch.setattr(_sender_process, "get_executable", lambda: "/nowhere/python")
    handler = make_handler(spool=tmp_path / "spool", **OPTIONS)
    began = time.monotonic()
    with logger_with(handler) as log:
        log_events(log, 0, 10)
        assert handler.flush(30)
        assert numbers(oracle) == [*range(10)]
        while kind != "hangs" and told not in caplog.text:  # it may end after this
            log_events(log, 10, 1)
            assert handler.flush(30)
    running = sender_of(handler)._running
    handler.close()
    assert time.monotonic() - began < _sender_process.START / 2
    assert (running is not None) == (kind == "hangs")
    assert running is None or running.process.poll() is not None, "it is killed"


def test_one_that_is_not_ready_in_time_is_given_up(
    make_handler: MakeHandler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    executable(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(_sender_process, "START", 0.0)
    handler = make_handler(spool=tmp_path / "spool", **OPTIONS)
    with logger_with(handler) as log:
        log_events(log, 0, 10)
        assert handler.flush(30)
    until(lambda: "has failed (it was not ready in time)" in caplog.text)


HALF_AN_ANSWER = """
import os, sys
from multiprocessing.connection import Connection
channel = Connection(int(sys.argv[4]))
channel.recv_bytes()
channel.send_bytes(b"ready")
channel.recv_bytes()
os.write(channel.fileno(), b"\\0\\0\\1\\0half")
channel.poll(60)
"""


def test_half_an_answer_is_not_waited_for(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sender_process, "GRACE", 1.0)
    executable(tmp_path, monkeypatch, HALF_AN_ANSWER, f"#!{sys.executable}")
    handler = ready(make_handler(spool=tmp_path / "spool", **OPTIONS))
    with logger_with(handler) as log:
        log_events(log, 0, 10)
        assert handler.flush(30)
    assert numbers(oracle) == [*range(10)]
    assert sender_of(handler)._running is None


@pytest.mark.parametrize("kind", ["frozen", "uwsgi", "once more"])
def test_the_application_does_not_start_itself(
    make_handler: MakeHandler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, kind: str
) -> None:
    if kind == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif kind == "uwsgi":
        monkeypatch.setattr(sys, "executable", "/bin/true")
        monkeypatch.setattr(_sender_process, "get_executable", lambda: b"/bin/true")
    else:
        monkeypatch.setenv(_sender_process.MARK, "1")
    handler = make_handler(spool=tmp_path / "spool", **OPTIONS)
    with logger_with(handler) as log:
        log_events(log, 0, 10)
        assert handler.flush(30)
    until(lambda: "sys.executable is no interpreter" in caplog.text)


def test_a_process_that_may_not_be_killed_ends_with_its_channel(
    handler: ConnectHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = sender_of(handler)._running
    assert running is not None

    def refuse() -> None:
        raise PermissionError

    monkeypatch.setattr(running.process, "kill", refuse)
    handler.close()
    assert running.process.returncode == 0


def test_none_is_started_while_the_process_forks(make_handler: MakeHandler, tmp_path: Path) -> None:
    handler = make_handler(spool=tmp_path / "spool", **OPTIONS)
    sender = sender_of(ready(handler))
    sender._end()
    sender.hold()
    starter = threading.Thread(target=sender.start)
    starter.start()
    starter.join(0.1)
    assert starter.is_alive()
    assert sender._running is None
    sender.let_go()
    starter.join(10)
    ready(handler)


@pytest.mark.parametrize("fault", [RefuseEvents(), RefuseBatch()])
def test_what_the_server_refuses_is_a_dead_letter_and_the_rest_is_delivered(
    oracle: Oracle, handler: ConnectHandler, log: logging.Logger, tmp_path: Path, fault: Any
) -> None:
    oracle.fail(fault, times=None)
    log_events(log, 0, 20)
    log_events(log, 20, 1, poison=True)
    log_events(log, 21, 20)
    assert handler.flush(60)
    assert numbers(oracle) == [*range(20), *range(21, 41)]
    assert counts(handler)[3:] == (1, 0)
    [letter] = (tmp_path / "spool" / "dead-letters.log").read_text().splitlines()
    assert json.loads(letter)["event"]["id"] == 20


def test_batches_that_are_too_large_become_smaller(
    oracle: Oracle, handler: ConnectHandler, log: logging.Logger
) -> None:
    oracle.fail(TooLarge(events=100), times=None)
    log_events(log, 0, 1_000)
    assert handler.flush(60)
    assert numbers(oracle) == [*range(1_000)]
    assert counts(handler) == (1_000, 1_000, 0, 0, 0)


def test_an_outage_is_waited_for(oracle: Oracle, handler: ConnectHandler, log: logging.Logger) -> None:
    oracle.fail(Status(503), times=3)
    log_events(log, 0, 200)
    oracle.wait_for(lambda o: len(o.stored) == 200, timeout=30)
    assert handler.flush(30)
    assert counts(handler) == (200, 200, 0, 0, 0)
    assert handler.stats()["last_error"] is not None
    log_events(log, 200, 200)
    assert handler.flush(30)
    assert counts(handler) == (400, 400, 0, 0, 0)


def test_a_damaged_event_is_set_aside_and_the_rest_delivered(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path
) -> None:
    handler = ready(make_handler(spool=tmp_path, sender="process", flush_interval=3_600.0))
    with logger_with(handler) as log:
        log_events(log, 0, 3)
    [segment] = segments(tmp_path)
    flip(segment, segment.stat().st_size // 2 + 16)
    assert handler.flush(30)
    assert numbers(oracle) == [0, 2]
    assert handler.stats()["dropped"] == {"damaged": 1}
    assert counts(handler) == (3, 2, 0, 0, 0)


def test_what_it_had_under_way_at_a_close_stays_for_the_next_process(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path
) -> None:
    handler = ready(make_handler(spool=tmp_path, **OPTIONS))
    oracle.fail(Hang(), times=None)
    with logger_with(handler) as log:
        log_events(log, 0, 10)
        oracle.wait_for(lambda o: o.requests)
        pid = process_of(handler)
        handler._pusher.close(0.05)
    until(lambda: not lives(pid))
    assert counts(handler) == (10, 0, 0, 0, 10)
    oracle.heal()
    successor = make_handler(spool=tmp_path, **OPTIONS)
    oracle.wait_for(lambda o: len(o.stored) == 10)
    assert successor.flush(30)
    assert segments(tmp_path) == []


PROGRAM = """
def process_of(handler):
    sender = handler._pusher._sender
    sender.start()
    assert sender._running.channel.poll(30) and sender._is_ready()
    return sender._running.process.pid

handler = make_handler(sender="process")
pid = process_of(handler)
log_events(0, 10)
assert handler.flush(30)
say(pid)
"""


def test_it_ends_with_an_application_that_is_killed_and_the_next_one_has_its_events(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    program = Program(PROGRAM + "listen(); log_events(10, 10); die()", tmp_path, spool, oracle.url)
    pid = int(program.hear())
    assert lives(pid)
    oracle.fail(Hang(), times=None)
    program.tell("go on")
    program.wait()
    until(lambda: not lives(pid))
    oracle.heal()
    successor = make_handler(spool=spool, **OPTIONS)
    oracle.wait_for(lambda o: len(o.stored) == 20)
    assert successor.flush(30)


def test_it_ends_with_an_application_that_just_ends(oracle: Oracle, tmp_path: Path) -> None:
    [pid] = Program(PROGRAM + "log_events(10, 10)", tmp_path, tmp_path / "spool", oracle.url).run()
    assert not lives(int(pid))
    assert numbers(oracle) == [*range(20)]


def test_a_forked_child_has_one_of_its_own(oracle: Oracle, tmp_path: Path) -> None:
    script = """
pid = os.fork()
if pid == 0:
    handler._pusher.start()
    own = process_of(handler)
    log_events(10, 10)
    assert handler.flush(30)
    say(own, os.getppid())
    handler.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
log_events(20, 10)
assert handler.flush(30)
say(handler._pusher._sender._running.process.pid)
"""
    first, childs, again = Program(PROGRAM + script, tmp_path, tmp_path / "spool", oracle.url).run()
    assert first == again != childs.split()[0]
    assert numbers(oracle) == [*range(30)]


def test_it_finds_this_package_where_the_application_does_and_runs_nothing_of_that(
    oracle: Oracle, tmp_path: Path
) -> None:
    """Also beside modules that are called as the library's are, which the application has imported before."""
    work = tmp_path / "work"
    work.mkdir()
    for name in ("types", "socket", "tempfile", "sitecustomize", "usercustomize", "random"):
        (work / f"{name}.py").write_text("raise RuntimeError('not this one')")
    before = f"import os, sys; os.chdir({str(work)!r}); sys.path.insert(0, {str(work)!r}); sys.path.append(b'odd')"
    script = PROGRAM.replace("\nhandler =", f"\n{before}\nhandler =", 1)
    Program(script, tmp_path, tmp_path / "spool", oracle.url).run()
    assert numbers(oracle) == [*range(10)]


def test_it_starts_where_standard_input_output_and_error_are_closed(oracle: Oracle, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o700)
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import logging
from connect_logging import ConnectHandler
handler = ConnectHandler("project", {CANARY!r}, {oracle.url!r}, spool={str(tmp_path / "spool")!r}, sender="process")
sender = handler._pusher._sender
sender.start()
assert sender._running.channel.poll(30) and sender._is_ready()
open({str(tmp_path / "done")!r}, "w").close()
"""
    )
    command = f"exec {sys.executable} {script} <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 0
    assert (tmp_path / "done").exists()


def test_ctrl_c_while_it_is_asked_ends_it_and_leaves_its_events_waiting(oracle: Oracle, tmp_path: Path) -> None:
    """What it had still to say would be taken for the answer to the next question."""

    def interrupt(exchange: Exchange) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        exchange.answer()

    spool = a_spool(tmp_path)
    put_all(spool, 1)
    sender = SenderProcess(spool, Connection("project", CANARY, oracle.url), 10.0, no_trouble, time.monotonic)
    sender.start()
    running = sender._running
    assert running is not None
    assert running.channel.poll(30)
    oracle.fail(interrupt)
    with pytest.raises(KeyboardInterrupt):
        sender.send(10)
    assert not lives(running.process.pid)
    assert numbers_of(take_all(spool)) == [0]
    sender.close()
    spool.close()
