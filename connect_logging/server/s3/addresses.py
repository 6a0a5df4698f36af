"""From what a request says to an object's place, if this server may go there.

Invariants: an endpoint is one of AWS, by HTTPS, or one that the server's own settings list; its host is never made from
text of a request but for a region, which has a strict form; what an unlisted one resolves to is public. It is resolved
once, and the addresses found are the ones to connect to.

    s3://bucket/key                                 at the endpoint of s3Endpoint, or AWS in s3Region
    https://bucket.s3.amazonaws.com/key             and with a region: bucket.s3.eu-west-1.amazonaws.com
    https://s3.eu-west-1.amazonaws.com/bucket/key   also at a listed endpoint: http://minio.example:9000/bucket/key
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from ...exceptions import ConfigurationError, ConnectError
from ..answers import RefusedFieldsError
from ..settings import split_origin

DEFAULT_REGION: Final = "us-east-1"
MAX_KEY_BYTES: Final = 1_024
"""S3's own limit."""

A_REGION: Final = "[a-z]{2,3}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}"
_REGION = re.compile(A_REGION)
_AWS_HOST = re.compile(rf"(?:(?P<bucket>[a-z0-9.-]+)\.)?s3(?:[.-](?P<region>{A_REGION}))?\.amazonaws\.com(?:\.cn)?")
_BUCKET = re.compile(r"(?![0-9.]+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PATH_FORMS: Final = (
    "s3://bucket/key, https://bucket.s3.amazonaws.com/key, or a URL at an endpoint that this server lists"
)
_SPECIAL_NETWORKS: Final = tuple(
    map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
)
"""Global by name, but what stands for any address of IPv4 in them may be private."""

Resolve = Callable[..., Iterable[tuple[Any, ...]]]
"""As socket.getaddrinfo."""


class UnreachableError(ConnectError):
    """The endpoint has no address, or one that is not public."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where S3 is spoken. ``is_listed``: in the server's settings, so that it may have any address."""

    scheme: str
    host: str
    port: int
    is_listed: bool = False

    @property
    def url(self) -> str:
        """Scheme, host and, where it is not the scheme's own, port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_usual = (self.scheme, self.port) in (("http", 80), ("https", 443))
        return f"{self.scheme}://{host}" + ("" if is_usual else f":{self.port}")


@dataclass(frozen=True, slots=True)
class Place:
    """A key in a bucket; of an export the beginning of one, empty or with a slash at its end."""

    endpoint: Endpoint
    region: str
    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of AWS, or of what speaks S3 as it does. Nothing shows or keeps them."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class _At(NamedTuple):
    """An address that may be used: a listed endpoint, or AWS when that is None; with what its host says besides."""

    listed: Endpoint | None = None
    region: str | None = None
    bucket: str | None = None


class Endpoints:
    """AWS, and what is ``listed`` by URL. ``resolve``: names to addresses.

    Raises ConfigurationError for what is no URL of an endpoint.
    """

    def __init__(self, listed: Iterable[str], resolve: Resolve = socket.getaddrinfo) -> None:
        self._listed = {split_origin(url) for url in listed}
        self._resolve = resolve

    def place(self, path: str, region: str | None, endpoint: str | None, *, is_prefix: bool = False) -> Place:
        """Where ``s3Path``, ``s3Region`` and ``s3Endpoint`` lead. ``is_prefix``: to a folder rather than an object.

        Raises RefusedFieldsError.
        """
        if region is not None and not _REGION.fullmatch(region):
            raise RefusedFieldsError({"s3Region": "a region such as eu-west-1"})
        at = _At() if endpoint is None else self._at(endpoint)
        if at is None or at.bucket:
            raise RefusedFieldsError({"s3Endpoint": "none that this server may use: AWS, or one that it lists"})
        if path.startswith("s3://"):
            bucket, _, key = path.removeprefix("s3://").partition("/")
        else:
            found, bucket, key = self._from_url(path)
            if endpoint is not None and at != found._replace(bucket=None):
                raise RefusedFieldsError({"s3Endpoint": "another one than that of s3Path"})
            at = found
        region = region or at.region or DEFAULT_REGION
        return Place(at.listed or self._aws(region), region, _checked_bucket(bucket), _checked_key(key, is_prefix))

    def addresses(self, endpoint: Endpoint) -> list[str]:
        """The addresses of an endpoint, to connect to and to no others. Blocks. Raises UnreachableError."""
        try:
            found = self._resolve(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except OSError:
            raise UnreachableError(f"{endpoint.host} has no address") from None
        addresses = [*dict.fromkeys(str(each[4][0]) for each in found)]
        if not endpoint.is_listed and not all(map(_is_public, addresses)):
            raise UnreachableError(f"{endpoint.host} has an address that is not public, and is not listed")
        return addresses

    def _from_url(self, path: str) -> tuple[_At, str, str]:
        """Address, bucket and key of a URL."""
        scheme, _, rest = path.partition("://")
        host, _, rest = rest.partition("/")
        at = self._at(f"{scheme}://{host}")
        if at is None or "?" in rest or "#" in rest:
            raise RefusedFieldsError({"s3Path": _PATH_FORMS})
        try:
            rest = unquote(rest, errors="strict")
        except UnicodeDecodeError:
            raise RefusedFieldsError({"s3Path": "what is percent-encoded must be UTF-8"}) from None
        if at.bucket:
            return at, at.bucket, rest
        bucket, _, key = rest.partition("/")
        return at, bucket, key

    def _at(self, url: str) -> _At | None:
        try:
            origin = split_origin(url)
        except ConfigurationError:
            return None
        scheme, host, port = origin
        aws = _AWS_HOST.fullmatch(host)
        if origin in self._listed:
            return _At(Endpoint(scheme, host, port, is_listed=True), aws and aws["region"])
        return _At(None, aws["region"], aws["bucket"]) if aws and (scheme, port) == ("https", 443) else None

    def _aws(self, region: str) -> Endpoint:
        """Without the bucket, which some of AWS's hosts have in their name."""
        host = f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
        return Endpoint("https", host, 443, is_listed=("https", host, 443) in self._listed)


def _checked_bucket(bucket: str) -> str:
    if not _BUCKET.fullmatch(bucket):
        raise RefusedFieldsError({"s3Path": "a bucket's name has 3 to 63 of a-z, 0-9, '.' and '-'"})
    return bucket


def _checked_key(key: str, is_prefix: bool) -> str:
    if is_prefix and key and not key.endswith("/"):
        key += "/"
    if not is_prefix and (not key or key.endswith("/")):
        raise RefusedFieldsError({"s3Path": "an object, not a bucket or a folder"})
    if len(key.encode()) > MAX_KEY_BYTES - is_prefix * len("0" * 24 + ".json"):
        raise RefusedFieldsError({"s3Path": f"a key has at most {MAX_KEY_BYTES:,} bytes"})
    if _CONTROL.search(key) or {".", ".."} & {*key.split("/")}:
        raise RefusedFieldsError({"s3Path": "no control characters in a key, and no part of it . or .."})
    return key


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return found.ipv4_mapped.is_global
        if any(found in network for network in _SPECIAL_NETWORKS):
            return False
    return found.is_global and not found.is_multicast
