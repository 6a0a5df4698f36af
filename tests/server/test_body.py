"""Bodies: never more bytes than the limit, of one and of all together, however they are packed."""

from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
import zlib
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from connect_logging.server.answers import RefusedError
from connect_logging.server.body import MAX_MEMBERS, Bodies, inflate


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=4))
def test_all_members_are_read(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    assert inflate(b"".join(map(gzip.compress, parts)), len(whole)) == whole


@given(st.binary(min_size=1, max_size=200), st.integers(1, 200))
def test_a_cut_is_seen(data: bytes, cut: int) -> None:
    packed = gzip.compress(data)
    with pytest.raises(RefusedError) as caught:
        inflate(packed[: -min(cut, len(packed))], 1_000)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\x1f\x8b", zlib.compress(b"{}"), gzip.compress(b"{}", mtime=0) + b"rest"]
)
def test_what_is_not_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        inflate(data, 1_000)
    assert caught.value.status == 400


def test_a_bomb_is_never_inflated() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(RefusedError) as caught:
        inflate(bomb, 1_000)
    assert caught.value.status == 413
    with pytest.raises(RefusedError) as caught:
        inflate(gzip.compress(bytes(600)) * 2, 1_000)
    assert caught.value.status == 413


def test_a_bomb_takes_no_memory() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError):
            inflate(bomb, 1_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("inside", [b"", b"x"])
def test_many_small_members_cost_no_time(inside: bytes) -> None:
    member = gzip.compress(inside)
    assert inflate(member * MAX_MEMBERS, 1_000) == inside * MAX_MEMBERS
    began = time.perf_counter()
    with pytest.raises(RefusedError, match="at most 1,000 members"):
        inflate(member * 1_000_000, 32 * 2**20)
    assert time.perf_counter() - began < 1


def request(*parts: bytes, **headers: str) -> Request:
    """A request whose body comes in ``parts``."""
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": at < len(parts)} for at, part in enumerate(parts, 1)
    ]

    async def receive() -> Message:
        return messages.pop(0)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw}, receive)


def read(bodies: Bodies, *requests: Request) -> list[bytes]:
    """The bodies of requests that are all in use at the same time."""

    async def together() -> list[bytes]:
        async with AsyncExitStack() as stack:
            return [await stack.enter_async_context(bodies.read(each, 100)) for each in requests]

    return asyncio.run(together())


def test_bodies_in_use_have_a_bound_together() -> None:
    bodies = Bodies(100)
    assert read(bodies, request(bytes(50)), request(bytes(30), bytes(20), content_length="50")) == [bytes(50)] * 2
    for more in (request(b"", b"x"), request(b"x", content_length="1")):
        with pytest.raises(RefusedError, match="too many large requests") as caught:
            read(bodies, request(bytes(100)), more)
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})


def test_a_packed_body_counts_as_it_is_and_inflated() -> None:
    packed = gzip.compress(bytes(60))
    size = len(packed) + 60
    assert read(Bodies(size), request(packed, content_encoding="gzip")) == [bytes(60)]
    with pytest.raises(RefusedError, match="too many large requests"):
        read(Bodies(size - 1), request(packed, content_encoding="gzip"))


def test_what_is_announced_is_refused_before_it_is_sent() -> None:
    with pytest.raises(RefusedError, match="larger than 100 bytes"):
        read(Bodies(100), request(content_length="101"))


def test_what_is_announced_and_does_not_come_keeps_out_nobody() -> None:
    bodies = Bodies(100)

    async def scene() -> None:
        goes_on = asyncio.Event()
        slow = [asyncio.create_task(read_slowly(goes_on)) for _ in range(4)]
        for _ in range(3):
            await asyncio.sleep(0)
        async with bodies.read(request(bytes(96), content_length="96"), 100) as body:
            assert len(body) == 96
            goes_on.set()  # now there is no room for the rest
            refused = await asyncio.gather(*slow, return_exceptions=True)
        assert [error.status for error in refused if isinstance(error, RefusedError)] == [503] * 4

    async def read_slowly(goes_on: asyncio.Event) -> None:
        parts = [b"x" * 99, b"x"]

        async def receive() -> Message:
            if len(parts) == 1:
                await goes_on.wait()
            return {"type": "http.request", "body": parts.pop(), "more_body": bool(parts)}

        headers = [(b"content-length", b"100")]
        async with bodies.read(Request({"type": "http", "headers": headers}, receive), 100):
            raise AssertionError

    asyncio.run(scene())
    assert read(bodies, request(bytes(100))) == [bytes(100)], "all is given back"


def test_a_body_whose_client_leaves_is_none() -> None:
    with pytest.raises(ClientDisconnect):
        read(Bodies(100), Request({"type": "http", "headers": []}, _gone_after(b"{")))


def _gone_after(part: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    return receive


def test_what_a_refused_body_has_taken_is_given_back() -> None:
    bodies = Bodies(150)
    for refused in (
        request(bytes(60), bytes(60)),
        request(b"no gzip", content_encoding="gzip"),
        request(gzip.compress(bytes(101)), content_encoding="gzip"),
        request(b"", content_encoding="br"),
    ):
        with pytest.raises(RefusedError):
            read(bodies, refused)
    assert read(bodies, request(bytes(100)), request(bytes(50))) == [bytes(100), bytes(50)]
