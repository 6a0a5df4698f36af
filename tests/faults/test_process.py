"""Rows 2, 18, 19 and 20: how a process ends, and how it forks. Each in a process of its own, which really ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oracle import Exchange, Oracle
from oracle_faults import Hang
from pushing import CANARY

PREAMBLE = """
import atexit, logging, logging.config, os, sys, threading, time
logging.config.dictConfig({
    "version": 1,
    "handlers": {"connect": {"class": "connect_logging.ConnectHandler", %s}},
    "root": {"handlers": ["connect"], "level": "DEBUG"},
})
log = logging.getLogger("app")
handler = logging.getLogger().handlers[0]

def log_events(start, count):
    for number in range(start, start + count):
        log.info("", extra={"collection": "things", "event": {"id": number}})
"""


class Ran:
    """A finished process: what it printed, how it left and when."""

    def __init__(self, script: str, oracle: Oracle, cwd: Path, options: str = "", timeout: float = 60) -> None:
        environ = {
            **os.environ,
            "CONNECT_PROJECT_ID": "project",
            "CONNECT_API_KEY": CANARY,
            "CONNECT_BASE_URL": oracle.url,
        }
        path = cwd / "script.py"
        path.write_text(PREAMBLE % options + script)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-W", "error", path], env=environ, capture_output=True, text=True, timeout=timeout
        )
        self.seconds = time.monotonic() - began
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr
        assert CANARY not in done.stdout + done.stderr


def numbers(oracle: Oracle) -> list[int]:
    return sorted(int(key) for _, key in oracle.stored)


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with Oracle() as running:
        yield running


def test_row_2_a_server_that_never_answers_does_not_hold_up_the_exit(
    oracle: Oracle, tmp_path: Path, figure: Any
) -> None:
    oracle.fail(Hang(), times=None)
    ran = Ran("log_events(0, 10)\nprint(time.time())", oracle, tmp_path, "'exit_timeout': 1.0")
    left = time.time() - float(ran.out)
    assert ran.code == 0
    assert 1.0 <= left < 4.0, "logging.shutdown flushes and closes: one budget for both"
    assert "events dropped so far: 10" in ran.err
    assert "Traceback" not in ran.err
    figure("2", f"exit with a budget of 1 s took {left:.2f} s; 10 lost, counted and said")


class Interrupt:
    """Sends Ctrl-C to the process whose id is that of the event, which has no answer."""

    def __call__(self, exchange: Exchange) -> None:
        [event] = exchange.request.batch["things"]
        os.kill(json.loads(event)["id"], signal.SIGINT)
        Hang()(exchange)


def test_row_19_ctrl_c_ends_the_flush_at_the_exit_and_what_is_lost_is_said(oracle: Oracle, tmp_path: Path) -> None:
    oracle.fail(Interrupt(), times=None)
    ran = Ran("log_events(os.getpid(), 1)", oracle, tmp_path, "'flush_interval': 60")
    assert ran.code == 0
    assert ran.err.count("\n") == 1
    assert "events dropped so far: 1; closed before they could be sent" in ran.err


@pytest.mark.parametrize(
    ("ending", "printed"),
    [
        ("", ""),
        ("try: client.close()\nexcept KeyboardInterrupt: print(client.stats()['dropped'])", "{'closed': 1}\n"),
    ],
    ids=["at the exit", "in close"],
)
def test_row_19_ctrl_c_ends_the_flush_of_a_client_and_what_is_lost_is_said(
    oracle: Oracle, tmp_path: Path, ending: str, printed: str
) -> None:
    oracle.fail(Hang(), times=None)
    script = """
import signal
from connect_logging import ConnectClient
from connect_logging._ledger import Ledger

flushes = threading.Event()
wait_until = Ledger.wait_until

def waits(*arguments):
    flushes.set()
    return wait_until(*arguments)

def interrupt_the_flush():
    flushes.wait()
    os.kill(os.getpid(), signal.SIGINT)

Ledger.wait_until = waits

client = ConnectClient(exit_timeout=600)
client.push_event("things", {"id": 1})
threading.Thread(target=interrupt_the_flush, daemon=True).start()
"""
    ran = Ran(script + ending, oracle, tmp_path)
    assert (ran.code, ran.out) == (0, printed)
    assert ran.err.count("\n") == 1
    assert "events dropped so far: 1; closed before they could be sent" in ran.err


@pytest.mark.parametrize(
    ("ending", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise SystemExit(4)", 4), ("atexit.register(log_events, 100, 5)", 0)],
    ids=["at the end", "sys.exit", "SystemExit", "logging in atexit"],
)
def test_row_19_a_normal_exit_delivers_everything(
    oracle: Oracle, tmp_path: Path, figure: Any, ending: str, code: int
) -> None:
    ran = Ran(f"log_events(0, 100)\nprint(time.time())\n{ending}", oracle, tmp_path)
    left = time.time() - float(ran.out)
    assert ran.code == code
    assert ran.err == ""
    assert numbers(oracle) == list(range(105 if "atexit" in ending else 100))
    figure("19", f"exit {ending or 'at the end of the script'}: {left * 1000:.0f} ms, lost 0")


def test_row_19_an_exception_delivers_everything(oracle: Oracle, tmp_path: Path, figure: Any) -> None:
    ran = Ran("log_events(0, 100)\nraise RuntimeError('the application fails')", oracle, tmp_path)
    assert ran.code == 1
    assert ran.err.count("Traceback") == 1
    assert "the application fails" in ran.err
    assert numbers(oracle) == list(range(100))
    figure("19", "exit by an exception: lost 0, no traceback of ours")


def test_row_19_what_was_logged_through_a_handler_that_is_gone_is_delivered(oracle: Oracle, tmp_path: Path) -> None:
    script = """
