"""Failures are counted by address and by project, in a memory that is bounded."""

from __future__ import annotations

import pytest
from clock import Clock

from connect_logging.server.failed_keys import FailedKeys


@pytest.mark.parametrize(
    ("host", "neighbour", "stranger"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", "2001:db8:0:1::1"),
        (None, "nonsense", "192.0.2.1"),
        ("", "192.0.2.1.5", "fe80::1"),
    ],
)
def test_what_one_customer_has_is_counted_as_one(host: str | None, neighbour: str | None, stranger: str | None) -> None:
    failed = FailedKeys(2, Clock())
    failed.count(host, None)
    assert failed.wait(host, None) == failed.wait(neighbour, None) == 0
    failed.count(neighbour, None)
    assert failed.wait(host, None) == failed.wait(neighbour, None) == 30
    assert failed.wait(stranger, None) == 0


def test_failures_are_forgotten_steadily() -> None:
    clock = Clock()
    failed = FailedKeys(3, clock)
    for _ in range(3):
        failed.count("192.0.2.1", "p")
    waits = []
    for _ in range(6):
        waits.append(failed.wait("192.0.2.1", "p"))
        clock.now += 5
    assert waits == [20, 15, 10, 5, 0, 0]
    failed.count("192.0.2.1", "p")
    assert failed.wait("192.0.2.1", "p") == 10


def test_who_was_quiet_for_long_has_no_more_failures_than_who_is_new() -> None:
    clock = Clock()
    failed = FailedKeys(1, clock)
    failed.count("192.0.2.1", "p")
    clock.now += 3_600
    assert failed.wait("192.0.2.1", "p") == 0
    failed.count("192.0.2.1", "p")
    assert failed.wait("192.0.2.1", "p") == 60
    failed.count("192.0.2.1", "p")
    assert failed.wait("192.0.2.1", "p") == 120


def test_a_project_has_the_failures_of_ten_addresses() -> None:
    failed = FailedKeys(2, Clock())
    for number in range(20):
        assert failed.wait("192.0.2.255", "p") == 0
        failed.count(f"192.0.2.{number}", "p")
    assert failed.wait("192.0.2.255", "p") == 3
    assert failed.wait("192.0.2.255", "q") == failed.wait("192.0.2.255", None) == 0


def test_the_memory_is_bounded_and_forgets_who_failed_longest_ago() -> None:
    failed = FailedKeys(1, Clock(), max_sources=100)
    for number in range(1_000):
        failed.count(f"10.0.{number // 250}.{number % 250}", f"p{number}")
        failed.count("192.0.2.1", None)
    assert len(failed._addresses._levels) == len(failed._projects._levels) == 100
    assert failed.wait("192.0.2.1", None) > 0
    assert failed.wait("10.0.0.0", None) == 0


def test_who_has_failed_again_is_forgotten_after_who_has_not() -> None:
    failed = FailedKeys(2, Clock(), max_sources=2)
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
        failed.count(host, None)
    assert failed.wait("192.0.2.1", None) == 30
