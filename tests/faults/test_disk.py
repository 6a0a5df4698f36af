"""Rows 13, 14 and 29: the disk is full, fails, or is not what it should be. And what lies on it, for whom."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from full_disks import mounted
from injecting import injected
from oracle import Oracle
from oracle_faults import Status
from pushing import CANARY, MakeHandler, balanced, logger_with
from spooling import LONG, Program, ended, segments, until

from connect_logging import ConnectClient, ConnectHandler
from connect_logging._journal import spool
from connect_logging._schedule import AT_ONCE
from connect_logging.exceptions import ConfigurationError

TEXT = "x" * 1_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "1m") as disk:
        yield disk


class Logged:
    """Logs numbered events; ``count`` of them so far."""

    def __init__(self, logger: Any) -> None:
        self.count = 0
        self._logger = logger

    def __call__(self, count: int) -> None:
        for _ in range(count):
            self._logger.info("", extra={"collection": "things", "event": {"id": self.count, "text": TEXT}})
            self.count += 1


def stored(oracle: Oracle) -> list[int]:
    return sorted(int(key) for _, key in oracle.stored)


def test_row_13_a_full_disk_that_is_freed_again(
    oracle: Oracle, make_handler: MakeHandler, small_disk: Path, figure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(700_000))
    oracle.refuse()
    handler = make_handler(spool=small_disk / "spool")
    with logger_with(handler) as logger:
        log = Logged(logger)
        log(1_000)
        full = handler.stats()
        assert 0 < full["unjournaled"] < 1_000
        assert full["pending"] == 1_000
        filler.unlink()

        def journaled_again() -> bool:
            before = handler.stats()["unjournaled"]
            log(1)
            return bool(handler.stats()["unjournaled"] == before)

        until(journaled_again)
        log(100)
        after = handler.stats()["unjournaled"]
        log(100)
        assert handler.stats()["unjournaled"] == after
        oracle.listen()
        assert handler.flush(20)
    assert stored(oracle) == list(range(log.count))
    assert handler.stats()["delivered"] == log.count
    handler.close()
    assert segments(small_disk / "spool") == []
    warnings = [message for message in caplog.messages if "No space left" in message]
    assert len(warnings) == 1
    figure("13", f"disk full: {full['unjournaled']} of 1,000 events waited in memory; freed: journaled again; lost 0")


def test_row_13_a_disk_that_is_full_from_the_start(
    oracle: Oracle, make_handler: MakeHandler, small_disk: Path, figure: Any
) -> None:
    spool = small_disk / "spool"
    spool.mkdir(mode=0o700)
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb") as filler:
        while True:
            filler.write(bytes(4_096))
            filler.flush()
    handler = make_handler(spool=spool)
    with logger_with(handler) as logger:
        Logged(logger)(100)
        assert handler.flush(20)
    assert stored(oracle) == list(range(100))
    assert handler.stats()["unjournaled"] == 100
    figure("13", "disk full from the start: 100 of 100 delivered out of memory")


def test_row_13_what_waits_in_memory_is_sent_as_soon_as_there_is_enough_of_it(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path, figure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "RETRY", 3_600.0)
    handler = make_handler(spool=tmp_path, flush_interval=3_600.0, flush_events=10)
    handler._pusher._buffer._without_disk("the test says so")  # type: ignore[attr-defined]
    with logger_with(handler) as logger:
        log = Logged(logger)
        log(1)
        until(lambda: handler._pusher._call_at not in (None, AT_ONCE))  # it waits for more
        log(9)
        oracle.wait_for(lambda oracle: len(oracle.stored) == 10)
    assert handler.stats()["unjournaled"] == 10
    figure("13", "no disk: 10 events in memory, as many as are sent at once, were sent at once")


FILE_LIMIT = """
import resource, sys
sys.dont_write_bytecode = True  # what fits of it would stay, see full_disks
handler = make_handler(max_events=50, on_drop=lambda reason, count: None)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
for number in range(300):
    log.info("", extra={"collection": "things", "event": {"id": number, "text": "x" * 1_000}})
