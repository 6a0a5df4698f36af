"""What a server runs with: one frozen record, checked when it is made.

Nothing here reads the environment or the command line; that is the caller's.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from ..exceptions import ConfigurationError
from .stores.clickhouse_address import ClickHouseAddress

MIB: Final = 1024 * 1024

MAX_RETENTION: Final = 36_500
"""Days."""
MAX_THREADS: Final = 256
"""More than a query can use, and few enough for any system to start."""

_MAX_PORT: Final = 65_535
_ADDRESS = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):([0-9]{1,5})")
_PORTS: Final = {"http": 80, "https": 443}
_SIZE = re.compile(r"[1-9]\d*(\.\d+)?(MB|MiB|GB|GiB)")


Place: TypeAlias = Path | ClickHouseAddress
"""Where events, projects and jobs are: in a directory of this computer, or in a database that servers share."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of a server. Raises ConfigurationError for a value that cannot work."""

    place: Place
    """What holds everything; made when it is missing."""
    host: str = "127.0.0.1"
    """The address to listen on. The default is reachable from this computer only."""
    port: int = 8010
    """The TCP port to listen on; 0 takes a free one, which is printed."""
    max_body_bytes: int = 32 * MIB
    """Largest batch body, as received and after inflating it. A single event is held to 65,536 bytes in any case."""
    max_bodies_bytes: int = 128 * MIB
    """Batch bodies in memory at a time, in bytes, as received and inflated; beyond that 503 with Retry-After."""
    max_waiting_bytes: int = 128 * MIB
    """Events that may wait for the writer, in bytes; beyond that a push is answered 503 with Retry-After."""
    memory_limit: str = "1GB"
    """What DuckDB may use before it spills to the data directory; ``512MB``, ``4GB`` …"""
    retention: int | None = None
    """Days after which events are deleted, by their timestamps; None: they are kept."""
    threads: int = 2
    """Threads that DuckDB works with."""
    query_timeout: float = 30.0
    """Seconds after which a query is interrupted and answered 422."""
    concurrent_queries: int = 4
    """Queries that run at a time; others wait for their turn."""
    s3_endpoints: tuple[str, ...] = ()
    """URLs where S3 is spoken that transfers may use besides AWS, also at addresses that are not public."""
    concurrent_transfers: int = 2
    """Imports from S3 and exports to it that run at a time; others wait for their turn."""
    max_collections: int = 10_000
    """Collections of a project in a data directory, where each is a table; a push to one more is answered 413."""
    max_uploads: int = 16
    """Imports that are uploaded at a time; beyond that 503 with Retry-After."""
    max_downloads: int = 32
    """Exports that are downloaded at a time; beyond that 503 with Retry-After."""
    stop_timeout: int = 30
    """Seconds that accepted requests have to finish once the server is told to stop."""

    max_connections: int = 512
    """Connections at a time; beyond that the one that has idled longest is closed, or the new one answered 503."""
    client_timeout: float = 20.0
    """Seconds that a client may take for the head of a request, for the body (and one more for each 8 KiB of it), and
    for taking the answer (likewise)."""
    tls_cert: Path | None = None
    """A certificate and what leads to its root, PEM. With it, and its key, the server speaks TLS."""
    tls_key: Path | None = None
    """The certificate's private key, PEM, not encrypted."""
    metrics: str | None = None
    """HOST:PORT where ``/metrics`` is served instead of beside the other routes, in plain HTTP."""
    access_log: str | None = None
    """The file that gets a line of JSON for each request; ``-`` is stderr. None: no such log."""
    failed_keys_per_minute: int = 60
    """Wrong keys of one address before it is answered 429, and of ten addresses together for one project."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed."""

    def __post_init__(self) -> None:
        for name, lowest in (
            ("max_body_bytes", 1),
            ("max_bodies_bytes", 1),
            ("max_waiting_bytes", 1),
            ("threads", 1),
            ("concurrent_queries", 1),
            ("concurrent_transfers", 1),
            ("max_collections", 1),
            ("max_uploads", 1),
            ("max_downloads", 1),
            ("stop_timeout", 0),
            ("max_connections", 1),
            ("failed_keys_per_minute", 1),
        ):
            if getattr(self, name) < lowest:
                raise ConfigurationError(f"must be at least {lowest}, not {getattr(self, name)}", name)
        if self.threads > MAX_THREADS:
            raise ConfigurationError(f"must be at most {MAX_THREADS}, not {self.threads}", "threads")
        if not 0 <= self.port <= _MAX_PORT:
            raise ConfigurationError(f"must be between 0 and 65535, not {self.port}", "port")
        for name in ("query_timeout", "client_timeout"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"must be more than 0 seconds, not {getattr(self, name)}", name)
        if self.retention is not None and not 1 <= self.retention <= MAX_RETENTION:
            raise ConfigurationError(f"must be between 1 and {MAX_RETENTION} days, not {self.retention}", "retention")
        if not _SIZE.fullmatch(self.memory_limit):
            raise ConfigurationError(f"must be a size such as 512MB or 4GB, not {self.memory_limit!r}", "memory_limit")
        for proxy in self.trusted_proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ConfigurationError(
                    f"takes addresses or networks such as 10.0.0.0/8, not {proxy!r}", "trusted_proxies"
                ) from None
        if (self.tls_cert is None) != (self.tls_key is None):
            alone = "tls_key" if self.tls_cert is None else "tls_cert"
            raise ConfigurationError("is of no use alone: a certificate and its private key go together", alone)
        for endpoint in self.s3_endpoints:
            split_origin(endpoint)
        if self.metrics is not None:
            split_address(self.metrics)
        if self.access_log == "":
            raise ConfigurationError("must be a file, or - for stderr", "access_log")
        if not self.host:
            raise ConfigurationError("must not be empty; 127.0.0.1 is this computer", "host")


def split_origin(url: str) -> tuple[str, str, int]:
    """``https://minio.example:9000`` as scheme, host and port. Raises ConfigurationError."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        is_origin = url.rstrip("/").lower() == f"{parts.scheme}://{parts.netloc}".lower()
        if parts.hostname and is_origin and "@" not in parts.netloc:
            return parts.scheme, parts.hostname, port
    except (ValueError, KeyError):
        pass
    raise ConfigurationError(f"takes URLs such as https://minio.example:9000, not {url!r}", "s3_endpoints")


def split_address(address: str) -> tuple[str, int]:
    """``127.0.0.1:9100`` or ``[::1]:9100`` as host and port. Raises ConfigurationError."""
    found = _ADDRESS.fullmatch(address)
    if not found or int(found[3]) > _MAX_PORT:
        raise ConfigurationError(f"must be HOST:PORT such as 127.0.0.1:9100, not {address!r}", "metrics")
    return found[1] or found[2], int(found[3])
