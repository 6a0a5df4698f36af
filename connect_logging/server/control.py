"""The socket in the data directory by which a backup asks the running server to keep its file as it is.

Why a socket: DuckDB lets one process open a file, and that process must not even read it beside DuckDB (closing the
file would end DuckDB's lock on it). So another one copies, and the server does only what nobody else can: it makes no
checkpoint meanwhile. When the other ends, however it ends, its connection does, and the server goes on as before.

A line each way. The server, at once: ``{"logBytes": n, "events": n}``, or ``{"error": text}``. The client, when it has
what it wanted: an empty line. The server: ``{"held": true}``, or false when it had to let go before that.

Invariants: the socket has mode 0600 in a directory of mode 0700, and only its owner is answered; one is served at a
time; a hold ends when the log has grown by ``max_log`` bytes.
"""

from __future__ import annotations

import os
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec

from ..exceptions import ConnectError
from .stores.base import StoreError
from .stores.duckdb import DuckDBStore

MAX_LOG: Final = 4 * 1024**3
"""Bytes that the log may grow by while a copy is made."""

_LONGEST: Final = 100
"""Bytes of an address; the system's own limit is 104 or 108."""
_LOOK_AGAIN: Final = 0.5
"""Seconds."""
_MAX_LINE: Final = 4_096
_CREDENTIALS: Final = struct.Struct("3i")


class ControlError(ConnectError):
    """The running server does not do what it was asked for; the message says why."""


class _Answer(msgspec.Struct, rename="camel"):
    log_bytes: int = 0
    events: int = 0
    held: bool = False
    error: str = ""


class Control:
    """Answers at ``path`` on threads of its own, until :meth:`close`. Raises OSError.

    ``path`` may be there, left by a server that was killed.
    """

    def __init__(self, path: Path, store: DuckDBStore, max_log: int = MAX_LOG) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        with _address(path) as address:
            self._server = _Server(address, store, max_log)
        path.chmod(0o600)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.1], name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of what is held, and listen no more."""
        self._server.closing = True
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


class _Server(socketserver.ThreadingUnixStreamServer):
    def __init__(self, address: str, store: DuckDBStore, max_log: int) -> None:
        self.store = store
        self.max_log = max_log
        self.busy = threading.Lock()
        self.closing = False
        super().__init__(address, _Request)

    def handle_error(self, request: object, client_address: object) -> None:
        """The client is gone: nobody is left to be told."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Request(socketserver.BaseRequestHandler):
    request: socket.socket
    server: _Server

    def handle(self) -> None:
        if _owner(self.request) != os.geteuid():
            return
        if not self.server.busy.acquire(blocking=False):
            _send(self.request, _Answer(error="another backup is being made"))
            return
        try:
            with self.server.store.held() as held:
                _send(self.request, _Answer(held.log_bytes, held.events))
                answer = _Answer(held=self._wait(held.log_bytes + self.server.max_log))
            _send(self.request, answer)
        except StoreError as error:
            _send(self.request, _Answer(error=str(error)))
        finally:
            self.server.busy.release()

    def _wait(self, max_log: int) -> bool:
        """Until the client says that it is done; False when it cannot be waited for. OSError when it is gone."""
        self.request.settimeout(_LOOK_AGAIN)
        while not self.server.closing and self.server.store.log_size <= max_log:
            with suppress(TimeoutError):
                if not self.request.recv(1):
                    raise ConnectionResetError
                return True
        return False


class Hold(NamedTuple):
    """What the server keeps: the first ``log_bytes`` of the log belong to it, and ``events`` are in it.

    ``confirm`` raises ControlError unless it was kept until then.
    """

    log_bytes: int
    events: int
    confirm: Callable[[], None]


@contextmanager
def hold(path: Path) -> Iterator[Hold | None]:
    """Have the server at ``path`` keep its file for the length of the block; None when no server is there.

    Raises ControlError.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with _address(path) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            yield None
            return
        with connection.makefile("rb") as lines:
            kept = _read(lines)

            def confirm() -> None:
                with suppress(OSError):
                    connection.sendall(b"\n")
                if not _read(lines).held:
                    raise ControlError("the server could not wait: too much was written meanwhile, or it was stopped")

            yield Hold(kept.log_bytes, kept.events, confirm)


def _read(lines: BinaryIO) -> _Answer:
    try:
        answer = msgspec.json.decode(lines.readline(_MAX_LINE), type=_Answer)
    except (OSError, msgspec.MsgspecError):
        raise ControlError("the server has ended; what it stored is safe") from None
    if answer.error:
        raise ControlError(f"the server says: {answer.error}")
    return answer


def _send(connection: socket.socket, answer: _Answer) -> None:
    connection.sendall(msgspec.json.encode(answer) + b"\n")


def _owner(connection: socket.socket) -> int:
    """The user at the other end; where the system cannot tell, the directory's mode has to do."""
    if sys.platform != "linux":
        return os.geteuid()
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    return int(user)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """``path`` for a socket: by way of its open directory where it is too long to be an address itself."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
