"""Rows 18 to 22 and 28 with a spool: however processes end, fork and share a directory, everything arrives."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from oracle import Oracle
from pushing import CANARY, balanced
from spooling import LONG, Program, ended, owned, segments, until

from connect_logging import ConnectHandler


def numbers(oracle: Oracle) -> list[int]:
    return sorted(int(key) for _, key in oracle.stored)


def succeed(oracle: Oracle, spool: Path) -> dict[str, Any]:
    """The counts of a successor that has sent all that was left in ``spool``."""
    until(lambda: not owned(spool))
    with contextlib.closing(ConnectHandler("project", CANARY, oracle.url, spool=spool)) as handler:
        until(lambda: segments(spool) == [])
    assert balanced(handler.stats())
    return handler.stats()


def received_once(oracle: Oracle) -> bool:
    return {seen.received for seen in oracle.seen.values()} == {1}


# Rows 18 and 19


@pytest.mark.parametrize(
    ("way", "ending", "code"),
    [
        ("SIGTERM", "os.kill(os.getpid(), signal.SIGTERM)\nsignal.pause()", -signal.SIGTERM),
        ("os._exit", "os._exit(7)", 7),
        ("SIGKILL", "die()", -signal.SIGKILL),
        ("abort", "os.abort()", -signal.SIGABRT),
    ],
)
def test_rows_18_and_19_an_end_without_a_goodbye_loses_nothing(
    oracle: Oracle, tmp_path: Path, figure: Any, way: str, ending: str, code: int
) -> None:
    oracle.refuse()
    spool = tmp_path / "spool"
    program = Program(f"make_handler()\nlog_events(0, 1_000)\n{ending}", tmp_path, spool, oracle.url)
    with ended(program):
        assert program.wait() == code
    assert "Traceback" not in program.err
    oracle.listen()
    assert succeed(oracle, spool)["recovered"] == 1_000
    assert numbers(oracle) == list(range(1_000))
    figure("18" if way == "SIGTERM" else "19", f"with a spool, ended by {way}: lost 0 of 1,000")


@pytest.mark.parametrize(("ending", "code"), [("", 0), ("raise RuntimeError('the application fails')", 1)])
def test_row_19_an_exit_while_the_endpoint_is_down_keeps_everything(
    oracle: Oracle, tmp_path: Path, figure: Any, ending: str, code: int
) -> None:
    oracle.refuse()
    spool = tmp_path / "spool"
    script = f"handler = make_handler(exit_timeout=0.1)\nlog_events(0, 1_000)\n{ending}"
    program = Program(script, tmp_path, spool, oracle.url)
    with ended(program):
        assert program.wait() == code
    assert program.err.count("Traceback") == code
    assert "dropped" not in program.err
    oracle.listen()
    assert succeed(oracle, spool)["recovered"] == 1_000
    assert numbers(oracle) == list(range(1_000))
    assert received_once(oracle) or oracle.duplicates == 0
    figure(
        "19",
        f"endpoint down, {'exit by an exception' if code else 'normal exit'}: kept 1,000 of 1,000 for the next process",
    )


def test_row_19_a_handler_that_was_closed_is_not_waited_for_again(oracle: Oracle, tmp_path: Path, figure: Any) -> None:
    """``logging.shutdown`` flushes every handler there ever was; what this one has kept is not sent by waiting."""
    oracle.refuse()
    script = "handler = make_handler(exit_timeout=2.0)\nlog_events(0, 10)\nhandler.close()\nsay(time.time())"
    program = Program(script, tmp_path, tmp_path / "spool", oracle.url)
    with ended(program):
        closed = float(program.hear())
        assert program.wait() == 0
    left = time.time() - closed
    assert left < 1.5
    figure("19", f"endpoint down, handler closed before: exit {left * 1000:.0f} ms")


def test_row_19_a_normal_exit_leaves_an_empty_spool(oracle: Oracle, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    assert Program("make_handler()\nlog_events(0, 1_000)", tmp_path, spool, oracle.url).run() == []
    assert numbers(oracle) == list(range(1_000))
    assert segments(spool) == []
    assert received_once(oracle)


# Row 20

FORKS = """
handler = make_handler(flush_events=50, durability=%r)
stop = threading.Event()
logged = [0] * 3

def chatter(which):
    while not stop.is_set():
        log_events(1_000_000 * (which + 1) + logged[which], 1)
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
        if child %% 2:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
stop.set()
for thread in threads:
    thread.join()
