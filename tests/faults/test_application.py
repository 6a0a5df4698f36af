"""Rows 23 to 27: what the application does to the handler, by accident or in malice."""

from __future__ import annotations

import gc
import json
import logging
import logging.config
import resource
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import time_machine
from oracle import Exchange, Oracle
from oracle_faults import Status
from pushing import CANARY, MakeHandler, balanced, logger_with

from connect_logging import _pusher


def test_row_23_what_the_sending_logs_is_not_sent(oracle: Oracle, make_handler: MakeHandler, figure: Any) -> None:
    oracle.fail(Status(503), times=2)  # its warning is logged as well
    handler = make_handler(default_collection="logs", flush_interval=0.01)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        for number in range(10):
            logging.getLogger("app").debug("%d", number)
        assert handler.flush(10)
        assert handler.flush(10)
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
    assert [event["message"] for event in oracle.events("logs")] == [str(number) for number in range(10)]
    assert handler.stats()["accepted"] == 10
    figure("23", f"root at DEBUG, {len(oracle.requests)} requests: extra events 0")


def test_row_23_a_filter_that_makes_events_of_everything_starts_no_loop(
    oracle: Oracle, make_handler: MakeHandler
) -> None:
    def everything(record: logging.LogRecord) -> bool:
        record.collection = "logs"
        return True

    handler = make_handler(flush_interval=0.01)
    handler.addFilter(everything)
    urllib3 = logging.getLogger("urllib3")
    urllib3.addHandler(handler)
    urllib3.setLevel(logging.DEBUG)
    try:
        urllib3.warning("the application's own")
        assert handler.flush(10)
        assert handler.flush(10)
    finally:
        urllib3.removeHandler(handler)
        urllib3.setLevel(logging.NOTSET)
    assert len(oracle.stored) == 1


class LogsAsItDies:
    """In a cycle, so that only the garbage collector ends it, wherever that happens to run."""

    def __init__(self, logger: logging.Logger, dead: list[None]) -> None:
        self.logger = logger
        self.dead = dead
        self.me = self

    def __del__(self) -> None:
        self.logger.info("", extra={"collection": "deaths", "n": 1})
        self.dead.append(None)


def test_row_24_logging_from_del_does_not_deadlock(oracle: Oracle, make_handler: MakeHandler, figure: Any) -> None:
    handler = make_handler(flush_interval=0.01, flush_events=10)
    began = time.monotonic()
    thresholds = gc.get_threshold()
    gc.set_threshold(1)  # collect at almost every allocation, those inside the handler included
    try:
        with logger_with(handler) as logger:
            dead: list[None] = []
            for _ in range(300):
                LogsAsItDies(logger, dead)
                logger.info("", extra={"collection": "lives", "event": {"a": {"b": [1, {"c": 2}]}}})
            while len(dead) < 300:  # a collection that runs on the sending thread makes this one do nothing
                gc.collect()
            spent = time.monotonic() - began
            assert handler.flush(10)
    finally:
        gc.set_threshold(*thresholds)
    assert len(oracle.events("deaths")) == 300
    assert len(oracle.events("lives")) == 300
    figure("24", f"300 events from __del__ within log calls: {spent:.2f} s, no deadlock")


