"""Workers: as many at a time as there may be, in the order of their coming, and an end."""

from __future__ import annotations

import threading

import pytest

from connect_logging.server.transfers.workers import TooManyWaitingError, Workers


def test_no_more_run_at_a_time_than_may() -> None:
    workers = Workers(2, 10)
    entered, leave = threading.Semaphore(0), threading.Semaphore(0)
    order: list[int] = []
    done = threading.Semaphore(0)

    def task(number: int) -> None:
        order.append(number)
        entered.release()
        leave.acquire()
        done.release()

    for number in range(5):
        workers.submit("p", lambda number=number: task(number))  # type: ignore[misc]
    for _ in range(2):
        assert entered.acquire(timeout=10)
    assert not entered.acquire(timeout=0.05)
    for _ in range(5):
        leave.release()
        assert done.acquire(timeout=10)
    assert sorted(order[:2]) == [0, 1]
    assert sorted(order) == [0, 1, 2, 3, 4]
    workers.close(10)


def test_each_owner_has_so_much_waiting_at_most() -> None:
    workers = Workers(1, 2)
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        entered.set()
        leave.wait(10)

    workers.submit("p", first)
    assert entered.wait(10)
    for _ in range(2):
        workers.submit("p", lambda: None)
    with pytest.raises(TooManyWaitingError, match="2 transfers"):
        workers.submit("p", lambda: None)
    workers.submit("q", lambda: None)
    leave.set()
    workers.close(10)


def test_when_it_closes_nothing_new_begins_and_what_runs_is_waited_for() -> None:
    workers = Workers(1, 5)
    entered, leave, ran = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        entered.set()
        leave.wait(10)

    workers.submit("p", first)
    assert entered.wait(10)
    workers.submit("p", ran.set)
    threading.Timer(0.05, leave.set).start()
    workers.close(10)
    workers.close(10)
    assert leave.is_set()
    assert not ran.is_set()
    with pytest.raises(TooManyWaitingError):
        workers.submit("p", ran.set)
    assert not any(thread.name == "transfer" and thread.is_alive() for thread in workers._threads)


def test_what_does_not_end_is_not_waited_for_for_ever() -> None:
    workers = Workers(1, 1)
    leave = threading.Event()
    workers.submit("p", lambda: leave.wait(10))
    workers.close(0.01)
    leave.set()