say(codes.count(0), codes.count(9), sum(logged))
"""


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_row_20_a_fork_storm_whose_children_leave_at_once(
    oracle: Oracle, tmp_path: Path, figure: Any, durability: str
) -> None:
    children = 400 if LONG else 30
    spool = tmp_path / "spool"
    [said] = Program(FORKS % (durability, children), tmp_path, spool, oracle.url).run()
    left, killed, parents = map(int, said.split())
    assert (left, killed) == (children // 2, children // 2)
    succeed(oracle, spool)
    expected = {child * 100 + number for child in range(children) for number in range(10)}
    expected |= {1_000_000 * which + number for which in (1, 2, 3) for number in range(parents)} & set(numbers(oracle))
    assert set(numbers(oracle)) == expected
    assert len(oracle.stored) == children * 10 + parents
    # The parent's are sent once; of a child's the answer may have come after its end.
    assert {seen.received for (_, key), seen in oracle.seen.items() if int(key) >= 1_000_000} == {1}
    figure("20", f"{children} forks ({durability}), left by os._exit or SIGKILL at once: lost 0, stored twice 0")


ORPHANING_PARENT = """
handler = make_handler(durability=%r, exit_timeout=60)
log_events(0, 500)
read_end, write_end = os.pipe()
if os.fork():
    die()
os.close(write_end)
os.read(read_end, 1)  # until the parent's end
say("orphaned")
listen()
log_events(1_000, 1)
listen()
handler.flush(30)
say(handler.stats()["recovered"], handler.stats()["delivered"])
"""


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_row_20_a_child_that_outlives_its_parent_inherits_its_events(
    oracle: Oracle, tmp_path: Path, durability: str
) -> None:
    """No descriptor that a child got by the fork keeps the parent's segments locked."""
    oracle.refuse()
    spool = tmp_path / "spool"
    program = Program(ORPHANING_PARENT % durability, tmp_path, spool, oracle.url)
    with ended(program):
        assert program.hear() == "orphaned", program.err
        oracle.listen()
        program.tell("log")
        oracle.wait_for(lambda oracle: len(oracle.stored) == 501, 30)
        program.tell("flush")
        assert program.hear() == "500 501", program.err
    assert numbers(oracle) == [*range(500), 1_000]


# Row 21

CHILDREN = """
import multiprocessing

def work(child, how):
    if child_needs_a_handler:
        make_handler(exit_timeout=0)
    log_events(100 * child, 10)
    if how == "os._exit":
        os._exit(0)
    if how == "SIGKILL":
        die()

child_needs_a_handler = %r != "fork"
if __name__ == "__main__":
    handler = make_handler()
    log_events(0, 5)
    context = multiprocessing.get_context(%r)
    hows = ["return", "os._exit", "SIGKILL"] * 2
    children = [context.Process(target=work, args=(child, how)) for child, how in enumerate(hows, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    say([child.exitcode for child in children])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_row_21_children_of_multiprocessing_however_they_leave(
    oracle: Oracle, tmp_path: Path, figure: Any, method: str
) -> None:
    spool = tmp_path / "spool"
    [said] = Program(CHILDREN % (method, method), tmp_path, spool, oracle.url).run()
    assert json.loads(said) == [0, 0, -signal.SIGKILL] * 2
    succeed(oracle, spool)
    expected = [*range(5), *(100 * child + number for child in range(1, 7) for number in range(10))]
    assert numbers(oracle) == expected
    figure("21", f"multiprocessing {method}, left by return, os._exit and SIGKILL: 100 % of 6 children delivered")


SHOP = """
import logging, os
from connect_logging import ConnectHandler

log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(ConnectHandler(spool=os.environ["SPOOL"], flush_interval=0.01))
log.info("", extra={"collection": "starts", "event": {"pid": os.getpid()}})

