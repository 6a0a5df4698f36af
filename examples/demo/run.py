"""The course of the demo, and what is told of it."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .processes import read_project, read_stats, start_server, start_shop
from .report import compare
from .traffic import Customers

_THREADS: Final = 4
_KILL_AT: Final = 0.4
_RESTART_AT: Final = 0.6
"""Shares of the requests: between them there is no server."""


def run(requests: int, keep: bool) -> int:
    """Run the demo with so many ``requests``; ``keep`` the server's data.

    0: the server has the truth; 1: it has not; 130: stopped by Ctrl-C.

    Raises DemoError when it cannot go on, ModuleNotFoundError without the server extra.
    """
    for module in ("starlette", "uvicorn", "duckdb"):
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    console = Console(highlight=False)
    try:
        with _terminable(), ExitStack() as cleanup:
            directory = Path(tempfile.mkdtemp(prefix="connect-logging-demo-"))
            if keep:
                told = f"\nKept, with the logs of server and shop: {directory}"
                cleanup.callback(console.print, told, soft_wrap=True)
            else:
                cleanup.callback(shutil.rmtree, directory)
            return _Demo(console, directory, cleanup).run(requests)
    except KeyboardInterrupt:
        click.echo("\nStopped.")  # a console that was interrupted amid a line would print that again
        return 130


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: with everything that it has started."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Demo:
    """``directory``: for data and logs. ``cleanup``: ends the processes, last in first out."""

    def __init__(self, console: Console, directory: Path, cleanup: ExitStack) -> None:
        self._console = console
        self._directory = directory
        self._data = directory / "data"
        self._cleanup = cleanup

    def run(self, requests: int) -> int:
        say = partial(self._console.print, soft_wrap=True)
        self._server = self._cleanup.enter_context(start_server(self._data))
        url = self._server.address()
        project = read_project(self._data)
        say(f"The server is at {url}; it keeps its data in a temporary directory.")
        environ = {
            "CONNECT_BASE_URL": url,
            "CONNECT_PROJECT_ID": project["projectId"],
            "CONNECT_API_KEY": project["push"],
        }
        shop = self._cleanup.enter_context(start_shop(self._directory, environ))
        shop_url = shop.address()
        say(f"The shop is at {shop_url}; its logging is set up in examples/shop/logging.json.")
        customers = Customers(shop_url, requests, _THREADS)
        self._cleanup.callback(customers.stop)
        self._drive(customers, requests, int(url.rpartition(":")[2]))
        shop.stop()
        stats = read_stats(shop)
        say(
            f"The shop is closed. Of its {stats['accepted']:,} events {stats['delivered']:,} were delivered, and"
            f" {stats['duplicate']:,} were there already when sent again; {stats['requests']:,} requests, failed ones"
            " included."
        )
        say("\nWhat the server answers, beside the truth, which the customers wrote down:")
        return compare(self._console, url, project, customers.truth, stats)

    def _drive(self, customers: Customers, requests: int, port: int) -> None:
        """All requests, with the server killed and started again between them."""
        say = partial(self._console.print, soft_wrap=True)
        began = time.monotonic()
        columns = (TextColumn("requests"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as progress:
            task = progress.add_task("requests", total=requests)

            def wait_for(share: float) -> None:
                while not customers.wait_for(int(share * requests), timeout=0.1):
                    progress.update(task, completed=customers.done)
                progress.update(task, completed=customers.done)

            customers.start()
            wait_for(_KILL_AT)
            self._server.kill()
            killed_at = customers.done
            say(f"After {killed_at:,} requests the server was killed (SIGKILL). The shop stays open.")
            wait_for(_RESTART_AT)
            self._server = self._cleanup.enter_context(start_server(self._data, port))
            self._server.address()
            say(f"The server is back on the same data. The shop answered {customers.done - killed_at:,} meanwhile.")
            wait_for(1.0)
        seconds = time.monotonic() - began
        say(f"{requests:,} requests from {_THREADS} threads in {seconds:.1f} s.")