import gc, weakref
log_events(0, 100)
logging.getLogger().handlers.clear()
handler = weakref.ref(handler)
gc.collect()
assert handler() is None  # so logging.shutdown does not know it
"""
    ran = Ran(script, oracle, tmp_path, "'flush_interval': 60.0")
    assert (ran.code, ran.err) == (0, "")
    assert numbers(oracle) == [*range(100)]


def test_row_19_os_exit_ends_at_once(oracle: Oracle, tmp_path: Path, figure: Any) -> None:
    oracle.fail(Hang(), times=None)
    ran = Ran("log_events(0, 100)\nprint(time.time(), flush=True)\nos._exit(5)", oracle, tmp_path)
    left = time.time() - float(ran.out)
    assert (ran.code, ran.err) == (5, "")
    assert left < 2.0
    figure("19", f"os._exit: {left * 1000:.0f} ms; without a spool nothing is promised")


def test_row_18_sigterm_that_is_handled_delivers_everything(oracle: Oracle, tmp_path: Path, figure: Any) -> None:
    script = """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
log_events(0, 100)
print(time.time(), flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""
    ran = Ran(script, oracle, tmp_path)
    assert ran.code == 0
    assert numbers(oracle) == list(range(100))
    figure("18", f"handled SIGTERM: lost 0, exit {(time.time() - float(ran.out)) * 1000:.0f} ms")


def test_row_18_sigterm_by_default_ends_at_once(oracle: Oracle, tmp_path: Path) -> None:
    ran = Ran("import signal\nlog_events(0, 1)\nos.kill(os.getpid(), signal.SIGTERM)", oracle, tmp_path)
    assert (ran.code, ran.err) == (-signal.SIGTERM, "")


FORKS = """
import random
stop = threading.Event()
logged = [0] * 3

def chatter(which):
    while not stop.is_set():
        number = 1_000_000 * (which + 1) + logged[which]
        log.info("", extra={"collection": "things", "event": {"id": number}})
        logged[which] += 1
        time.sleep(0)

threads = [threading.Thread(target=chatter, args=(which,)) for which in range(3)]
for thread in threads:
    thread.start()
children = []
for child in range(%d):
    pid = os.fork()
    if pid == 0:
        log_events(child * 100, 10)
        done = handler.flush(20)
        stats = handler.stats()
        os._exit(0 if done and stats["accepted"] == stats["delivered"] == 10 else 1)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
stop.set()
for thread in threads:
    thread.join()
print(codes.count(0), sum(logged))
"""


def test_row_20_a_fork_storm_while_threads_log(oracle: Oracle, tmp_path: Path, figure: Any) -> None:
    children = 40
    ran = Ran(FORKS % children, oracle, tmp_path, "'flush_interval': 0.01, 'flush_events': 50")
    assert ran.code == 0
    assert ran.err == ""
    healthy, parents = map(int, ran.out.split())
    assert healthy == children
    expected = {child * 100 + number for child in range(children) for number in range(10)}
    assert expected <= set(numbers(oracle))
    assert len(oracle.stored) == children * 10 + parents
    assert {seen.received for seen in oracle.seen.values()} == {1}
    figure("20", f"{children} forks among 3 logging threads: stuck 0, lost 0, duplicates 0")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_row_21_children_of_multiprocessing_deliver(oracle: Oracle, tmp_path: Path, figure: Any, method: str) -> None:
    script = f"""
import multiprocessing
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    log_events(0, 5)
    children = [context.Process(target=log_events, args=(100 * child, 10)) for child in (1, 2, 3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print([child.exitcode for child in children])
"""
    ran = Ran(script, oracle, tmp_path)
    assert (ran.out.strip(), ran.err) == ("[0, 0, 0]", "")
    assert numbers(oracle) == sorted([*range(5), *(100 * child + n for child in (1, 2, 3) for n in range(10))])
    figure("21", f"multiprocessing {method}: 3 of 3 children delivered")


def test_a_log_call_while_no_thread_can_start_is_delivered_by_flush(oracle: Oracle, tmp_path: Path) -> None:
    script = """
real = threading.Thread.start
def start(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
log_events(0, 10)
print(handler.flush(10), handler.stats()["delivered"])
threading.Thread.start = real
log_events(10, 10)
print(handler.flush(10), handler.stats()["delivered"])
"""
    ran = Ran(script, oracle, tmp_path)
    assert ran.out.split() == ["True", "10", "True", "20"]
    assert ran.err == ""


def test_nothing_is_imported_while_events_are_sent(oracle: Oracle, tmp_path: Path) -> None:
    """A module lock that is held at a fork is held in the child for ever: there the next import of it hangs."""
    script = """
before = set(sys.modules)
log_events(0, 3)
log.info("", extra={"collection": "things", "event": {"a.b": 1}})
handler.flush(10)
print(sorted(set(sys.modules) - before))
"""
    named = f"'base_url': 'http://localhost:{oracle.port}', 'dead_letters': {str(tmp_path / 'dead.log')!r}"
    ran = Ran(script, oracle, tmp_path, named)
    assert ran.out.strip() == "[]"
