"""Downloads, as an ASGI app sees its client: taken piece by piece, left, broken off, refused."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from connect_logging.server.answers import RefusedError
from connect_logging.server.downloads import Downloads, Pieces
from connect_logging.server.stores.base import StoppedError, StoreError

Sent = list[Message]


class Source:
    """Pieces that tell what became of them. ``error``: raised in place of the piece ``fails``."""

    def __init__(self, count: int = 3, fails: int = -1, error: Exception | None = None) -> None:
        self.stopped = threading.Event()
        self.made = 0
        self.is_closed = False
        self._count = count
        self._fails = fails
        self._error = error

    def pieces(self) -> Pieces:
        try:
            for number in range(self._count):
                if number == self._fails and self._error:
                    raise self._error
                if self.stopped.is_set():
                    raise StoppedError("stopped")
                self.made += 1
                yield b"%d," % number
        finally:
            self.is_closed = True


def stays() -> Any:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    return receive


async def download(
    source: Source,
    *,
    downloads: Downloads | None = None,
    receive: Any = None,
    on_send: Callable[[Message], Any] = lambda message: None,
    method: str = "GET",
) -> Sent:
    sent: Sent = []

    async def send(message: Message) -> None:
        sent.append(message)
        waiting = on_send(message)
        if waiting is not None:
            await waiting

    answer = (downloads or Downloads(2, 2)).answer(source.pieces(), source.stopped, "text/csv", {"X-Name": "a"})
    try:
        await answer({"type": "http", "method": method}, receive or stays(), send)
    finally:
        assert source.is_closed or not source.made
    return sent


def is_whole(sent: Sent) -> bool:
    return sent[-1]["type"] == "http.response.body" and not sent[-1].get("more_body", False)


def body(sent: Sent) -> bytes:
    return b"".join(message.get("body", b"") for message in sent)


def test_all_pieces_are_sent_without_a_length() -> None:
    sent = asyncio.run(download(Source()))
    assert sent[0]["status"] == 200
    headers = dict(sent[0]["headers"])
    assert (headers[b"content-type"], headers[b"x-name"]) == (b"text/csv; charset=utf-8", b"a")
    assert b"content-length" not in headers
    assert (body(sent), is_whole(sent)) == (b"0,1,2,", True)


def test_nothing_is_a_body_as_well() -> None:
    sent = asyncio.run(download(Source(0)))
    assert (sent[0]["status"], body(sent), is_whole(sent)) == (200, b"", True)


def test_no_piece_is_made_before_the_last_was_taken() -> None:
    source = Source(5)
    made: list[int] = []
    asyncio.run(download(source, on_send=lambda message: made.append(source.made)))
    assert made == [1, 1, 2, 3, 4, 5, 5], "head, pieces, end"


def test_what_fails_at_first_is_answered_by_the_app() -> None:
    with pytest.raises(StoreError, match="no disk"):
        asyncio.run(download(Source(fails=0, error=StoreError("no disk"))))


def test_what_fails_later_breaks_the_body_off(caplog: pytest.LogCaptureFixture) -> None:
    sent = asyncio.run(download(Source(fails=2, error=StoreError("no disk"))))
    assert (body(sent), is_whole(sent)) == (b"0,1,", False)
    assert caplog.record_tuples == [
        ("connect_logging.server.downloads", logging.WARNING, "a download was broken off: no disk")
    ]


def test_when_the_client_goes_the_pieces_end() -> None:
    source = Source(1_000_000)

    async def run() -> Sent:
        taken = asyncio.Event()

        async def receive() -> Message:
            await taken.wait()
            return {"type": "http.disconnect"}

        def on_send(message: Message) -> None:
            if source.made == 3:
                taken.set()

        return await download(source, receive=receive, on_send=on_send)

    assert not is_whole(asyncio.run(run()))
    assert source.made < 1_000_000


def test_a_client_that_goes_before_the_first_piece_is_told_of_as_such() -> None:
    with pytest.raises(ClientDisconnect):
        asyncio.run(download(Source(fails=0, error=StoppedError("stopped"))))


def test_when_the_server_stops_the_piece_that_is_being_made_is_waited_for() -> None:
    source = Source(1)
    making = threading.Event()

    def slow() -> Pieces:
        try:
            making.set()
            assert source.stopped.wait(10), "it is told to stop"
            yield b""
        finally:
            source.is_closed = True

    source.pieces = slow  # type: ignore[method-assign]

    async def run() -> None:
        task = asyncio.create_task(download(source))
        await asyncio.to_thread(making.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert source.is_closed


def test_too_many_at_a_time_are_told_to_come_again() -> None:
    async def run() -> None:
        downloads = Downloads(1, 1)
        begun, go_on = asyncio.Event(), asyncio.Event()

        def on_send(message: Message) -> Any:
            begun.set()
            return go_on.wait()

        first = asyncio.create_task(download(Source(), downloads=downloads, on_send=on_send))
        await begun.wait()
        with pytest.raises(RefusedError) as refused:
            await download(Source(), downloads=downloads)
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "5"})
        go_on.set()
        assert is_whole(await first)
        assert is_whole(await download(Source(), downloads=downloads))

    asyncio.run(run())


def test_only_the_head_is_made_for_who_wants_only_that() -> None:
    source = Source(1_000)
    sent = asyncio.run(download(source, method="HEAD"))
    assert (sent[0]["status"], body(sent), source.made) == (200, b"", 1)


@pytest.mark.parametrize("error", [StoppedError("stopped"), StoreError("no disk")])
def test_what_a_download_held_that_broke_off_is_freed(error: Exception) -> None:
    """Without a search for cycles, which a server makes seldom."""

    class Row:
        """What the making of pieces holds."""

    held: list[weakref.ref[Row]] = []
    source = Source()

    def pieces() -> Pieces:
        row = Row()
        held.append(weakref.ref(row))
        yield b""
        source.is_closed = True
        raise error

    source.pieces = pieces  # type: ignore[method-assign]
    gc.disable()
    try:
        assert not is_whole(asyncio.run(download(source)))
        [row] = held
        assert row() is None
    finally:
        gc.enable()