def test_row_24_an_event_that_is_logged_on_the_sending_thread_is_not_lost(
    oracle: Oracle, make_handler: MakeHandler
) -> None:
    """The garbage collector may call a __del__ there; urllib3's logging stands for it, as it is sure to come."""
    handler = make_handler(default_collection="logs", flush_interval=0.01)
    urllib3 = logging.getLogger("urllib3")
    threads: list[str] = []

    class LogsOnce(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not threads:
                threads.append(threading.current_thread().name)
                logger.info("", extra={"collection": "things", "event": {"id": "second"}})
                logger.info("no collection of its own: it may well be about the sending")

    listener = LogsOnce()
    urllib3.addHandler(listener)
    urllib3.setLevel(logging.DEBUG)
    try:
        with logger_with(handler) as logger:
            logger.info("", extra={"collection": "things", "event": {"id": "first"}})
            assert handler.flush(10)
            assert handler.flush(10)
    finally:
        urllib3.removeHandler(listener)
        urllib3.setLevel(logging.NOTSET)
    assert threads == ["connect-logging-pusher"]
    assert set(oracle.stored) == {("things", "first"), ("things", "second")}


def test_row_24_dict_config_in_the_middle_of_a_request(oracle: Oracle, figure: Any) -> None:
    sending, go_on = threading.Event(), threading.Event()

    def slowly(exchange: Exchange) -> None:
        sending.set()
        assert go_on.wait(10)
        exchange.send(503, b"{}")  # makes the worker warn, while this thread holds logging's lock

    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "connect": {
                "class": "connect_logging.ConnectHandler",
                "project_id": "project",
                "api_key": CANARY,
                "base_url": oracle.url,
                "flush_interval": 0.01,
            }
        },
        "loggers": {"tests.reconfigured": {"handlers": ["connect"], "level": "DEBUG"}},
    }
    logger = logging.getLogger("tests.reconfigured")
    logging.config.dictConfig(config)
    oracle.fail(slowly)
    logger.info("", extra={"collection": "things", "event": {"id": "before"}})
    assert sending.wait(10)
    threading.Timer(0.05, go_on.set).start()
    began = time.monotonic()
    logging.config.dictConfig(config)  # closes the old handler, which has an event under way
    spent = time.monotonic() - began
    logger.info("", extra={"collection": "things", "event": {"id": "after"}})
    logging.config.dictConfig({**config, "handlers": {}, "loggers": {"tests.reconfigured": {"handlers": []}}})
    assert set(oracle.stored) == {("things", "before"), ("things", "after")}
    assert spent < 4.0
    figure("24", f"dictConfig during a request: {spent:.2f} s, nothing lost")


def test_row_24_each_flush_sends_while_logging_is_being_configured(oracle: Oracle, make_handler: MakeHandler) -> None:
    """``logging.shutdown``, of which dictConfig makes use, flushes and then closes, and others go on logging."""
    handler = make_handler(flush_interval=60.0)
    with logger_with(handler) as logger, logging._lock:  # type: ignore[attr-defined]  # as dictConfig has it
        for number in range(3):
            logger.setLevel(logging.INFO)  # so that who asks a logger for its level waits for that lock
            logger.info("", extra={"collection": "things", "event": {"id": number}})
            assert handler.flush(5)
    assert len(oracle.stored) == 3


def test_row_24_who_closes_does_not_wait_for_a_worker_that_waits_for_logging(
    oracle: Oracle, make_handler: MakeHandler, figure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pusher, "_FAREWELL", 3_600.0)  # who waited as for a worker that ends would not come back
    handlers = [make_handler(flush_interval=60.0) for _ in range(5)]
    began = time.monotonic()
    with logging._lock:  # type: ignore[attr-defined]  # as dictConfig has it
        for number, handler in enumerate(handlers):
            with logger_with(handler) as logger:
                logger.setLevel(logging.DEBUG)  # so that who asks a logger for its level waits for that lock
                logger.info("", extra={"collection": "things", "event": {"id": number}})
            handler.close()
    spent = time.monotonic() - began
    assert len(oracle.stored) == len(handlers)
    figure("24", f"{len(handlers)} handlers closed within logging's lock: {spent:.2f} s")


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("repr")

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        return 1


