"""One daemon thread, started when it is first needed and woken without locks.

Invariants:

* There is at most one thread in a process, and none is inherited by a forked child (:meth:`Worker.reset`).
* ``wake`` may be called anywhere, a signal handler or a ``__del__`` included: SimpleQueue is written for that.
* The thread never keeps the interpreter from exiting. Where no thread can be started (no memory for one, or the
  interpreter is shutting down), ``start`` says so and the caller does the work itself.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable


class Worker:
    """Runs ``run`` in a thread called ``name`` until ``run`` returns."""

    def __init__(self, run: Callable[[], None], name: str) -> None:
        self._run = run
        self._name = name
        self.reset()

    def reset(self) -> None:
        """Forget the thread, which a fork does not copy."""
        self._lock = threading.RLock()
        self._starting = False
        self._thread: threading.Thread | None = None
        # Looked up only now, like threading's parts: gevent may have put its own in their place since the import.
        self._signals: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._signalled = False

    def start(self) -> bool:
        """Whether the thread runs, started now if need be."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            return True
        with self._lock:
            # A signal handler or a __del__ may come back here while its own thread starts one.
            if not self._starting and (self._thread is None or not self._thread.is_alive()):
                self._starting = True
                # Known before it runs: the first thing it does may be to ask whether it is the one.
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:
                    self._thread = None
                    return False
                finally:
                    self._starting = False
        return True

    def _work(self) -> None:
        try:
            self._run()
        except BaseException:
            self._thread = None  # so that whoever needs it next starts another
            raise

    @property
    def started(self) -> bool:
        """Whether :meth:`start` has succeeded in this process, or is at it; cheaper than asking the thread."""
        return self._thread is not None

    def is_current(self) -> bool:
        """Whether the caller runs on this thread."""
        return threading.current_thread() is self._thread

    def wake(self) -> None:
        """End the thread's present or next wait."""
        if not self._signalled:
            self._signalled = True
            self._signals.put(None)

    def wait(self, timeout: float | None) -> None:
        """On the thread: sleep until woken, at most ``timeout`` seconds."""
        try:
            self._signals.get(timeout=timeout)
        except queue.Empty:
            return
        self._signalled = False

    def join(self, timeout: float) -> bool:
        """Wait for the thread's end; whether it has ended."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(timeout)
        return not thread.is_alive()


def flush_at_multiprocessing_exit(flush: Callable[[], object]) -> None:
    """In a child of multiprocessing, which leaves by ``os._exit`` and past atexit: flush as it ends."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize  # loaded already in such a child; costly elsewhere

        Finalize(None, flush, exitpriority=10)
