"""Where a ClickHouse is: what the option ``--store`` says, read once and checked.

    clickhouse://user@host:8123/database                    HTTP; user, port and database may be left out
    clickhouses://user@host:8443/database?ca=/etc/ca.pem    HTTPS; ``ca``: the certificates to believe, PEM
    clickhouse://user@host/database?cluster=main            tables that are replicated and distributed over a cluster
    chdb:///directory?database=name                         the engine itself, in this process

Invariant: the password is in no repr and no text of an address, and no error repeats what was refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ...exceptions import ConfigurationError

Scheme: TypeAlias = Literal["clickhouse", "clickhouses", "chdb"]

_PORTS: Final[dict[Scheme, int]] = {"clickhouse": 8123, "clickhouses": 8443, "chdb": 0}
_OPTIONS: Final[dict[Scheme, frozenset[str]]] = {
    "clickhouse": frozenset({"cluster"}),
    "clickhouses": frozenset({"cluster", "ca"}),
    "chdb": frozenset({"database"}),
}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
"""Of a database or a cluster. They stand in statements, quoted; more than these characters nobody needs."""


@dataclass(frozen=True, slots=True)
class ClickHouseAddress:
    """``path``: the directory of the engine in this process, for which ``host`` is empty."""

    scheme: Scheme
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    cluster: str | None = None
    ca: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        """Without the password."""
        if self.scheme == "chdb":
            return f"chdb://{self.path}?database={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        cluster = f"?cluster={self.cluster}" if self.cluster else ""
        return f"{self.scheme}://{quote(self.user, safe='')}@{host}:{self.port}/{self.database}{cluster}"


def parse_address(text: str, password: str | None = None) -> ClickHouseAddress:
    """``password``: where the address has none, so that it need not stand in it. Raises ConfigurationError."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _refused("it is not an address") from None
    scheme = next((each for each in _PORTS if each == parts.scheme), None)
    if scheme is None or parts.fragment:
        raise _refused("it is not an address")
    unknown = sorted({name for name, _ in options} - _OPTIONS[scheme])
    if unknown:
        known = ", ".join(sorted(_OPTIONS[scheme]))
        raise _refused(f"an address that begins with {scheme}:// takes the options {known} and no others")
    if len({name for name, _ in options}) != len(options):
        raise _refused("an option is there twice")
    given = dict(options)
    if scheme == "chdb":
        if parts.netloc or not parts.path.strip("/"):
            raise _refused("chdb:// is followed by an absolute path, as in chdb:///var/lib/events")
        return ClickHouseAddress(
            scheme, "", 0, "default", "", _name("database", given.get("database", "default")), path=unquote(parts.path)
        )
    if not host:
        raise _refused("the host is missing")
    cluster = given.get("cluster")
    return ClickHouseAddress(
        scheme,
        host,
        port or _PORTS[scheme],
        unquote(parts.username or "default"),
        unquote(parts.password or "") or password or "",
        _name("database", unquote(parts.path).strip("/") or "default"),
        None if cluster is None else _name("cluster", cluster),
        given.get("ca"),
    )


def _name(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _refused(f"the name of the {what} has letters, digits, _ and -, and begins with a letter")
    return name


def _refused(reason: str) -> ConfigurationError:
    return ConfigurationError(f"must be an address such as clickhouse://user@host:8123/database: {reason}", "store")