stats = handler.stats()
say(json.dumps(stats))
die()
"""


def test_row_13_what_memory_cannot_hold_either_is_counted(oracle: Oracle, tmp_path: Path, figure: Any) -> None:
    """The limit is on the size of a file, which makes a write fail, or write less, as a full disk does."""
    spool = tmp_path / "spool"
    oracle.refuse()
    program = Program(FILE_LIMIT, tmp_path, spool, oracle.url)
    with ended(program):
        stats = json.loads(program.hear())
    assert balanced(stats)
    assert sum(stats["dropped"].values()) > 0
    journaled = stats["accepted"] - stats["unjournaled"]
    assert stats["pending"] == journaled + 50
    oracle.listen()
    with contextlib.closing(ConnectHandler("project", CANARY, oracle.url, spool=spool)) as successor:
        until(lambda: segments(spool) == [])
        assert successor.stats()["recovered"] == journaled
    assert len(oracle.stored) == journaled
    figure("13", f"no more disk, memory full: {sum(stats['dropped'].values())} of 300 dropped, all counted")


EACH_CALL = """
warned = threading.Event()

class Warnings(logging.StreamHandler):
    def emit(self, record):
        super().emit(record)
        if "the spool" in record.getMessage():
            warned.set()

logging.getLogger("connect_logging").addHandler(Warnings())
spool.RETRY = 0.0
say("ready")
listen()
handler = make_handler(durability=%r, loss_window_ms=1, exit_timeout=0)
journaled = []
for number in range(200):
    before = handler.stats()["unjournaled"]
    log_events(number, 1)
    if handler.stats()["unjournaled"] == before:
        journaled.append(number)
assert handler.stats()["pending"] == 200
warned.wait(20)
say(json.dumps(journaled))
die()
"""


REFUSED_WRITES = [
    ("pwrite64:error=EIO:when=7+11", "process", 180, 195),
    ("pwrite64:retval=5:when=5+3", "process", 50, 150),
    ("fdatasync:error=EIO:when=1+2", "disk", 200, 200),
]
if LONG:
    REFUSED_WRITES += [
        ("pwrite64:error=EIO:when=1", "process", 199, 199),
        ("pwrite64:error=EIO:when=2+5", "process", 100, 180),
        ("pwrite64:error=ENOSPC:when=20+", "process", 18, 18),
        ("flock:error=ENOLCK:when=1", "process", 199, 199),
        ("fdatasync:error=EIO:when=1+", "disk", 200, 200),
    ]


@pytest.mark.parametrize(("inject", "durability", "least", "most"), REFUSED_WRITES)
def test_row_14_what_the_disk_did_not_take_is_not_said_to_be_journaled(
    oracle: Oracle, tmp_path: Path, figure: Any, inject: str, durability: str, least: int, most: int
) -> None:
    spool = tmp_path / "spool"
    oracle.refuse()
    program = Program(EACH_CALL % durability, tmp_path, spool, oracle.url)
    with injected(program, inject):
        said = program.hear()
        assert said, program.err
        journaled = json.loads(said)
        program.wait()
    assert "Traceback" not in program.err
    assert program.err.count("the spool") == 1
    assert least <= len(journaled) <= most
    oracle.listen()
    with contextlib.closing(ConnectHandler("project", CANARY, oracle.url, spool=spool)):
        until(lambda: segments(spool) == [])
    false = set(journaled) - set(stored(oracle))
    figure("14", f"{inject}: {len(journaled)} of 200 said to be journaled, false {len(false)}")
    assert stored(oracle) == journaled


NEVER_RAISES = """
spool.RETRY = 0.0
spool.ADOPT_EVERY = 0.05
segment.RECENT_BYTES = 20_000  # so that files are read, too
say("ready")
listen()
handler = make_handler(spool_max_bytes=2 * 1024**2, flush_events=20, max_events=5_000)
for number in range(1_000):
    log.info("", extra={"collection": "things", "event": {"id": number, "text": "x" * 1_000}})
