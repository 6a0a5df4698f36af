"""What a server does again and again, on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ..exceptions import ConnectError

_log = logging.getLogger(__name__)


class Periodic:
    """Calls ``run`` now, and every ``seconds`` until :meth:`close`.

    When ``run`` raises ConnectError, it is called again when it is time. The log gets ``name`` and the reason, once
    until ``run`` has succeeded again.
    """

    def __init__(self, name: str, seconds: float, run: Callable[[], object]) -> None:
        self._name = name
        self._seconds = seconds
        self._run = run
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Call it no more; a call that has begun is waited for. May be called again."""
        self._closed.set()
        self._thread.join()

    def _repeat(self) -> None:
        is_failing = False
        while not self._closed.is_set():
            try:
                self._run()
            except ConnectError as error:
                if not is_failing:
                    _log.warning("%s: %s", self._name, error)
                is_failing = True
            else:
                is_failing = False
            self._closed.wait(self._seconds)