def application(environ, start_response):
    number = int(environ["PATH_INFO"].strip("/"))
    log.info("", extra={"collection": "things", "event": {"id": number, "pid": os.getpid()}})
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return [b""]
"""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_row_21_gunicorn_with_a_preloaded_application(
    oracle: Oracle, tmp_path: Path, figure: Any, end: signal.Signals
) -> None:
    pytest.importorskip("gunicorn")
    spool, requests, workers = tmp_path / "spool", 200, 3
    (tmp_path / "shop.py").write_text(SHOP)
    command = [sys.executable, "-W", "error", "-m", "gunicorn", "--preload", "--workers", str(workers)]
    command += ["--bind", "127.0.0.1:0", "--chdir", str(tmp_path), "--worker-tmp-dir", str(tmp_path)]
    environ = {
        **os.environ,
        "CONNECT_PROJECT_ID": "project",
        "CONNECT_API_KEY": CANARY,
        "CONNECT_BASE_URL": oracle.url,
        "SPOOL": str(spool),
    }
    log = tmp_path / "gunicorn.log"
    with log.open("wb") as errors:
        master = subprocess.Popen([*command, "shop:application"], env=environ, stderr=errors, start_new_session=True)
    try:
        until(lambda: log.read_text().count("Booting worker") == workers or master.poll() is not None)
        [address] = [line.split()[-2] for line in log.read_text().splitlines() if "Listening at" in line]
        port = int(address.rpartition(":")[2])
        for number in range(requests):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", f"/{number}")
            assert connection.getresponse().status == 200
            connection.close()
    finally:
        if end is signal.SIGTERM:
            master.terminate()
        else:
            os.killpg(master.pid, signal.SIGKILL)  # the session that was made for it
        code = master.wait(30)
    assert code == (0 if end is signal.SIGTERM else -signal.SIGKILL), log.read_text()
    assert "Traceback" not in log.read_text()
    succeed(oracle, spool)
    things = oracle.events("things")
    assert sorted(event["id"] for event in things) == list(range(requests))
    [start] = oracle.events("starts")
    served = {event["pid"] for event in things}
    assert start["pid"] == master.pid
    assert master.pid not in served
    figure("21", f"gunicorn --preload, {len(served)} workers, {end.name}: 100 % of {requests} events delivered")


TASKS = """
import logging, os
from celery import Celery
from connect_logging import ConnectHandler

app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"
}
app.conf.worker_hijack_root_logger = False
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(ConnectHandler(spool=os.environ["SPOOL"], flush_interval=0.01))
log.info("", extra={"collection": "starts", "event": {"pid": os.getpid()}})

@app.task
def work(number):
    log.info("", extra={"collection": "things", "event": {"id": number, "pid": os.getpid()}})

if __name__ == "__main__":
    for number in range(100):
        work.delay(number)
"""


def test_row_21_celery_with_preforked_workers(oracle: Oracle, tmp_path: Path, figure: Any) -> None:
    """Without warnings as errors: they would be Celery's own."""
    pytest.importorskip("celery")
    spool = tmp_path / "spool"
    (tmp_path / "queue").mkdir()
    (tmp_path / "tasks.py").write_text(TASKS)
    environ = {
        **os.environ,
        "CONNECT_PROJECT_ID": "project",
        "CONNECT_API_KEY": CANARY,
        "CONNECT_BASE_URL": oracle.url,
        "SPOOL": str(spool),
    }
    subprocess.run([sys.executable, "tasks.py"], cwd=tmp_path, env=environ, check=True, timeout=60)
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "3"]
    log = tmp_path / "celery.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            command, cwd=tmp_path, env=environ, stdout=output, stderr=output, start_new_session=True
        )
    try:
        oracle.wait_for(lambda oracle: len(oracle.events("things")) == 100, 40)
        worker.terminate()
        assert worker.wait(30) == 0, log.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)  # the session that was made for it
        worker.wait(30)
    succeed(oracle, spool)
    things = oracle.events("things")
    served = {event["pid"] for event in things}
    assert sorted(event["id"] for event in things) == list(range(100))
    assert worker.pid not in served
    assert {event["pid"] for event in oracle.events("starts")} >= {worker.pid}
    figure("21", f"Celery prefork, {len(served)} workers: 100 % of 100 tasks' events delivered")


# Row 22

GEVENT = """
import gevent

def greenlet(start):
    for number in range(start, start + 50):
        log_events(number, 1)
        gevent.sleep(0)

greenlets = [gevent.spawn(greenlet, 100 * which) for which in range(10)]
gevent.joinall(greenlets)
say(handler.flush(20), handler.stats()["delivered"])
ticks = 0
def tick():
    global ticks
    while True:
        gevent.sleep(0.001)
        ticks += 1
ticker = gevent.spawn(tick)
gevent.sleep(0.3)
log_events(5_000, 1)
gevent.sleep(0.3)
say(ticks)
ticker.kill()
"""
PATCH = """
import warnings
from gevent import monkey
with warnings.catch_warnings():
    warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)  # it is too late for ssl, where nothing of ours is
    monkey.patch_all()
"""


