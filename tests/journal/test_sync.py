"""Group sync: soon, seldom, and in nobody's way. And a power cut at every moment, modelled."""

from __future__ import annotations

import os
import random
import resource
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from journaling import (
    FULL,
    Troubles,
    a_spool,
    append,
    descriptors,
    event,
    no_trouble,
    numbers,
    put_all,
    recovered,
    segments,
    take_all,
)

from connect_logging._journal import sync
from connect_logging._journal.segment import Segment
from connect_logging._journal.spool import Spool
from connect_logging._journal.sync import Syncer


class Disk:
    """Passes syncs on to the system and keeps what was synced: names of segments; a directory's is its own.

    ``held``: while it is clear, syncs take for ever. ``error``: what they fail with.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[str] = []
        self.threads: set[str] = set()
        self.begun = threading.Semaphore(0)
        self.held = threading.Event()
        self.held.set()
        self.error: OSError | None = None
        self._changed = threading.Condition()
        monkeypatch.setattr(os, "fdatasync", self._passing(os.fdatasync))
        monkeypatch.setattr(os, "fsync", self._passing(os.fsync))

    def _passing(self, system: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            self.begun.release()
            assert self.held.wait(30)
            try:
                if self.error is not None:
                    raise self.error
                system(descriptor)
            finally:
                with self._changed:
                    self.threads.add(threading.current_thread().name)
                    self.synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
                    self._changed.notify_all()

        return call

    def of(self, path: Path) -> int:
        return self.synced.count(path.name)

    def wait_for(self, happened: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(happened, 20), self.synced


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(monkeypatch)
    yield made
    made.held.set()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "spool"
    made.mkdir()
    return made


def synced_spool(directory: Path, window: float, trouble: Any = no_trouble, **options: Any) -> Spool:
    return a_spool(directory, trouble=trouble, syncer=Syncer(window, trouble), **options)


def test_what_was_written_is_synced_soon_by_another_thread(directory: Path, disk: Disk) -> None:
    spool = synced_spool(directory, 0.02)
    for number in range(3):
        begun = time.monotonic()
        put_all(spool, 1, first=number)
        [path] = segments(directory)
        disk.wait_for(lambda path=path, number=number: disk.of(path) == number + 1)
        assert 0.02 <= time.monotonic() - begun < 10
    spool.close()
    assert disk.threads == {"connect-logging-sync"}


def test_a_window_has_one_sync(directory: Path, disk: Disk) -> None:
    begun = time.monotonic()
    spool = synced_spool(directory, 0.1)
    put_all(spool, 2_000)
    spool.close()
    assert 1 <= disk.of(segments(directory)[0]) <= (time.monotonic() - begun) / 0.1 + 2


def test_a_segments_name_is_synced_too_and_once(directory: Path, disk: Disk) -> None:
    """Else its content would be safe, and nobody would find it."""
    spool = synced_spool(directory, 0.001)
    for number in range(3):
        put_all(spool, 1, 65_530, first=number)  # half a segment, and a little more
        disk.wait_for(lambda number=number: len(disk.synced) >= 2 * (number + 1))
    put_all(spool, 1, first=3)
    spool.close()
    assert disk.synced.count(directory.name) == len(segments(directory)) == 3
    assert disk.synced[1] == directory.name


def test_a_put_never_waits_for_a_sync(directory: Path, disk: Disk) -> None:
    disk.held.clear()
    spool = synced_spool(directory, 0.001)
    put_all(spool, 1)
    assert disk.begun.acquire(timeout=10)
    put_all(spool, 100, first=1)
    taken = spool.take(50, 10**6)
    spool.release(taken)
    assert disk.synced == [], "it still waits"
    disk.held.set()
    spool.close()
    assert disk.of(segments(directory)[0]) == 2, "what was written during the sync had its own"


def test_what_is_written_during_a_sync_is_synced_without_waiting_for_more(directory: Path, disk: Disk) -> None:
    disk.held.clear()
    spool = synced_spool(directory, 0.001)
    put_all(spool, 1)
    assert disk.begun.acquire(timeout=10)
    put_all(spool, 1, first=1)
    disk.held.set()
    disk.wait_for(lambda: disk.of(segments(directory)[0]) == 2)
    spool.close()


def test_close_syncs_the_rest_without_waiting_for_the_window(directory: Path, disk: Disk) -> None:
    spool = synced_spool(directory, 600.0)
    put_all(spool, 3)
    begun = time.monotonic()
    spool.close()
    assert time.monotonic() - begun < 10
    assert disk.synced == [segments(directory)[0].name, directory.name]
    assert recovered(directory) == [0, 1, 2]


def test_close_without_a_write_syncs_nothing(directory: Path, disk: Disk) -> None:
    synced_spool(directory, 0.001).close()
    assert disk.synced == []


def test_a_sync_that_fails_is_told_and_loses_nothing(directory: Path, disk: Disk) -> None:
    troubles = Troubles()
    spool = synced_spool(directory, 0.001, troubles.tell)
    disk.error = OSError(5, "Input/output error")
    put_all(spool, 1)
    [path] = segments(directory)
    disk.wait_for(lambda: disk.of(path) == 1)
    disk.error = None
    put_all(spool, 1, first=1)
    disk.wait_for(lambda: disk.of(path) == 2)
    assert numbers(take_all(spool)) == [0, 1]
    spool.close()
    assert troubles == [("sync", "the spool could not be synced to disk: Input/output error")]


def test_a_segment_whose_descriptor_has_the_number_of_one_before_is_synced(directory: Path, disk: Disk) -> None:
    syncer = Syncer(600.0, no_trouble)
    first = Segment.create(directory)
    number = first.descriptor
    syncer.written(first)
    first.remove()
    occupied = []
    while (second := Segment.create(directory)).descriptor != number:
        occupied.append(second)
    append(second, [event(1)])
    syncer.written(second)
    syncer.stop()
    assert disk.of(second.path) == 1
    assert disk.of(first.path) == 0, "it is deleted: nobody needs it on disk"
    for segment in (*occupied, second):
        segment.remove()


def test_no_descriptor_is_left_open(directory: Path, disk: Disk) -> None:
    before = descriptors()
    spool = synced_spool(directory, 0.001)
    for number in range(20):
        put_all(spool, 1, 60_000, first=number)
        spool.release(spool.take(1, 10**6))
    spool.close()
    assert descriptors() == before
    assert segments(directory) == []


def test_no_descriptor_to_spare_is_told_and_the_next_event_tries_again(directory: Path, disk: Disk) -> None:
    troubles = Troubles()
    spool = synced_spool(directory, 600.0, troubles.tell)
    spool._shelf.open()
    segment = spool._shelf.segments[0]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_free = os.dup(0)
    os.close(next_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, before[1]))
    try:
        put_all(spool, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert troubles == [("sync", "the spool could not be synced to disk: Too many open files")]
    put_all(spool, 1, first=1)
    spool.close()
    assert disk.of(segment.path) == 1
    assert recovered(directory) == [0, 1]


def test_a_thread_that_cannot_start_is_told_and_started_by_the_next_event(
    directory: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles = Troubles()
    spool = synced_spool(directory, 0.001, troubles.tell)

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        put_all(spool, 1)
    assert troubles == [("sync", "the spool could not be synced to disk: can't start new thread")]
    put_all(spool, 1, first=1)
    disk.wait_for(lambda: disk.of(segments(directory)[0]) == 1)
    spool.close()


def test_without_any_thread_close_syncs(directory: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = synced_spool(directory, 0.001, Troubles().tell)

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    put_all(spool, 1)
    spool.close()
    assert disk.of(segments(directory)[0]) == 1


def test_a_disk_that_hangs_does_not_keep_the_process(
    directory: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "STOP_PATIENCE", 0.05)
    troubles, before = Troubles(), descriptors()
    disk.held.clear()
    spool = synced_spool(directory, 0.001, troubles.tell)
    put_all(spool, 1)
    assert disk.begun.acquire(timeout=10)
    begun = time.monotonic()
    spool.close()
    assert time.monotonic() - begun < 10
    assert troubles.topics == ["sync"]
    assert "no longer waited for" in troubles[0][1]
    thread = spool._syncer._thread if spool._syncer else None
    disk.held.set()
    assert thread is not None
    thread.join(10)
    assert descriptors() == before
    assert recovered(directory) == [0]


def test_a_forked_child_holds_no_lock_of_what_is_still_to_be_synced(directory: Path) -> None:
    spool = synced_spool(directory, 600.0)
    put_all(spool, 1)
    told, tell = os.pipe()
    wait, go = os.pipe()
    child = os.fork()
    if not child:
        spool.reset()
        os.write(tell, b"!")
        os.read(wait, 1)
        os._exit(0)
    try:
        assert os.read(told, 1) == b"!"
        spool.close()
        assert recovered(directory) == [0]
    finally:
        os.write(go, b"!")
        os.waitpid(child, 0)
        for descriptor in (told, tell, wait, go):
            os.close(descriptor)


def test_a_forked_child_syncs_its_own(directory: Path) -> None:
    spool = synced_spool(directory, 0.001)
    put_all(spool, 1)
    child = os.fork()
    if not child:
        spool.reset()
        put_all(spool, 1, first=1)
        syncer = spool._syncer
        spool.close()
        os._exit(0 if syncer is not None and syncer.syncs == 1 else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    spool.close()
    assert recovered(directory) == [0, 1]


# Row 16: a power cut, modelled


class Operation(NamedTuple):
    """What the system was asked for. ``since``: how many operations were before it when it began.

    ``kind``: "create", "write", "sync", "list" (the directory is synced) or "delete".
    """

    kind: str
    file: str
    since: int
    at: int = 0
    data: bytes = b""


class Recorder:
    """Passes on to the system, and records, whatever changes the segments of ``directory``."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.operations: list[Operation] = []
        self._changed = threading.Condition()
        for name, kind in {"pwrite": "write", "fdatasync": "sync", "fsync": "list", "unlink": "delete"}.items():
            monkeypatch.setattr(os, name, self._recording(getattr(os, name), kind))
        opens = os.open

        def create(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            descriptor = opens(path, flags, *rest, **named)
            if flags & os.O_CREAT and str(path).endswith(".journal"):
                self._record(Operation("create", Path(path).name, len(self.operations)))
            return descriptor

        monkeypatch.setattr(os, "open", create)

    def _record(self, operation: Operation) -> None:
        with self._changed:
            self.operations.append(operation)
            self._changed.notify_all()

    def _recording(self, system: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def call(target: Any, *rest: Any, **named: Any) -> Any:
            file = target if kind == "delete" else Path(f"/proc/self/fd/{target}").readlink()
            since = len(self.operations)
            result = system(target, *rest, **named)
            data, at = rest if kind == "write" else (b"", 0)
            self._record(Operation(kind, Path(file).name, since, at, data))
            return result

        return call

    def wait_for_sync(self) -> None:
        """Return once what was written last is on disk."""
        with self._changed:
            written, file = [(at, each.file) for at, each in enumerate(self.operations) if each.kind == "write"][-1]

            def synced() -> bool:
                syncs = [each for each in self.operations if (each.kind, each.file) == ("sync", file)]
                return any(each.since > written for each in syncs)

            assert self._changed.wait_for(synced, 20), self.operations


def a_history(directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Operation], dict[int, int]]:
    """A run with durability "disk", and before which of its operations each event was settled."""
    recorder = Recorder(directory, monkeypatch)
    spool = synced_spool(directory, 0.0005)
    settled: dict[int, int] = {}
    first = 0
    for burst, size, sent, wait in [
        (1, 0, 0, True),
        (3, 100, 2, False),
        (2, 30_000, 1, True),
        (1, 65_000, 1, False),
        (1, 65_000, 0, True),
        (4, 50, 3, False),
        (2, 65_000, 2, True),
        (3, 10, 0, False),
    ]:
        put_all(spool, burst, size, first)
        first += burst
        if wait:
            recorder.wait_for_sync()
        taken = spool.take(sent, 10**6) if sent else []
        settled.update(dict.fromkeys(numbers(taken), len(recorder.operations)))
        spool.release(taken)
    spool.close()
    monkeypatch.undo()
    return recorder.operations, settled


def promised(history: list[Operation], events: dict[int, tuple[str, int]]) -> set[int]:
    """The events that a power cut after ``history`` must not lose: both they and their file's name were synced."""
    safe = set()
    for number, (file, written) in events.items():
        on_disk = any(each.kind == "sync" and each.file == file and each.since > written for each in history)
        made = next((at for at, each in enumerate(history) if (each.kind, each.file) == ("create", file)), len(history))
        listed = any(each.kind == "list" and each.since > made for each in history)
        if on_disk and listed:
            safe.add(number)
    return safe


def after_the_cut(history: list[Operation], directory: Path, chance: random.Random, keep: float) -> None:
    """Make of ``directory`` what a disk may hold: what was synced, and of the rest what ``chance`` leaves."""
    for file in {each.file for each in history if each.kind == "create"}:
        mine = [(at, each) for at, each in enumerate(history) if each.file == file]
        made = next(at for at, each in mine if each.kind == "create")
        synced = max((each.since for _, each in mine if each.kind == "sync"), default=0)
        listed = any(each.kind == "list" and each.since > made for each in history)
        deleted = any(each.kind == "delete" for _, each in mine)
        if (deleted or not listed) and chance.random() >= keep:
            continue
        content = bytearray()
        for at, each in mine:
            if each.kind != "write":
                continue
            begin, end = 0, len(each.data)
            if at >= synced and chance.random() >= keep:
                begin, end = sorted((chance.randint(0, end), chance.randint(0, end)))
            if begin < end:
                content.extend(bytes(max(0, each.at + end - len(content))))
                content[each.at + begin : each.at + end] = each.data[begin:end]
        (directory / file).write_bytes(content)


def test_row_16_a_power_cut_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str, str], None]
) -> None:
    lived, died = tmp_path / "lived", tmp_path / "died"
    lived.mkdir()
    history, settled = a_history(lived, monkeypatch)
    events: dict[int, tuple[str, int]] = {}
    for at, each in enumerate(history):
        if each.kind == "write" and each.at >= 32:
            events[len(events)] = (each.file, at)
    assert len(events) == 17
    assert promised(history, events) == set(events), "in the end all of it was synced"
    chance, states, cuts_with_loss = random.Random(16), 0, 0
    for cut in range(len(history) + 1):
        before = history[:cut]
        must = promised(before, events) - {number for number, at in settled.items() if at < cut}
        may = {number for number, (_, at) in events.items() if at < cut}
        cuts_with_loss += must < may
        for keep in [0.0, 1.0, *[chance.random() for _ in range(200 if FULL else 12)]]:
            died.mkdir()
            after_the_cut(before, died, chance, keep)
            found = recovered(died, Troubles().tell)
            assert must <= set(found), (cut, keep)
            assert set(found) <= may
            assert len(found) == len(set(found))
            assert segments(died) == []
            shutil.rmtree(died)
            states += 1
    assert cuts_with_loss, "the window is there, and what is in it may be lost"
    figure("16", f"{states:,} states of the disk after {len(history) + 1} cuts: none lost of what was synced")


def test_the_history_is_made_of_what_really_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it applied gives the files that are there."""
    lived, copy = tmp_path / "lived", tmp_path / "copy"
    lived.mkdir()
    copy.mkdir()
    history, _ = a_history(lived, monkeypatch)
    after_the_cut(history, copy, random.Random(1), 1.0)
    for path in segments(lived):
        assert (copy / path.name).read_bytes() == path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    deleted = {each.file for each in history if each.kind == "delete"}
    assert {path.name for path in segments(copy)} - deleted == {path.name for path in segments(lived)}
    assert deleted


def test_a_fork_comes_before_or_after_a_descriptor_is_opened_or_closed(tmp_path: Path) -> None:
    """A child would keep one open, and locked, that it does not know of."""
    syncer = Syncer(600.0, no_trouble)
    spool = a_spool(tmp_path, syncer=syncer)
    segment = Segment.create(tmp_path)
    before = descriptors()
    spool.hold()
    thread = threading.Thread(target=syncer.written, args=[segment])
    thread.start()
    thread.join(0.05)
    assert descriptors() == before
    spool.let_go()
    thread.join(10)
    assert descriptors() == before + 1
    spool.close()
    segment.close()
