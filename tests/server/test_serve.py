"""The server as a process."""

from __future__ import annotations

from conftest import Serve


def test_what_was_answered_200_is_there_after_a_kill_and_after_a_stop(serve: Serve) -> None:
    server = serve()
    server.push("purchases", {"price": 5}, {"price": 2.5})
    server.kill()
    server.restart()
    assert server.query("purchases", {"select": {"total": {"sum": "price"}}}) == [{"total": 7.5}]
    server.push("purchases", {"price": 1})
    assert server.stop() == 0
    server.restart(port=0)
    assert server.count("purchases") == 3
    assert server.errors == ""
