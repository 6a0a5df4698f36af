"""Gzip bodies: any members, never more bytes than the limit."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_logging.server.answers import RefusedError
from connect_logging.server.body import inflate


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