say(handler.flush(20))
say(json.dumps(handler.stats()))
handler.close()
say(json.dumps(handler.stats()))
"""


FAILING_CALLS = ["unlink:error=EIO:when=1+2", "getdents64:error=EIO:when=2+3", "pread64:error=EIO:when=2+7"]
if LONG:
    FAILING_CALLS += [
        "unlink:error=EROFS",
        "pwrite64:error=EIO:when=3+4",
        "flock:error=EIO:when=2+3",
        "/open.*:error=EMFILE:when=4+3",
        "/open.*:error=EACCES:when=3+2",
    ]


@pytest.mark.parametrize("inject", FAILING_CALLS)
def test_row_14_the_application_and_the_worker_live_whatever_fails(
    oracle: Oracle, tmp_path: Path, figure: Any, inject: str
) -> None:
    spool = tmp_path / "spool"
    program = Program(NEVER_RAISES, tmp_path, spool, oracle.url)
    with injected(program, inject):
        flushed = program.hear()
        assert flushed, program.err
        stats = json.loads(program.hear())
        closed = json.loads(program.hear())
        assert program.wait() == 0
    assert "Traceback" not in program.err, program.err
    assert balanced(closed)
    if not inject.startswith("pread"):  # what cannot be read is left for another time
        assert (flushed, closed["pending"]) == ("True", 0), (stats, closed)
    with contextlib.closing(ConnectHandler("project", CANARY, oracle.url, spool=spool)):
        until(lambda: segments(spool) == [])
    assert stored(oracle) == list(range(1_000))
    figure("14", f"{inject}: lost 0, {oracle.duplicates} sent twice")


def test_a_directory_that_is_removed_and_made_again(oracle: Oracle, make_handler: MakeHandler, tmp_path: Path) -> None:
    oracle.refuse()
    directory = tmp_path / "spool"
    handler = make_handler(spool=directory, spool_max_bytes=1024**2)
    with logger_with(handler) as logger:
        log = Logged(logger)
        log(10)
        shutil.rmtree(directory)
        log(500)  # past the segment that is open
        assert handler.stats()["unjournaled"] > 0
        directory.mkdir(mode=0o700)

        def journaled_again() -> bool:
            log(1)
            return bool(segments(directory))

        until(journaled_again)
        oracle.listen()
        assert handler.flush(20)
    assert stored(oracle) == list(range(log.count))


NO_FILES = """
import resource
handler = make_handler(spool_max_bytes=1024**2, durability=%r, loss_window_ms=1)

def log_large(start, count):
    for number in range(start, start + count):
        log.info("", extra={"collection": "things", "event": {"id": number, "text": "x" * 1_000}})

log_large(0, 10)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
log_large(10, 490)
handler.flush(0.2)
scarce = handler.stats()
log_large(500, 10)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
say(json.dumps(scarce))
listen()
log_large(510, 490)
say(handler.flush(30))
say(json.dumps(handler.stats()))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the number of open files is read from /proc")
@pytest.mark.parametrize("durability", ["process", "disk"])
def test_row_29_no_file_descriptor_is_left(oracle: Oracle, tmp_path: Path, figure: Any, durability: str) -> None:
    oracle.refuse()
    program = Program(NO_FILES % durability, tmp_path, tmp_path / "spool", oracle.url)
    with ended(program):
        said = program.hear()
        assert said, program.err
        scarce = json.loads(said)
        oracle.listen()
        program.tell("go on")
        assert program.hear() == "True", program.err
        stats = json.loads(program.hear())
        assert program.wait() == 0
    assert "Traceback" not in program.err, program.err
    assert scarce["pending"] == 500
    assert scarce["unjournaled"] > 0
    assert stats["dropped"] == {}
    assert stored(oracle) == list(range(1_000))
    assert segments(tmp_path / "spool") == []
    figure("29", f"no file descriptor left ({durability}): {scarce['unjournaled']} of 500 waited in memory, lost 0")


