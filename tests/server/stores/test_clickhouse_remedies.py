"""Who runs the server is told what is wrong with the address, each fault by itself, and no password."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trustme
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_process import FacadeProcess
from listening import Port

from connect_logging.server.stores.base import StoreError
from connect_logging.server.stores.clickhouse_address import ClickHouseAddress, parse_address
from connect_logging.server.stores.clickhouse_connection import ClickHouse
from connect_logging.server.stores.clickhouse_remedies import remedy

SECRET = "5ecret"
SOMEWHERE = parse_address("clickhouses://me@db1/d", SECRET)


def told(text: str, sql: str = "SELECT 1") -> str:
    """The remedy for what happens at an address."""
    with closing(ClickHouse(parse_address(text, SECRET), silence=5)) as database:
        with pytest.raises(StoreError) as caught:
            database.run("no", sql)
        assert SECRET not in str(caught.value) + caught.value.remedy
        assert caught.value.remedy not in str(caught.value), "which clients are told"
        return caught.value.remedy


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    with closing(Port(serve, "no-clickhouse")) as port:
        yield port.number


def test_no_host_and_no_port() -> None:
    assert told("clickhouse://me@nowhere..at.all/d") == "no such host: check its name"
    with closing(Port(lambda connection: None, "closed")) as port:
        port.refuse()
        assert told(f"clickhouse://me@127.0.0.1:{port.number}/d") == (
            f"connection refused: does ClickHouse run there, and is {port.number} the port of its HTTP interface"
            " (8123, with TLS 8443)?"
        )


def test_another_server() -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnone")

    with listening(answer) as port:
        assert told(f"clickhouse://me@127.0.0.1:{port}/d").startswith("what answers there is no ClickHouse: is ")
    with listening(lambda connection: None) as port:
        found = told(f"clickhouse://me@127.0.0.1:{port}/d")
        assert found.startswith("it closed the connection: is ")
        assert found.endswith("With TLS the address begins with clickhouses://")


def test_tls(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("db1.example").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "none.pem").write_text("nothing")

    with listening(lambda connection: context.wrap_socket(connection, server_side=True).close()) as port:
        at = f"clickhouses://me@127.0.0.1:{port}/d"
        advice = ". The host must be one that it names, and ?ca=FILE the authority that signed it"
        assert told(at) == f"its certificate is not believed: unable to get local issuer certificate{advice}"
        mismatch = "IP address mismatch, certificate is not valid for '127.0.0.1'"
        assert told(f"{at}?ca={tmp_path}/ca.pem") == f"its certificate is not believed: {mismatch}{advice}"
        assert told(f"{at}?ca={tmp_path}/none.pem") == f"{tmp_path}/none.pem has no certificates in PEM"
        assert told(f"{at}?ca={tmp_path}/no.pem") == f"{tmp_path}/no.pem cannot be read: No such file or directory"
    with listening(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        found = told(f"clickhouses://me@127.0.0.1:{port}/d")
        assert found.startswith("it does not speak TLS: ")
        assert found.endswith("Without TLS the address begins with clickhouse://")


def test_a_wrong_password(clickhouse_process: FacadeProcess) -> None:
    found = told(f"clickhouse://someone@127.0.0.1:{clickhouse_process.port}/d")
    assert found == "the password of someone is wrong, or there is no such user: set CONNECT_CLICKHOUSE_PASSWORD"


def test_what_is_not_there(clickhouse_address: ClickHouseAddress) -> None:
    for missing in ("nope.projects", "default.nope"):
        assert "'project create'" in told(str(clickhouse_address), f"SELECT * FROM {missing}")


def caused(cause: Exception) -> Exception:
    """As the client wraps what happened to its connection."""
    error = RuntimeError(SECRET)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (497, "its user lacks a right: GRANT ALL ON d.* TO me"),
        (701, "it has no cluster main: those that it has are in system.clusters"),
        (62, ""),
    ],
)
def test_what_clickhouse_says_itself(code: int, found: str) -> None:
    address = parse_address("clickhouse://me@db1/d?cluster=main", SECRET)
    assert remedy(address, DatabaseError(SECRET, code=code)) == found


@pytest.mark.parametrize(
    ("cause", "found"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "no such host: check its name"),
        (TimeoutError("timed out"), "no answer in time: check host and port, and firewalls between; is 8443 the port"),
        (OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH)), "No route to host"),
        (RuntimeError(SECRET), ""),
    ],
)
def test_what_a_test_cannot_make_happen(cause: Exception, found: str) -> None:
    assert remedy(SOMEWHERE, caused(cause)).startswith(found)
    assert SECRET not in remedy(SOMEWHERE, caused(cause))
