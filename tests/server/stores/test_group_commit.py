"""Requests gather while a commit runs, fail alone, and are never forgotten."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress

import pytest

from connect_logging.server.stores.base import StoreBusyError, StoreError, StoreUnavailableError
from connect_logging.server.stores.group_commit import GroupCommitter


class Log:
    """Commits to a list; each commit waits for a permit. A negative number breaks the group that it is in.

    ``is_gone``: nothing can be committed.
    """

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.permits = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.is_gone = False
        self.tried = 0

    def commit(self, group: Sequence[int]) -> list[int]:
        self.entered.release()
        assert self.permits.acquire(timeout=10)
        self.tried += 1
        if self.is_gone:
            raise StoreUnavailableError("gone")
        if min(group) < 0:
            raise StoreError(f"no {min(group)}")
        self.groups.append(list(group))
        return [2 * request for request in group]


@contextmanager
def committing(log: Log, max_group: int = 100, max_waiting: int = 100) -> Iterator[GroupCommitter[int, int]]:
    committer = GroupCommitter[int, int](log.commit, max_group=max_group, max_waiting=max_waiting)
    try:
        yield committer
    finally:
        log.permits.release(100)
        committer.close()


def first_in_commit(log: Log, committer: GroupCommitter[int, int]) -> Future[int]:
    """A request whose commit has begun, so that what follows has to wait."""
    first = committer.submit(1, 1)
    assert log.entered.acquire(timeout=10)
    return first


def test_what_comes_in_during_a_commit_is_committed_together() -> None:
    log = Log()
    with committing(log) as committer:
        first = first_in_commit(log, committer)
        rest = [committer.submit(number, 1) for number in (2, 3, 4)]
        assert not first.done()
        log.permits.release(2)
        assert [future.result(10) for future in (first, *rest)] == [2, 4, 6, 8]
    assert log.groups == [[1], [2, 3, 4]]


def test_a_group_is_bounded_by_weight_and_one_that_is_heavier_goes_alone() -> None:
    log = Log()
    with committing(log, max_group=10) as committer:
        first_in_commit(log, committer)
        for number, weight in ((2, 6), (3, 4), (4, 50), (5, 1)):
            committer.submit(number, weight)
        log.permits.release(4)
    assert log.groups == [[1], [2, 3], [4], [5]]


def test_a_request_that_cannot_be_stored_fails_alone() -> None:
    log = Log()
    with committing(log) as committer:
        first_in_commit(log, committer)
        futures = [committer.submit(number, 1) for number in (2, -3, 4)]
        log.permits.release(5)
        assert [futures[0].result(10), futures[2].result(10)] == [4, 8]
        with pytest.raises(StoreError, match="no -3"):
            futures[1].result(10)
        lone = committer.submit(-5, 1)
        log.permits.release()
        with pytest.raises(StoreError, match="no -5"):
            lone.result(10)
    assert log.groups == [[1], [2], [4]]


def test_why_a_request_fails_is_logged_once_until_one_is_done(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()
    log.permits.release(100)
    with committing(log) as committer:
        for number in (-1, -2, 3, -4):
            with suppress(StoreError):
                committer.submit(number, 1).result(10)
        log.is_gone = True
        with suppress(StoreError):
            committer.submit(5, 1).result(10)
    assert caplog.messages == ["no -1", "no -4"]


def test_when_the_database_is_gone_a_group_fails_at_once() -> None:
    log = Log()
    with committing(log) as committer:
        first = first_in_commit(log, committer)
        rest = [committer.submit(number, 1) for number in (2, 3, 4)]
        log.permits.release(1)
        assert first.result(10) == 2
        log.is_gone = True
        log.permits.release(10)
        for future in rest:
            with pytest.raises(StoreUnavailableError, match="gone"):
                future.result(10)
        assert log.tried == 2
        log.is_gone = False
        assert committer.submit(5, 1).result(10) == 10


def test_when_the_database_goes_while_requests_are_tried_alone_the_rest_fails_at_once() -> None:
    log = Log()
    with committing(log) as committer:
        first_in_commit(log, committer)
        rest = [committer.submit(number, 1) for number in (2, -3, 4, 5)]
        log.permits.release(3)  # the first, the group, and 2
        assert rest[0].result(10) == 4
        log.is_gone = True
        log.permits.release(10)
        for future in rest[1:]:
            with pytest.raises(StoreUnavailableError, match="gone"):
                future.result(10)
        assert log.tried == 4


def test_what_waits_is_bounded_but_nothing_is_too_heavy_for_an_empty_queue() -> None:
    log = Log()
    with committing(log, max_waiting=10) as committer:
        first_in_commit(log, committer)
        committer.submit(2, 1_000)
        with pytest.raises(StoreBusyError) as caught:
            committer.submit(3, 1)
        assert caught.value.retry_after > 0
    assert log.groups == [[1], [2]]


def test_a_request_that_was_cancelled_while_it_waited_is_left_out() -> None:
    log = Log()
    with committing(log) as committer:
        first = first_in_commit(log, committer)
        waiting = committer.submit(2, 1)
        assert waiting.cancel()
        assert not first.cancel()
        log.permits.release(1)
        assert first.result(10) == 2
        last = committer.submit(3, 1)
        log.permits.release(1)
        assert last.result(10) == 6
        with pytest.raises(CancelledError):
            waiting.result(10)
    assert log.groups == [[1], [3]]


def test_closing_commits_what_waits_and_refuses_what_comes() -> None:
    log = Log()
    with committing(log) as committer:
        first_in_commit(log, committer)
        last = committer.submit(2, 1)
        log.permits.release(2)
        committer.close()
        assert last.result(0) == 4
        with pytest.raises(StoreError, match="stopping"):
            committer.submit(3, 1)
        committer.close()


def test_closing_without_work_ends_at_once() -> None:
    with committing(Log()) as committer:
        committer.close()


def test_what_is_taken_to_be_committed_waits_no_longer() -> None:
    log = Log()
    with committing(log, max_waiting=10) as committer:
        first_in_commit(log, committer)
        for number in range(2, 12):
            assert committer.waiting == 0
            committer.submit(number, 10)
            with pytest.raises(StoreBusyError):
                committer.submit(0, 1)
            log.permits.release()
            assert log.entered.acquire(timeout=10)
