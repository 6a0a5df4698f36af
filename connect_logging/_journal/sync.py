"""Group sync, for events that are to survive a power cut: at most ``window`` seconds after an event was written,
its segment is on its way to the disk, together with all that was written meanwhile.

A thread of its own does it, so that neither a log call nor a request ever waits for a disk.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from .segment import Segment

Trouble: TypeAlias = Callable[[str, str], object]
"""Told a topic and what an operator should know of it."""

STOP_PATIENCE: Final = 5.0
"""Seconds that :meth:`Syncer.stop` waits for a disk that hangs: the end of a process must not."""

_Written: TypeAlias = tuple[Segment, int]
"""A segment and a descriptor of its file that is ours, so that the segment may be closed before its turn comes."""


class Syncer:
    """``window``: seconds. ``trouble``: told of a sync that failed.

    A segment in ``_dirty`` is in the queue, and leaves ``_dirty`` before it is synced: what is written later puts it
    into the queue again.
    """

    def __init__(self, window: float, trouble: Trouble) -> None:
        self._window = window
        self._trouble = trouble
        self._descriptors: set[int] = set()
        self.reset()

    def reset(self) -> None:
        """Begin with nothing: for a forked child, whose parent syncs its own."""
        while self._descriptors:  # they would keep the parent's segments locked beyond its end
            os.close(self._descriptors.pop())
        # Looked up only now, like threading's parts: gevent may have put its own in their place since the import.
        self._queue: queue.SimpleQueue[_Written | None] = queue.SimpleQueue()
        self._dirty: set[Segment] = set()
        self._opening = threading.RLock()  # a signal's handler may log within a log call
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.syncs = 0

    def hold(self) -> None:
        """Open and close no descriptor until :meth:`let_go`: a forked child would not know of it, or of its end."""
        self._opening.acquire()

    def let_go(self) -> None:
        """Go on."""
        self._opening.release()

    def written(self, segment: Segment) -> None:
        """Something was written to ``segment``. Called within a log call: never waits for a disk, never raises."""
        if segment not in self._dirty:
            self._dirty.add(segment)
            try:
                with self._opening:
                    descriptor = os.dup(segment.descriptor)
                    self._descriptors.add(descriptor)
            except OSError as error:
                self._dirty.discard(segment)
                self._tell(error)
                return
            self._queue.put((segment, descriptor))
        if self._thread is None:
            self._start()

    def stop(self) -> None:
        """Sync what was written, then end the thread."""
        self._stopping.set()
        thread = self._thread
        if thread is not None:
            self._queue.put(None)
            thread.join(STOP_PATIENCE)
        if thread is not None and thread.is_alive():
            self._trouble("sync", f"the disk did not sync the spool within {STOP_PATIENCE:g} s: no longer waited for")
        else:
            self._sync(self._drain())

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="connect-logging-sync", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None  # the next event tries again
            self._tell(error)

    def _run(self) -> None:
        while not self._stopping.is_set():
            first = self._queue.get()
            self._stopping.wait(self._window)
            self._sync([*([first] if first else []), *self._drain()])

    def _drain(self) -> list[_Written]:
        written = []
        with contextlib.suppress(queue.Empty):
            while True:
                item = self._queue.get_nowait()
                if item is not None:
                    written.append(item)
        return written

    def _sync(self, written: Sequence[_Written]) -> None:
        for segment, descriptor in written:
            self._dirty.discard(segment)
            try:
                if os.fstat(descriptor).st_nlink:  # else all of it is delivered, and the file deleted
                    os.fdatasync(descriptor)
                    self.syncs += 1
                    if not segment.listed:
                        _sync_directory(segment.path.parent)
                        segment.listed = True
            except OSError as error:
                self._tell(error)
            finally:
                with self._opening:
                    self._descriptors.discard(descriptor)
                    os.close(descriptor)

    def _tell(self, error: OSError | RuntimeError) -> None:
        self._trouble("sync", f"the spool could not be synced to disk: {getattr(error, 'strerror', None) or error}")


def _sync_directory(path: Path) -> None:
    """A file's own sync promises its content, not that it is found in its directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
