"""The server as a process: it takes a data directory, listens, and leaves nothing half done when it is told to stop.

Invariants: the ready line is printed once connections are accepted; after SIGTERM or SIGINT accepted requests finish,
then the database is closed, then the process ends normally.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Final, NamedTuple

from ..exceptions import ConfigurationError, ConnectError
from .access_log import AccessLog
from .app import make_app
from .backing import backing_of
from .http_server import HttpServer, http_config
from .metrics import Metrics
from .metrics_server import serving
from .observing import Exchange
from .projects import Project
from .settings import Settings, split_address
from .tls import Certificate

_SWITCH_INTERVAL: Final = 0.0001
"""Seconds that a thread computes while another waits for its turn. The writer comes back from DuckDB several times in a
commit, and would wait for the 5 ms that are usual in Python each time."""


class AddressError(ConnectError):
    """The address cannot be listened on; the message says why."""


def serve(
    settings: Settings, *, on_ready: Callable[[Addresses], object], on_first_project: Callable[[Project], object]
) -> None:
    """Serve until SIGTERM or SIGINT; on the main thread. SIGHUP reads the certificate again.

    ``on_ready`` is called once requests are accepted, ``on_first_project`` before that when the data directory had no
    project yet. Raises ConnectError when the server cannot start: the directory, an address, the certificate, the
    database; OSError when the access log cannot be opened.
    """
    os.umask(0o077)  # DuckDB makes its files with the mode that the process gives
    certificate = Certificate(settings.tls_cert, settings.tls_key) if settings.tls_cert and settings.tls_key else None
    with ExitStack() as opened:
        listener = opened.enter_context(closing(_listen(settings.host, settings.port)))
        metrics = Metrics()
        metrics_url = opened.enter_context(_serving_metrics(metrics, settings.metrics)) if settings.metrics else None
        observers = [opened.enter_context(_logging(settings.access_log, metrics))] if settings.access_log else []
        backing = opened.enter_context(backing_of(settings, metrics.observe_commit))
        first = backing.projects.create_first()
        if first:
            on_first_project(first)
        set_the_interpreter()
        stopping = threading.Event()
        app = make_app(
            settings,
            backing,
            metrics=metrics,
            observers=observers,
            is_stopping=stopping.is_set,
            opened=opened,
        )
        tls = (lambda: certificate.context) if certificate else None
        config = http_config(app, settings, [metrics.observe, *observers], tls)
        addresses = Addresses(_url(settings.host, listener, "https" if certificate else "http"), metrics_url)
        _run(HttpServer(config, lambda: on_ready(addresses), stopping.set), listener, certificate)


def set_the_interpreter() -> None:
    """Have it change threads often, and search for cycles seldom: for a process that does nothing but serve.

    Batches bring objects by the thousand, none in a cycle: a tenth of the time went into searching them for one.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    gc.freeze()  # what is there now stays
    gc.set_threshold(50_000)


class Addresses(NamedTuple):
    """Where a server is reached: ``base`` is what clients take, ``metrics`` where these are when not below it."""

    base: str
    metrics: str | None


def _run(server: HttpServer, listener: socket.socket, certificate: Certificate | None) -> None:
    """Run to the end. A signal before uvicorn's own handlers, or raised by it once more at the end, asks to stop.

    Handlers, as signals that are set to SIG_IGN would be ignored in child processes as well.
    """

    def stop(number: int, frame: object) -> None:
        server.should_exit = True

    def renew(number: int, frame: object) -> None:
        try:
            assert certificate is not None
            certificate.reload()
        except ConfigurationError as error:
            _complain(f"the earlier certificate stays in use: {error}")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    if certificate:
        previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, renew)
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _complain(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # A port whose last connections are still being closed down is free; one that is listened on is not.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2_048)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise AddressError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    except UnicodeError:
        raise AddressError(f"cannot listen on {host}: no host has such a name") from None
    return listener


def _url(host: str, listener: socket.socket, scheme: str = "http") -> str:
    port = listener.getsockname()[1]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextmanager
def _serving_metrics(metrics: Metrics, address: str) -> Iterator[str]:
    """Serve them; where."""
    host, port = split_address(address)
    with ExitStack() as opened:
        try:
            listener = opened.enter_context(serving(metrics.registry, host, port))
        except OSError as error:
            raise AddressError(f"cannot listen on {address} for metrics: {error.strerror}") from None
        except UnicodeError:
            raise AddressError(f"cannot listen on {address} for metrics: no host has such a name") from None
        yield f"{_url(host, listener)}/metrics"


@contextmanager
def _logging(target: str, metrics: Metrics) -> Iterator[Callable[[Exchange], object]]:
    with closing(AccessLog(target, time.time)) as log:
        metrics.watch("access_log_dropped_lines", "Lines that found the queue full.", lambda: log.dropped)
        yield log.write
