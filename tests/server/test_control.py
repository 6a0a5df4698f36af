"""The socket by which a backup has the server keep its file: who is answered, and when it lets go."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connect_logging.server import control
from connect_logging.server.control import Control, ControlError, hold
from connect_logging.server.stores.base import StoreError
from connect_logging.server.stores.duckdb import Held


class StoreThatHolds:
    """``holding`` is set while it does; it can fail."""

    def __init__(self) -> None:
        self.holding = threading.Event()
        self.released = threading.Event()
        self.error: StoreError | None = None
        self.log_size = 5

    @contextmanager
    def held(self) -> Iterator[Held]:
        if self.error:
            raise self.error
        self.holding.set()
        try:
            yield Held(5, 7)
        finally:
            self.holding.clear()
            self.released.set()


@pytest.fixture
def store() -> StoreThatHolds:
    return StoreThatHolds()


@pytest.fixture
def path(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(control, "_LOOK_AGAIN", 0.01)
    running = Control(tmp_path / "control", store, max_log=100)
    yield tmp_path / "control"
    running.close()
    assert not (tmp_path / "control").exists()


def test_the_file_is_held_until_the_client_is_done(path: Path, store: StoreThatHolds) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with hold(path) as held:
        assert held is not None
        assert (held.log_bytes, held.events) == (5, 7)
        assert store.holding.is_set()
        held.confirm()
    assert store.released.wait(9)


def test_the_file_is_let_go_of_when_the_client_ends(path: Path, store: StoreThatHolds) -> None:
    with hold(path):
        assert store.holding.is_set()
    assert store.released.wait(9)


def test_a_second_client_is_refused(path: Path) -> None:
    with hold(path) as held:
        with pytest.raises(ControlError, match="another backup is being made"), hold(path):
            pass
        assert held is not None
        held.confirm()


def test_a_log_that_grows_too_much_ends_the_hold(path: Path, store: StoreThatHolds) -> None:
    with hold(path) as held:
        store.log_size = 106
        assert store.released.wait(9)
        assert held is not None
        with pytest.raises(ControlError, match="could not wait"):
            held.confirm()


def test_a_store_that_cannot_is_told(path: Path, store: StoreThatHolds) -> None:
    store.error = StoreError("the events cannot be held: no")
    with pytest.raises(ControlError, match="the server says: the events cannot be held: no"), hold(path):
        pass


def test_a_server_that_stops_lets_go(store: Any, tmp_path: Path) -> None:
    running = Control(tmp_path / "control", store)
    with hold(tmp_path / "control") as held:
        running.close()
        assert not store.holding.is_set()
        assert held is not None
        with pytest.raises(ControlError, match="stopped"):
            held.confirm()


def test_a_server_that_is_gone_is_none(tmp_path: Path) -> None:
    with hold(tmp_path / "control") as held:
        assert held is None
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "control"))
    with hold(tmp_path / "control") as held:
        assert held is None


def test_an_answer_that_never_comes_is_an_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control"))
        listener.listen()
        threading.Thread(target=lambda: listener.accept()[0].close()).start()
        with pytest.raises(ControlError, match="the server has ended"), hold(tmp_path / "control"):
            pass


def test_nobody_else_is_answered(path: Path, store: StoreThatHolds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_owner", lambda _: 12_345)
    with pytest.raises(ControlError, match="the server has ended"), hold(path):
        pass
    assert not store.released.is_set()


def test_a_directory_with_a_long_name_works_too(store: Any, tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 150)
    directory.mkdir()
    running = Control(directory / "control", store)
    with hold(directory / "control") as held:
        assert held is not None
        held.confirm()
    running.close()
