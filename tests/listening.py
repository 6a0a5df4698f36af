"""A port that refuses connections and listens again, for servers that tests make misbehave."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


class Port:
    """A port of 127.0.0.1, ``number``, that is listened on from its making until :meth:`close`.

    ``serve`` is called with each connection, in a thread of its own, and may return or raise OSError to end it.
    ``number``: 0 for a free one.
    """

    def __init__(self, serve: Callable[[socket.socket], None], name: str, number: int = 0) -> None:
        self._serve = serve
        self._name = name
        self._changed = threading.Condition()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._listener: tuple[socket.socket, threading.Thread] | None = None
        # Never listens, only keeps the port ours while nothing does.
        self._reservation = _bound(number)
        self.number: int = self._reservation.getsockname()[1]
        self.listen()

    def listen(self) -> None:
        """Accept connections, again on the same port."""
        listener = _bound(self.number)
        listener.listen(128)
        thread = threading.Thread(target=self._accept, args=(listener,), name=f"{self._name}-{self.number}")
        self._listener = listener, thread
        thread.start()

    def refuse(self) -> None:
        """Refuse connections, and drop those that are open."""
        if self._listener:
            listener, thread = self._listener
            self._listener = None
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            thread.join()
            listener.close()
        self._drop_connections()

    def close(self) -> None:
        """Stop at once. Idempotent."""
        self.refuse()
        self._reservation.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the last byte may be sent alone
            name = f"{self._name}-{self.number}-connection"
            thread = threading.Thread(target=self._attend, args=(connection,), name=name)
            with self._changed:
                self._connections[connection] = thread
                thread.start()

    def _attend(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                self._serve(connection)
        finally:
            with self._changed:
                self._connections.pop(connection, None)

    def _drop_connections(self) -> None:
        with self._changed:
            open_now = dict(self._connections)
            for connection in open_now:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in open_now.values():
            if thread is not threading.current_thread():  # a fault may refuse
                thread.join()


def _bound(port: int) -> socket.socket:
    """Several sockets may be bound to the port at once, but only by this user, and only a listening one is served."""
    bound = socket.socket()
    for option in (socket.SO_REUSEPORT, socket.SO_REUSEADDR):
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
    bound.bind(("127.0.0.1", port))
    return bound
