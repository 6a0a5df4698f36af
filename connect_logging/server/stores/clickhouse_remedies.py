"""What to look at when a ClickHouse does not do what it is asked: for who runs the server, and for nobody else.

Clients are told that the database cannot be reached, and no more. Invariant: no text of an error is in a remedy, as
these quote statements and addresses; but for OpenSSL's words on a certificate, and the system's on a network.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from .clickhouse_address import ClickHouseAddress

_NOTHING_YET: Final = "nothing has been made there yet: 'connect-logging serve' or 'project create' does"

_BY_CODE: Final[Mapping[int, Callable[[ClickHouseAddress], str]]] = {
    60: lambda _: _NOTHING_YET,  # UNKNOWN_TABLE
    81: lambda _: _NOTHING_YET,  # UNKNOWN_DATABASE
    497: lambda at: f"its user lacks a right: GRANT ALL ON {at.database}.* TO {at.user}",  # ACCESS_DENIED
    516: lambda at: f"the password of {at.user} is wrong, or there is no such user: set CONNECT_CLICKHOUSE_PASSWORD",
    701: lambda at: f"it has no cluster {at.cluster}: those that it has are in system.clusters",
}


def remedy(address: ClickHouseAddress, error: Exception) -> str:
    """In a few words; an empty text when nothing is known. ``error``: what the client raised."""
    code = getattr(error, "code", None)
    if code is not None:
        return _BY_CODE[code](address) if code in _BY_CODE else ""
    if address.path is not None:
        return f"may this process write to {address.path}, and does no other use it?"
    causes = [*_causes(error)]
    if not causes:  # it is about what was answered
        return f"what answers there is no ClickHouse: {_ports(address)}"
    return next(filter(None, (_of_connection(address, cause) for cause in causes)), "")


def _of_connection(address: ClickHouseAddress, cause: BaseException) -> str:
    match cause:
        case socket.gaierror() | UnicodeError():
            return "no such host: check its name"
        case ConnectionRefusedError():
            return f"connection refused: does ClickHouse run there, and {_ports(address)}"
        case ssl.SSLCertVerificationError():
            certificate = f"its certificate is not believed: {cause.verify_message.rstrip('.')}"
            return f"{certificate}. The host must be one that it names, and ?ca=FILE the authority that signed it"
        case FileNotFoundError() | PermissionError():
            return f"{address.ca} cannot be read: {cause.strerror}"
        case ssl.SSLError() if cause.library == "X509":
            return f"{address.ca} has no certificates in PEM"
        case ssl.SSLError():
            return f"it does not speak TLS: {_ports(address)} Without TLS the address begins with clickhouse://"
        case TimeoutError():
            return f"no answer in time: check host and port, and firewalls between; {_ports(address)}"
        case ConnectionError():
            return f"it closed the connection: {_ports(address)} With TLS the address begins with clickhouses://"
        case OSError() if cause.strerror:
            return cause.strerror
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What the error came of, what that did, and so on."""
    while cause := error.__cause__ or error.__context__:
        yield cause
        error = cause


def _ports(address: ClickHouseAddress) -> str:
    return f"is {address.port} the port of its HTTP interface (8123, with TLS 8443)?"
