"""What the server makes of uvicorn: a real process, and more clients than it may have."""

from __future__ import annotations

import os
import resource
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Serve

BURST = 400
CONNECTIONS = 8


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits the files of another process")
def test_a_burst_of_connections_leaves_the_files_that_the_database_needs(serve: Serve) -> None:
    server = serve(options=["--max-connections", str(CONNECTIONS)])
    most = len([*Path(f"/proc/{server.pid}/fd").iterdir()]) + CONNECTIONS + 92
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as opened:
        os.kill(server.pid, signal.SIGSTOP)  # until all are there
        try:
            burst = [opened.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(BURST)]
            for client in burst:
                client.sendall(b"POST /events HTTP/1.1\r\n")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert all(has_ended(client) for client in burst[:-CONNECTIONS])
        server.push("purchases", {"price": 5})
        assert server.count("purchases") == 1
    assert server.errors == ""


def has_ended(client: socket.socket) -> bool:
    client.settimeout(30)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
