"""The worker: one thread, no lost wake-up, nothing inherited by a fork, no start is no error."""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from connect_logging._worker import Worker, flush_at_multiprocessing_exit


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """Ends the threads of a test."""
    event = threading.Event()
    yield event
    event.set()


def cannot_start(_thread: threading.Thread) -> NoReturn:
    raise RuntimeError("can't start new thread")


def test_a_worker_starts_once_when_it_is_asked_to(stop: threading.Event) -> None:
    ran: list[threading.Thread] = []

    def run() -> None:
        ran.append(threading.current_thread())
        stop.wait(10)

    worker = Worker(run, "the name")
    assert not worker.started
    assert ran == []
    assert worker.start()
    assert worker.started
    assert worker.start()
    stop.set()
    assert worker.join(10)
    [thread] = ran
    assert (thread.name, thread.daemon) == ("the name", True)


def test_many_threads_that_start_it_at_once_start_one(stop: threading.Event) -> None:
    for _ in range(50):
        ran: list[int] = []
        done = threading.Event()
        worker = Worker(lambda ran=ran, done=done: (ran.append(1), done.wait(10)), "worker")
        barrier = threading.Barrier(4)
        started: list[bool] = []

        def start(worker: Worker = worker, barrier: threading.Barrier = barrier, started: list[bool] = started) -> None:
            barrier.wait(10)
            started.append(worker.start())

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        done.set()
        assert worker.join(10)
        assert (started, ran) == ([True] * 4, [1])


def test_a_start_within_a_start_starts_one() -> None:
    """As a signal handler or a ``__del__`` logs while the first log call starts the thread."""
    for at in itertools.count(1):
        ran: list[int] = []
        done = threading.Event()
        worker = Worker(lambda ran=ran, done=done: (ran.append(1), done.wait(10)), "worker")
        points = 0
        within: list[bool] = []

        def interrupt(
            _frame: object,
            _event: str,
            _arg: object,
            at: int = at,
            worker: Worker = worker,
            within: list[bool] = within,
        ) -> None:
            nonlocal points
            points += 1
            if points == at:
                within.append(worker.start())

        sys.setprofile(interrupt)
        try:
            started = worker.start()
        finally:
            sys.setprofile(None)
        done.set()
        assert worker.join(10)
        if not within:
            break
        assert (started, within, ran) == (True, [True], [1])
    assert at > 5


def test_where_no_thread_can_start_start_says_so_and_may_be_asked_again(
    monkeypatch: pytest.MonkeyPatch, stop: threading.Event
) -> None:
    worker = Worker(lambda: [stop.wait(10)].clear(), "worker")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", cannot_start)
        assert not worker.start()
        assert not worker.started
        assert worker.join(0.0), "there is nothing to wait for"
    assert worker.start()
    stop.set()
    assert worker.join(10)


def test_a_thread_that_has_ended_is_started_anew() -> None:
    ran: list[int] = []
    worker = Worker(lambda: ran.append(1), "worker")
    for _ in range(2):
        assert worker.start()
        assert worker.join(10)
    assert ran == [1, 1]


def test_a_join_of_a_busy_thread_ends_at_its_timeout(stop: threading.Event) -> None:
    worker = Worker(lambda: [stop.wait(10)].clear(), "worker")
    worker.start()
    began = time.monotonic()
    assert not worker.join(0.02)
    assert time.monotonic() - began >= 0.02


def test_the_thread_knows_itself_and_does_not_wait_for_itself() -> None:
    told: list[bool] = []
    worker = Worker(lambda: told.extend([worker.is_current(), worker.join(60.0)]), "worker")
    for _ in range(200):  # from its first moment on
        told.clear()
        assert not worker.is_current()
        worker.start()
        assert worker.join(10)
        assert told == [True, False]
        assert not worker.is_current()


# wake and wait


