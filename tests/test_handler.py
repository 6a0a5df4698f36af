from __future__ import annotations

import json
import logging
import logging.config
import logging.handlers
import pickle
import queue
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from oracle import Oracle
from oracle_faults import Hang, RefuseBatch, Status
from pushing import CANARY, MakeHandler, logger_with
from spooling import until

from connect_logging import ConfigurationError, ConnectHandler, EventFormatter
from connect_logging._durability import MIN_SPOOL_BYTES

NEVER = 3_600.0
"""A flush interval that no test waits for: what arrives was triggered by something else."""


def log_event(handler: ConnectHandler, level: int = logging.INFO, **extra: Any) -> None:
    with logger_with(handler) as logger:
        logger.log(level, "a message", extra={"collection": "things", **extra})


def test_the_dict_under_event_is_the_event(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler()
    log_event(handler, event={"price": 34.95, "customer": {"firstName": "Tom"}}, ignored="by then")
    assert handler.flush(10)
    [event] = oracle.events("things")
    assert set(event) == {"id", "timestamp", "price", "customer"}
    assert event["customer"] == {"firstName": "Tom"}


def test_flat_extras_are_the_event(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler()
    log_event(handler, price=34.95, quantity=2)
    assert handler.flush(10)
    [event] = oracle.events("things")
    assert set(event) == {"id", "timestamp", "price", "quantity"}


def test_the_timestamp_is_the_records(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler()
    record = logging.makeLogRecord(
        {"collection": "things", "event": {}, "created": 1_435_077_116.587, "levelno": logging.INFO}
    )
    handler.handle(record)
    assert handler.flush(10)
    [event] = oracle.events("things")
    stamp = datetime.fromisoformat(event["timestamp"])
    assert abs(stamp - datetime.fromtimestamp(1_435_077_116.587, UTC)).total_seconds() < 2e-6


def test_a_record_without_a_collection_is_no_event(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler()
    with logger_with(handler) as logger:
        logger.info("just text")
        logger.info("no collection", extra={"event": {"a": 1}})
        logger.info("none", extra={"collection": None})
    assert handler.flush(10)
    assert handler.stats()["accepted"] == 0


def test_a_default_collection_takes_every_record(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler(default_collection="logs")
    with logger_with(handler) as logger:
        logger.warning("hello %s", "Tom", extra={"user": 7})
        logger.info("paid", extra={"collection": "purchases", "event": {"price": 1}})
    assert handler.flush(10)
    [event] = oracle.events("logs")
    assert (event["message"], event["level"], event["logger"], event["user"]) == (
        "hello Tom",
        "WARNING",
        logger.name,
        7,
    )
    assert oracle.events("purchases")[0]["message"] == "paid"


def test_a_formatter_of_ones_own_decides_what_joins(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler(default_collection="logs")
    handler.setFormatter(EventFormatter(["levelname"], rename_fields={"levelname": "severity"}, static_fields={"v": 1}))
    with logger_with(handler) as logger:
        logger.info("text")
    assert handler.flush(10)
    [event] = oracle.events("logs")
    assert set(event) == {"id", "timestamp", "severity", "v"}
    handler.setFormatter(None)
    with logger_with(handler) as logger:
        logger.info("text")
    assert handler.flush(10)
    assert set(oracle.events("logs")[1]) == {"id", "timestamp"}


def test_a_formatter_that_makes_text_is_refused(make_handler: MakeHandler) -> None:
    with pytest.raises(ConfigurationError, match=r"EventFormatter.*not Formatter"):
        make_handler().setFormatter(logging.Formatter())


def test_level_and_filters_work_as_for_any_handler(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler(level="WARNING")
    handler.addFilter(lambda record: record.levelno < logging.ERROR)
    with logger_with(handler) as logger:
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            logger.log(level, "", extra={"collection": "things", "level": level})
    assert handler.flush(10)
    assert [event["level"] for event in oracle.events("things")] == [logging.WARNING]


def test_a_filter_may_replace_the_record(oracle: Oracle, make_handler: MakeHandler) -> None:
    def replace(record: logging.LogRecord) -> logging.LogRecord:
        return logging.makeLogRecord({**record.__dict__, "event": {"replaced": True}})

    handler = make_handler()
    handler.addFilter(lambda _: True)
    handler.filter = replace  # type: ignore[method-assign,assignment]  # what filters may do from 3.12 on
    log_event(handler, event={"replaced": False})
    assert handler.flush(10)
    assert oracle.events("things")[0]["replaced"] is True


@pytest.mark.parametrize(
    ("options", "count"),
    [({"flush_events": 10}, 10), ({"flush_bytes": 1_000}, 10), ({"max_events": 20}, 10), ({"max_bytes": 2_000}, 10)],
    ids=["count", "bytes", "half of the count", "half of the bytes"],
)
def test_enough_events_are_sent_without_waiting(
    oracle: Oracle, make_handler: MakeHandler, options: dict[str, Any], count: int
) -> None:
    handler = make_handler(flush_interval=NEVER, **options)
    for number in range(count):
        log_event(handler, event={"id": number, "text": "x" * 40})
    oracle.wait_for(lambda o: len(o.stored) == count)


def test_a_spool_that_is_half_full_does_not_wait(oracle: Oracle, make_handler: MakeHandler, tmp_path: Path) -> None:
    handler = make_handler(flush_interval=NEVER, spool=tmp_path / "spool", spool_max_bytes=MIN_SPOOL_BYTES)
    for number in range(11):
        log_event(handler, event={"id": number, "text": "x" * 50_000})
    oracle.wait_for(lambda o: len(o.stored) == 11)


def test_too_few_wait_for_others(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler(flush_interval=NEVER, flush_events=10)
    for _ in range(9):
        log_event(handler, n=1)
    assert handler.stats()["pending"] == 9
    log_event(handler, n=1)
    oracle.wait_for(lambda o: len(o.stored) == 10)
    assert len(oracle.requests) == 1


def test_an_event_waits_no_longer_than_the_interval(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler(flush_interval=0.2)
    began = time.monotonic()
    log_event(handler, n=1)
    oracle.wait_for(lambda o: o.stored)
    assert 0.15 <= oracle.requests[0].at - began < 2


@pytest.mark.parametrize(
    ("flush_level", "level", "sent"),
    [
        (logging.ERROR, logging.ERROR, True),
        (logging.ERROR, logging.WARNING, False),
        ("warning", logging.WARNING, True),
        (None, logging.CRITICAL, False),
    ],
)
def test_a_level_does_not_wait(
    oracle: Oracle, make_handler: MakeHandler, flush_level: Any, level: int, sent: bool
) -> None:
    handler = make_handler(flush_interval=NEVER, flush_level=flush_level)
    log_event(handler, logging.DEBUG, n=1)
    log_event(handler, level, n=2)
    if sent:
        oracle.wait_for(lambda o: len(o.stored) == 2)
    else:
        assert handler.stats()["pending"] == 2
        assert oracle.requests == []


def test_flush_tells_whether_anything_is_pending(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler(flush_interval=NEVER)
    assert handler.flush()
    oracle.fail(Hang())
    log_event(handler, n=1)
    assert not handler.flush(timeout=0.1)
    assert handler.stats()["pending"] == 1
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds, not 'x'"):
        handler.flush("x")  # type: ignore[arg-type]


def test_close_is_bounded_and_idempotent_and_counts_what_comes_later(oracle: Oracle, make_handler: MakeHandler) -> None:
    oracle.fail(Hang(), times=None)
    handler = make_handler(exit_timeout=0.2)
    log_event(handler, n=1)
    began = time.monotonic()
    handler.close()
    handler.close()
    assert time.monotonic() - began < 3
    log_event(handler, n=2)
    log_event(handler, event={"a.b": 1})
    assert handler.flush()
    assert handler.stats()["dropped"] == {"closed": 3}


def test_invalid_events_go_to_the_dead_letters_with_their_reason(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path
) -> None:
    handler = make_handler(dead_letters=tmp_path / "dead.log")
    log_event(handler, event={"a.b": 1, "c": {"d": float("nan")}})
    assert handler.flush(10)
    letter = json.loads((tmp_path / "dead.log").read_text())
    assert "a.b" in letter["reason"]
    assert "c.d" in letter["reason"]
    assert "a.b" in letter["event"]
    assert (tmp_path / "dead.log").stat().st_mode & 0o777 == 0o600
    stats = handler.stats()
    assert (stats["accepted"], stats["rejected"], stats["pending"]) == (1, 1, 0)


def test_a_dead_letter_tells_of_the_record_what_can_be_told(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path
) -> None:
    handler = make_handler(dead_letters=tmp_path / "dead.log", default_collection="logs")
    logger = logging.Logger("till")
    logger.addHandler(handler)
    logger.error("payment %d failed", "no number", extra={"order": 7})
    logger.error("payment \ud800 failed")
    bare = logging.makeLogRecord({"order": 8})
    del bare.__dict__["pathname"], bare.__dict__["msg"]
    handler.handle(bare)
    assert handler.flush(10)
    letters = [json.loads(line) for line in (tmp_path / "dead.log").read_text().splitlines()]
    assert "TypeError (logged at " in letters[0]["reason"]
    assert [Path(__file__).name in letter["reason"] for letter in letters] == [True, True, False]
    told = [
        ("payment %d failed", "no number", "'order': 7"),
        ("'logger': 'till'", "ERROR", "payment"),
        ("'msg': None", "'order': 8"),
    ]
    for words, letter in zip(told, letters, strict=True):
        assert all(word in letter["event"] for word in words)


def test_without_a_dead_letter_file_a_refusal_is_warned_of_once(
    make_handler: MakeHandler, caplog: pytest.LogCaptureFixture
) -> None:
    handler = make_handler()
    for _ in range(5):
        log_event(handler, event={"a.b": 1})
    assert handler.flush(10)
    handler.close()
    warnings = [record.getMessage() for record in caplog.records if record.name == "connect_logging"]
    assert len(warnings) == 1
    assert "a.b" in warnings[0]


def test_more_invalid_events_than_can_be_written_are_counted(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path
) -> None:
    oracle.fail(Hang(), times=None)
    handler = make_handler(dead_letters=tmp_path / "dead.log", flush_interval=0.0)
    log_event(handler, n=1)
    oracle.wait_for(lambda o: o.requests)  # the worker is busy from here on
    with logger_with(handler) as logger:
        for _ in range(1_200):
            logger.info("", extra={"collection": "things", "event": {"a.b": 1}})
    assert handler.stats()["dropped"] == {"too_many_invalid": 200}


@pytest.fixture
def letters_in(tmp_path: Path) -> Path:
    """A directory for dead letters that is gone for now."""
    return tmp_path / "gone"


def without_letters(directory: Path, make_handler: MakeHandler, **options: Any) -> ConnectHandler:
    directory.mkdir()
    handler = make_handler(dead_letters=directory / "dead.log", **options)
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
    return handler


def test_an_invalid_event_waits_until_its_dead_letter_can_be_written(
    make_handler: MakeHandler, caplog: pytest.LogCaptureFixture, letters_in: Path
) -> None:
    handler = without_letters(letters_in, make_handler)
    log_event(handler, event={"a.b": 1})
    assert not handler.flush(0.2)
    assert handler.stats()["pending"] == 1
    assert "dead letter could not be written" in caplog.text
    letters_in.mkdir()
    assert handler.flush(10)
    assert handler.stats()["rejected"] == 1
    assert "a.b" in (letters_in / "dead.log").read_text()


def test_a_refused_event_stays_in_the_spool_until_its_dead_letter_can_be_written(
    oracle: Oracle, make_handler: MakeHandler, letters_in: Path, tmp_path: Path
) -> None:
    oracle.fail(RefuseBatch(), times=None)
    handler = without_letters(letters_in, make_handler, spool=tmp_path / "spool")
    log_event(handler, event={"id": "bad", "poison": True})
    assert not handler.flush(0.2)
    log_event(handler, event={"id": "good"})
    oracle.wait_for(lambda oracle: oracle.events("things"))
    until(lambda: handler.stats()["delivered"] == 1)
    handler._pusher.close(0)
    assert (handler.stats()["rejected"], handler.stats()["pending"]) == (0, 1)
    letters_in.mkdir()
    heir = make_handler(dead_letters=letters_in / "dead.log", spool=tmp_path / "spool")
    until(lambda: heir.stats()["rejected"] == 1)
    assert json.loads((letters_in / "dead.log").read_text())["id"] == "bad"


def test_an_invalid_event_whose_dead_letter_was_never_written_is_counted_at_the_end(
    make_handler: MakeHandler, letters_in: Path
) -> None:
    handler = without_letters(letters_in, make_handler, exit_timeout=0.1)
    log_event(handler, event={"a.b": 1})
    handler.close()
    assert handler.stats()["dropped"] == {"closed": 1}


def test_on_drop_that_raises_is_warned_of(
    oracle: Oracle, make_handler: MakeHandler, caplog: pytest.LogCaptureFixture
) -> None:
    def on_drop(reason: str, count: int) -> None:
        raise LookupError(reason)

    oracle.refuse()  # the first event stays where the second is to go
    handler = make_handler(max_events=1, flush_interval=NEVER, on_drop=on_drop)
    for _ in range(2):
        log_event(handler, n=1)
    oracle.listen()
    handler.close()
    assert len(oracle.stored) == 1
    assert "on_drop raised LookupError" in caplog.text


def configure(**handler: Any) -> ConnectHandler:
    name = f"tests.configured.{time.monotonic_ns()}"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"event": {"()": "connect_logging.EventFormatter", "fmt": ["levelname", "message"]}},
            "handlers": {"connect": {"class": "connect_logging.ConnectHandler", **handler}},
            "loggers": {name: {"handlers": ["connect"], "level": "DEBUG", "propagate": False}},
        }
    )
    [made] = logging.getLogger(name).handlers
    assert isinstance(made, ConnectHandler)
    return made


def test_everything_works_from_dict_config(oracle: Oracle) -> None:
    handler = configure(
        project_id="project",
        api_key=CANARY,
        base_url=oracle.url,
        default_collection="logs",
        formatter="event",
        level="INFO",
        flush_level="CRITICAL",
        overflow="drop_newest",
        on_drop="ext://builtins.print",
    )
    handler.handle(logging.makeLogRecord({"msg": "hello %s", "args": ("Tom",), "levelname": "INFO", "levelno": 20}))
    assert handler.flush(10)
    [event] = oracle.events("logs")
    assert (event["levelname"], event["message"]) == ("INFO", "hello Tom")
    handler.close()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"flush_intervall": 1}, "no option 'flush_intervall': did you mean 'flush_interval'"),
    "unlike any": ({"xyzzy": 1}, "no option 'xyzzy': its options are project_id"),
    "url": ({"base_url": "ftp://x"}, "base_url must be like"),
    "url with a password": ({"base_url": "http://me:secret@host"}, "do not belong"),
    "missing": ({"project_id": None}, "project_id is missing: pass it or set CONNECT_PROJECT_ID"),
    "overflow": ({"overflow": "explode"}, "overflow must be one of 'drop_oldest', 'drop_newest', 'block'"),
    "flush_level": ({"flush_level": "LOUD"}, "flush_level must be a level such as 'ERROR' or 40, not 'LOUD'"),
    "flush_events": ({"flush_events": 5_001}, "flush_events must be a whole number between 1 and 5,000, not 5001"),
    "flush_interval": ({"flush_interval": -1}, "flush_interval"),
    "flush_bytes": ({"flush_bytes": "1M"}, "flush_bytes must be a whole number"),
    "max_events": ({"max_events": True}, "max_events"),
    "default_collection": ({"default_collection": "a/b"}, "default_collection: a collection's name"),
    "sender": ({"sender": "thred"}, "sender must be 'thread' or 'process', not 'thred'"),
    "sender of no kind": ({"sender": ["process"]}, "sender must be 'thread' or 'process', not ['process']"),
    "sender without a spool": ({"sender": "process"}, "sender 'process': pass spool, a directory"),
    "on_drop": ({"on_drop": "print"}, "on_drop must be callable; in dictConfig write ext://"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_option_in_the_logging_config_is_named(
    name: str, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, message = WRONG[name]
    monkeypatch.delenv("CONNECT_PROJECT_ID", raising=False)
    with pytest.raises(ValueError, match="connect") as caught:
        configure(**{"project_id": "p", "api_key": CANARY, "base_url": oracle.url, **options})
    cause = caught.value.__cause__
    assert isinstance(cause, ConfigurationError)
    assert message in str(cause)
    assert CANARY not in str(cause)
    assert "secret" not in str(cause)


def test_a_wrong_level_is_named(make_handler: MakeHandler) -> None:
    with pytest.raises(ConfigurationError, match="level must be a level such as 'ERROR' or 40, not 'LOUD'"):
        make_handler(level="LOUD")
    with pytest.raises(ConfigurationError, match="level must be a level such as 'ERROR' or 40, not None"):
        make_handler(level=None)


def test_a_queue_handler_may_stand_in_front(oracle: Oracle, make_handler: MakeHandler) -> None:
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(waiting, make_handler(flush_level="INFO"))
    listener.start()
    with logger_with(logging.handlers.QueueHandler(waiting)) as logger:
        logger.info("paid", extra={"collection": "things", "event": {"price": 1}})
    listener.stop()
    oracle.wait_for(lambda o: o.stored)
    assert oracle.events("things")[0]["price"] == 1


def test_a_log_call_does_not_wait_for_a_request(oracle: Oracle, make_handler: MakeHandler) -> None:
    handler = make_handler(flush_interval=0.0)
    oracle.fail(Hang(), times=None)
    log_event(handler, n=1)
    oracle.wait_for(lambda o: o.requests)
    finished = threading.Event()

    def log() -> None:
        for _ in range(1_000):
            log_event(handler, n=1)
        finished.set()

    threading.Thread(target=log).start()
    assert finished.wait(10)
    assert handler.stats()["pending"] == 1_001


def test_the_key_is_nowhere_but_in_the_request(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    oracle.fail(Status(401), times=1)
    handler = make_handler(dead_letters=tmp_path / "dead.log")
    log_event(handler, event={"a.b": 1})
    log_event(handler, n=1)
    handler.flush(0.2)
    handler._pusher.close(0)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"a.b" in written
    assert CANARY.encode() not in written
    assert CANARY not in caplog.text + repr(handler) + repr(handler.stats())
    with pytest.raises(TypeError):
        pickle.dumps(handler)