NO_THREADS = """
import resource
threading.stack_size(2**30)
with open("/proc/self/status") as file:
    status = dict(line.split(":", 1) for line in file)
used = int(status["VmSize"].split()[0]) * 1024
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, hard))
try:
    threading.Thread(target=print).start()
except RuntimeError:
    say("no threads")
handler = make_handler(durability=%r)
log_events(0, 100)
before = handler.stats()
say(json.dumps(before))
say(handler.flush(20))
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
threading.stack_size(0)
log_events(100, 100)
say("logged")
listen()
handler.flush(20)
say(json.dumps(handler.stats()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the size of memory is read from /proc")
@pytest.mark.parametrize("durability", ["process", "disk"])
def test_row_29_no_thread_can_start(oracle: Oracle, tmp_path: Path, figure: Any, durability: str) -> None:
    """There is no room for a thread's stack, for which a great one was asked."""
    program = Program(NO_THREADS % durability, tmp_path, tmp_path / "spool", oracle.url)
    with ended(program):
        said = [program.hear() for _ in range(4)]
        oracle.wait_for(lambda oracle: len(oracle.stored) == 200, 20)  # without a flush
        program.tell("go on")
        stats = json.loads(program.hear())
        assert program.wait() == 0, program.err
    assert "Traceback" not in program.err, program.err
    assert said[0] == "no threads"
    assert said[2] == "True"
    assert (json.loads(said[1])["accepted"], json.loads(said[1])["unjournaled"]) == (100, 0)
    assert stats["delivered"] == 200
    assert stored(oracle) == list(range(200))
    figure("29", f"no thread can start ({durability}): flush delivered 100 of 100, the next thread 100 of 100")


# What lies in the directory, and for whom.


def test_the_files_are_for_their_owner_alone_and_hold_no_key(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path, figure: Any
) -> None:
    directory = tmp_path / "spool"
    before = os.umask(0)
    try:
        oracle.fail(Status(503), times=3)
        oracle.fail(Status(400), times=1)  # makes a dead letter
        handler = make_handler(spool=directory, flush_interval=0.01)
        with logger_with(handler) as logger:
            log = Logged(logger)
            log(1)
            logger.info("", extra={"collection": "things", "event": {"a.b": 1}})
            assert handler.flush(20)
            oracle.refuse()
            log(10)
            handler.flush(0.1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".journal", ".log"}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
        assert CANARY.encode() not in path.read_bytes(), path.name
    figure("sec", f"key in {len(files)} files of the spool: 0; modes 0700 and 0600")


def test_a_directory_that_is_open_to_others_is_closed(make_handler: MakeHandler, tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    directory.mkdir()
    directory.chmod(0o755)
    make_handler(spool=directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def link(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere")


def dangling_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def file(path: Path) -> None:
    path.write_text("mine")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def foreign(path: Path) -> None:
    path.mkdir(mode=0o700)
    if os.geteuid():
        pytest.skip("only the superuser can make a directory that is another's")
    os.chown(path, 65_534, 65_534)


@pytest.mark.parametrize("make", [link, dangling_link, file, fifo, foreign], ids=lambda make: make.__name__)
@pytest.mark.parametrize("kind", [ConnectHandler, ConnectClient])
def test_a_path_that_is_no_directory_of_ours_is_refused(
    tmp_path: Path, make: Callable[[Path], None], kind: type[ConnectHandler | ConnectClient]
) -> None:
    path = tmp_path / "spool"
    make(path)
    with pytest.raises(ConfigurationError, match=f"spool '{path}'"):
        kind("project", CANARY, "http://127.0.0.1:1", spool=path)


AS_NOBODY = """
from connect_logging.exceptions import ConfigurationError
if not os.geteuid():
    os.setgroups([])
    os.setgid(65_534)
    os.setuid(65_534)
for path in sys.stdin.readline().split():
    try:
        ConnectHandler(spool=path)
    except ConfigurationError as error:
        say(error)
    else:
        say("no error for", path)
"""


def test_a_directory_that_cannot_be_written_is_refused(oracle: Oracle, tmp_path: Path) -> None:
    """The superuser may write anywhere, so his tests become somebody else, who may not look into ``tmp_path``."""
    with tempfile.TemporaryDirectory() as reachable:
        Path(reachable).chmod(0o711)
        ours, parent = Path(reachable, "ours"), Path(reachable, "parent")
        for path in (ours, parent):
            path.mkdir(mode=0o500)
            if not os.geteuid():
                os.chown(path, 65_534, 65_534)
        program = Program(AS_NOBODY, tmp_path, tmp_path / "unused", oracle.url)
        with ended(program):
            program.tell(f"{ours} {parent / 'new'}")
            said = [program.hear(), program.hear()]
    assert [str(path) in line for path, line in zip((ours, parent / "new"), said, strict=True)] == [True, True], said
    assert not any(line.startswith("no error") for line in said), said