def test_no_wake_up_is_lost_in_many_rounds() -> None:
    """A counter goes up, then wakes; a thread waits until it has seen all. One lost wake-up is half a minute."""
    rounds, threads_count = 5_000, 3
    posted = [0] * threads_count
    seen = 0
    late = 0
    worker: Worker

    def run() -> None:
        nonlocal seen, late
        while seen < rounds * threads_count:
            before = time.monotonic()
            worker.wait(30.0)
            late += time.monotonic() - before > 25.0
            seen = sum(posted)

    worker = Worker(run, "worker")
    worker.start()

    def post(at: int) -> None:
        for _ in range(rounds):
            posted[at] += 1
            worker.wake()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=post, args=(at,)) for at in range(threads_count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert worker.join(20)
    finally:
        sys.setswitchinterval(interval)
    assert late == 0
    assert seen == rounds * threads_count


def test_a_ping_and_a_pong_never_miss_each_other() -> None:
    """Each turn waits for the other's wake: a single lost one ends the game."""
    rounds = 3_000
    ping: Worker
    pong: Worker

    def play(mine: Callable[[], Worker], other: Callable[[], Worker]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(rounds):
                mine().wait(30.0)
                other().wake()

        return run

    ping = Worker(play(lambda: ping, lambda: pong), "ping")
    pong = Worker(play(lambda: pong, lambda: ping), "pong")
    ping.start()
    pong.start()
    began = time.monotonic()
    ping.wake()
    assert ping.join(20)
    assert pong.join(20)
    assert time.monotonic() - began < 20


def test_wakes_before_a_wait_end_it_and_do_not_pile_up() -> None:
    worker = Worker(lambda: None, "worker")
    for _ in range(1_000):
        worker.wake()
    worker.wait(30.0)
    began = time.monotonic()
    worker.wait(0.02)
    assert time.monotonic() - began >= 0.02, "a thousand wakes are one"


def test_a_wake_after_a_wait_that_timed_out_ends_the_next() -> None:
    worker = Worker(lambda: None, "worker")
    worker.wait(0.0)
    worker.wake()
    began = time.monotonic()
    worker.wait(30.0)
    assert time.monotonic() - began < 10


def test_a_wait_without_a_timeout_ends_with_a_wake() -> None:
    worker = Worker(lambda: worker.wait(None), "worker")
    worker.start()
    assert not worker.join(0.01)
    worker.wake()
    assert worker.join(10)


def test_a_signal_handler_may_wake_while_its_thread_wakes() -> None:
    worker = Worker(lambda: None, "worker")
    handled = 0

    def handler(_number: int, _frame: object) -> None:
        nonlocal handled
        handled += 1
        worker.wake()

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        deadline = time.monotonic() + 10
        while handled < 100 and time.monotonic() < deadline:
            worker.wake()
            worker.wait(30.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert handled >= 100
    worker.wake()
    worker.wait(30.0)


# Forks


def in_a_fork(check: Callable[[], object]) -> None:
    """Run ``check`` in a forked child; its exception, if any, is the test's."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            check()
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    assert (told, status) == (b"", 0)


def test_a_forked_child_starts_a_thread_of_its_own(stop: threading.Event) -> None:
    ran_in: list[int] = []

    def run() -> None:
        ran_in.append(os.getpid())
        stop.wait(10)

    worker = Worker(run, "worker")
    worker.start()
    worker.wake()

    def check() -> None:
        worker.reset()
        assert not worker.started
        assert worker.join(0.0)
        before = time.monotonic()
        worker.wait(0.02)
        assert time.monotonic() - before >= 0.02, "the parent's wake is the parent's"
        stop.set()
        assert worker.start()
        assert worker.join(10)
        assert ran_in[-1] == os.getpid()

    in_a_fork(check)
    assert worker.started, "the parent's thread runs on"
    assert ran_in == [os.getpid()]


def test_a_fork_during_a_start_leaves_no_lock_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, done = threading.Event(), threading.Event()
    ran: list[int] = []
    worker = Worker(lambda: ran.append(1), "worker")
    start = threading.Thread.start

    def slow_start(thread: threading.Thread) -> None:
        if thread.name == "worker" and not inside.is_set():
            inside.set()
            done.wait(10)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", slow_start)
    starter = threading.Thread(target=worker.start)
    starter.start()
    assert inside.wait(10)  # the starter holds the lock of ``start``

    def check() -> None:
        worker.reset()
        assert worker.start()
        assert worker.join(10)
        assert ran == [1]

    in_a_fork(check)
    done.set()
    starter.join(10)
    assert worker.join(10)
    assert ran == [1]


def flush_into(path: Path) -> None:
    flush_at_multiprocessing_exit(lambda: path.write_text("flushed"))


def test_a_child_of_multiprocessing_flushes_as_it_ends(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    child = context.Process(target=flush_into, args=(tmp_path / "file",))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert (tmp_path / "file").read_text() == "flushed"


def test_elsewhere_the_end_of_the_process_is_left_to_atexit(tmp_path: Path) -> None:
    before = dict(multiprocessing.util._finalizer_registry)
    flush_into(tmp_path / "file")
    assert multiprocessing.util._finalizer_registry == before


def test_a_thread_that_has_failed_is_started_again(stop: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[object] = [SystemExit(), ValueError("told")]
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_value))
    ran = threading.Event()

    def run() -> None:
        if failures:
            raise failures.pop()  # type: ignore[misc]
        ran.set()
        stop.wait(10)

    worker = Worker(run, "worker")
    for _ in range(2):
        assert worker.start()
        while worker.started:
            worker.join(10)
    assert worker.start()
    assert ran.wait(10)
    assert [type(each) for each in told] == [ValueError, SystemExit]
    stop.set()
    assert worker.join(10)