@pytest.mark.parametrize("order", ["before the import", "after the import", "after the handler"])
def test_row_22_gevent(oracle: Oracle, tmp_path: Path, figure: Any, order: str) -> None:
    pytest.importorskip("gevent")
    spool = tmp_path / "spool"
    make = "\nhandler = make_handler()\n"
    script = (make + PATCH if order == "after the handler" else PATCH + make) + GEVENT
    program = Program(script, tmp_path, spool, oracle.url, before=PATCH if order == "before the import" else "")
    with ended(program):
        assert program.hear() == "True 500", program.err
        ticks = int(program.hear())
        assert program.wait() == 0
    # Python's own farewell to a thread that is older than the patch fails, after all its work is done.
    assert "Traceback" not in program.err or (order == "after the handler" and "in _delete" in program.err)
    assert numbers(oracle) == sorted([*(100 * which + n for which in range(10) for n in range(50)), 5_000])
    assert ticks > 100, "something of ours blocks all greenlets"
    assert segments(spool) == []
    figure("22", f"gevent patched {order}: 100 % of 501 delivered, {ticks} ticks of 1 ms within 0.6 s")


FORKS_WHILE_SEGMENTS_OPEN = """
import threading

spool.SEGMENT_BYTES = 1
handler = make_handler()
done = threading.Event()

def log_on():
    n = 0
    while not done.is_set():
        log_events(n, 1)
        n += 1

thread = threading.Thread(target=log_on)
thread.start()
found = 0
for _ in range(60):
    pid = os.fork()
    if pid == 0:
        left = 0
        for each in os.listdir("/proc/self/fd"):
            try:
                left += ".journal" in os.readlink("/proc/self/fd/" + each)
            except FileNotFoundError:  # the one that lists
                pass
        os._exit(min(left, 100))
    found += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
done.set()
thread.join()
say(str(found))
handler.flush(30)
"""


def test_row_20_no_child_keeps_a_file_that_its_parent_was_opening(oracle: Oracle, tmp_path: Path, figure: Any) -> None:
    """Such a child would hold the lock on it for as long as it lives, and nobody could adopt it."""
    program = Program(FORKS_WHILE_SEGMENTS_OPEN, tmp_path, tmp_path / "spool", oracle.url)
    with ended(program):
        assert program.hear() == "0", program.err
        assert program.wait() == 0
    figure("20", "60 forks while a thread opens segments: descriptors left in children 0")


# Row 28

SHARERS = """
spool.ADOPT_EVERY = 0.01
handler = make_handler()
say("ready")
listen()
log_events(int(listen()), 1_000)
if listen() == "die":
    die()
handler.flush(30)
say(json.dumps(handler.stats()))
"""


def test_row_28_processes_that_share_a_spool_own_no_file_twice(oracle: Oracle, tmp_path: Path, figure: Any) -> None:
    """Four at once, that look for orphans all the time; one dies, and leaves one file of many of an earlier life."""
    spool, count = tmp_path / "spool", 4
    oracle.refuse()
    for life in range(3):
        script = f"make_handler(spool_max_bytes=1024**2)\nlog_events({life} * 1_000, 1_000)\ndie()"
        with ended(program := Program("spool.SEGMENT_BYTES = 1\n" + script, tmp_path, spool, oracle.url)):
            program.wait()
    stale = len(segments(spool))
    assert stale > 3
    oracle.listen()
    programs = [Program(SHARERS, tmp_path, spool, oracle.url) for _ in range(count)]
    with ended(*programs):
        for program in programs:
            assert program.hear() == "ready", program.err
        for number, program in enumerate(programs, 3):
            program.tell(f"go\n{number * 1_000}")
        programs[0].tell("die")
        programs[0].wait()
        oracle.wait_for(lambda oracle: len(oracle.stored) == 7_000, 30)
        for program in programs[1:]:
            program.tell("end")
        stats = [json.loads(program.hear()) for program in programs[1:]]
        for program in programs[1:]:
            assert program.wait() == 0
            assert "Traceback" not in program.err
    succeed(oracle, spool)
    assert numbers(oracle) == list(range(7_000))
    assert all(balanced(each) for each in stats)
    # Of what the killed one had, stale files among it, something may have been under way.
    unkilled = [seen.received for (_, key), seen in oracle.seen.items() if int(key) >= 4_000]
    assert set(unkilled) == {1}
    figure("28", f"{count} processes at once on {stale} stale files and each other's: lost 0, sent twice 0")