class HostileDict(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("items")


def deep(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels):
        inner = {"a": inner}
    return inner


def cycle() -> list[Any]:
    ring: list[Any] = []
    ring += (ring, ring)
    return ring


HOSTILE: dict[str, Any] = {
    "cycle": {"a": cycle()},
    "depth": deep(200_000),
    "NaN": {"a": float("nan")},
    "infinity": {"a": [float("-inf")]},
    "huge int": {"a": 10**5_000},
    "surrogate": {"a": "\ud800"},
    "surrogate name": {"\udfff": 1},
    "object": {"a": Hostile()},
    "hostile key": {Hostile(): 1},
    "tuple key": {(1, 2): 1},
    "bytes": {"a": b"1"},
    "set": {"a": {1}},
    "dotted": {"a.b": 1},
    "reserved": {"tp_a": 1},
    "dollar": {"$set": {}},
    "not a dict": 7,
    "none": None,
    "list": [1],
    "id": {"id": []},
    "timestamp": {"timestamp": "yesterday"},
    "large": {"a": "x" * 70_000},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_row_25_hostile_values_end_as_dead_letters(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path, figure: Any, name: str
) -> None:
    handler = make_handler(dead_letters=tmp_path / "dead.log")
    with logger_with(handler) as logger:
        logger.info("", extra={"collection": "things", "event": HOSTILE[name]})
        logger.info("%d", "not read", extra={"collection": "things", "event": {"id": "next"}})
    assert handler.flush(10)
    assert list(oracle.stored) == [("things", "next")]
    [letter] = [json.loads(line) for line in (tmp_path / "dead.log").read_text().splitlines()]
    assert letter["collection"] == "things"
    assert "event" in letter["reason"]
    assert len(json.dumps(letter)) < 40_000
    assert handler.stats()["rejected"] == 1
    figure("25", f"{len(HOSTILE)} hostile events: escapes 0, each a dead letter")


COLLECTIONS: dict[str, Any] = {
    "int": 7,
    "empty": "",
    "path": "../etc",
    "slash": "a/b",
    "long": "x" * 300,
    "object": Hostile(),
    "list": ["a"],
    "NUL": "nul\0",
}


def test_row_25_a_dict_that_lies_about_its_items_is_read_as_it_is(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler()
    with logger_with(handler) as logger:
        logger.info("", extra={"collection": "things", "event": {"a": HostileDict(b=1)}})
    assert handler.flush(10)
    assert oracle.events("things")[0]["a"] == {"b": 1}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_row_25_a_hostile_collection_ends_as_a_dead_letter(
    make_handler: MakeHandler, tmp_path: Path, name: str
) -> None:
    handler = make_handler(dead_letters=tmp_path / "dead.log")
    with logger_with(handler) as logger:
        logger.info("", extra={"collection": COLLECTIONS[name], "n": 1})
    assert handler.flush(10)
    [line] = (tmp_path / "dead.log").read_text().splitlines()
    assert "collection" in json.loads(line)["reason"]


def test_row_25_a_message_that_cannot_be_formatted_is_counted(make_handler: MakeHandler, tmp_path: Path) -> None:
    handler = make_handler(default_collection="logs", dead_letters=tmp_path / "dead.log")
    with logger_with(handler) as logger:
        logger.info("%d", "no number")
    assert handler.flush(10)
    assert handler.stats()["rejected"] == 1
    assert "TypeError" in (tmp_path / "dead.log").read_text()


def test_row_26_an_event_of_100_mb_is_refused_cheaply(make_handler: MakeHandler, tmp_path: Path, figure: Any) -> None:
    handler = make_handler(dead_letters=tmp_path / "dead.log")
    event = {"text": "x" * 100_000_000, "list": ["y" * 10_000] * 10_000}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with logger_with(handler) as logger:
        began = time.perf_counter()
        logger.info("", extra={"collection": "things", "event": event})
        spent = time.perf_counter() - began
    assert handler.flush(10)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert handler.stats()["rejected"] == 1
    assert "65,536" in (tmp_path / "dead.log").read_text()
    assert grown < 20
    figure("26", f"a 100 MB event: refused in {spent * 1000:.1f} ms, RSS grew by {grown:.0f} MB")


def test_row_27_a_clock_that_is_a_year_off_changes_no_deadline(
    oracle: Oracle, make_handler: MakeHandler, figure: Any
) -> None:
    oracle.fail(Status(503), times=2)
    handler = make_handler(flush_interval=0.01)
    began = time.perf_counter()
    with logger_with(handler) as logger, time_machine.travel(0, tick=True):
        logger.info("", extra={"collection": "things", "n": 1})
        assert handler.flush(10)
    assert oracle.events("things")[0]["timestamp"].startswith("1970-01-01T00:00:0")
    figure("27", f"clock set to 1970: delivered through two 503s in {time.perf_counter() - began:.2f} s")


def test_the_snapshot_is_taken_in_the_log_call(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler(flush_interval=60.0)
    event = {"list": [1], "nested": {"a": 1}}
    with logger_with(handler) as logger:
        logger.info("", extra={"collection": "things", "event": event})
    event["list"].append(2)  # type: ignore[attr-defined]
    event["nested"]["a"] = 2  # type: ignore[index]
    event["new"] = 3  # type: ignore[assignment]
    assert handler.flush(10)
    [stored] = oracle.events("things")
    assert (stored["list"], stored["nested"], "new" in stored) == ([1], {"a": 1}, False)
    assert set(event) == {"list", "nested", "new"}
    assert balanced(handler.stats())
