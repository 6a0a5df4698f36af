"""Where a transfer may go: AWS and what is listed, at public addresses, and nowhere else."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from connect_logging.exceptions import ConfigurationError
from connect_logging.server.answers import RefusedFieldsError
from connect_logging.server.s3.addresses import Endpoint, Endpoints, Place, UnreachableError
from connect_logging.server.settings import Settings, split_origin

MINIO = "https://minio.example:9000"
LOCAL = "http://127.0.0.1:9000"


def aws(region: str) -> Endpoint:
    return Endpoint("https", f"s3.{region}.amazonaws.com", 443)


def endpoints(*listed: str) -> Endpoints:
    return Endpoints(listed or (MINIO, LOCAL))


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        (("s3://bucket/a/b.json", None, None), (aws("us-east-1"), "us-east-1", "bucket", "a/b.json")),
        (("s3://bucket/a", "eu-west-1", None), (aws("eu-west-1"), "eu-west-1", "bucket", "a")),
        (("s3://bucket/a?b#c%20", None, None), (aws("us-east-1"), "us-east-1", "bucket", "a?b#c%20")),
        (("https://bucket.s3.amazonaws.com/a", None, None), (aws("us-east-1"), "us-east-1", "bucket", "a")),
        (("https://b.c.s3.eu-west-1.amazonaws.com/a%20b", None, None), (aws("eu-west-1"), "eu-west-1", "b.c", "a b")),
        (("https://bucket.s3-eu-west-1.amazonaws.com/a", None, None), (aws("eu-west-1"), "eu-west-1", "bucket", "a")),
        (
            ("https://s3.eu-west-1.amazonaws.com/bucket/a/b", None, None),
            (aws("eu-west-1"), "eu-west-1", "bucket", "a/b"),
        ),
        (("https://s3.amazonaws.com/bucket/a", "eu-west-1", None), (aws("eu-west-1"), "eu-west-1", "bucket", "a")),
        (("https://S3.AMAZONAWS.COM:443/bucket/a", None, None), (aws("us-east-1"), "us-east-1", "bucket", "a")),
        (("s3://bucket/a", None, "https://s3.eu-west-1.amazonaws.com"), (aws("eu-west-1"), "eu-west-1", "bucket", "a")),
        (
            ("s3://bucket/a", "cn-north-1", None),
            (Endpoint("https", "s3.cn-north-1.amazonaws.com.cn", 443), "cn-north-1", "bucket", "a"),
        ),
        (("s3://bucket/a", None, MINIO), (Endpoint("https", "minio.example", 9000, True), "us-east-1", "bucket", "a")),
        (
            ("s3://bucket/a", None, f"{MINIO}/"),
            (Endpoint("https", "minio.example", 9000, True), "us-east-1", "bucket", "a"),
        ),
        (
            (f"{LOCAL}/bucket/a/b", None, None),
            (Endpoint("http", "127.0.0.1", 9000, True), "us-east-1", "bucket", "a/b"),
        ),
        (
            (f"{LOCAL}/bucket/a", "eu-west-1", LOCAL),
            (Endpoint("http", "127.0.0.1", 9000, True), "eu-west-1", "bucket", "a"),
        ),
    ],
)
def test_each_form_of_an_address_leads_to_its_place(asked: tuple[Any, ...], place: tuple[Any, ...]) -> None:
    assert endpoints().place(*asked) == Place(*place)


def test_an_export_goes_into_a_folder() -> None:
    def key(path: str) -> str:
        return endpoints().place(path, None, None, is_prefix=True).key

    assert [key(path) for path in ("s3://bucket", "s3://bucket/", "s3://bucket/a", "s3://bucket/a/b/")] == [
        "",
        "",
        "a/",
        "a/b/",
    ]


@pytest.mark.parametrize(
    ("path", "region", "endpoint", "field"),
    [
        ("", None, None, "s3Path"),
        ("bucket/key", None, None, "s3Path"),
        ("s3://", None, None, "s3Path"),
        ("s3://bucket", None, None, "s3Path"),
        ("s3://bucket/folder/", None, None, "s3Path"),
        ("s3://b/key", None, None, "s3Path"),
        ("s3://BUCKET/key", None, None, "s3Path"),
        ("s3://evil.example:80@x/key", None, None, "s3Path"),
        ("s3://a..b/key", None, None, "s3Path"),
        ("s3://127.0.0.1/key", None, None, "s3Path"),
        ("s3://bucket/a/../b", None, None, "s3Path"),
        ("s3://bucket/./b", None, None, "s3Path"),
        ("s3://bucket/a\nb", None, None, "s3Path"),
        ("s3://bucket/a\x00b", None, None, "s3Path"),
        (f"s3://bucket/{'k' * 1_025}", None, None, "s3Path"),
        (f"s3://bucket/{'é' * 513}", None, None, "s3Path"),
        ("http://bucket.s3.amazonaws.com/key", None, None, "s3Path"),
        ("https://bucket.s3.amazonaws.com:444/key", None, None, "s3Path"),
        ("https://bucket.s3.amazonaws.com.evil.example/key", None, None, "s3Path"),
        ("https://evil.example/bucket.s3.amazonaws.com/key", None, None, "s3Path"),
        ("https://evils3.amazonaws.com/bucket/key", None, None, "s3Path"),
        ("https://user:pass@s3.amazonaws.com/bucket/key", None, None, "s3Path"),
        ("https://s3.amazonaws.com\\@evil.example/bucket/key", None, None, "s3Path"),
        ("https://s3.amazonaws.com/bucket/key?versionId=1", None, None, "s3Path"),
        ("https://s3.amazonaws.com/bucket/key#x", None, None, "s3Path"),
        ("https://s3.amazonaws.com/bucket/%ff", None, None, "s3Path"),
        ("https://s3.amazonaws.com/bucket/%2e%2e/key", None, None, "s3Path"),
        ("https://s3.amazonaws.com./bucket/key", None, None, "s3Path"),
        ("https://169.254.169.254/latest/meta-data", None, None, "s3Path"),
        ("http://127.0.0.1:9001/bucket/key", None, None, "s3Path"),
        ("https://127.0.0.1:9000/bucket/key", None, None, "s3Path"),
        ("file:///etc/passwd", None, None, "s3Path"),
        ("s3://bucket/key", "EU", None, "s3Region"),
        ("s3://bucket/key", "eu-west-1.evil.example/", None, "s3Region"),
        ("s3://bucket/key", "", None, "s3Region"),
        ("s3://bucket/key", None, "https://evil.example", "s3Endpoint"),
        ("s3://bucket/key", None, "http://s3.amazonaws.com", "s3Endpoint"),
        ("s3://bucket/key", None, "https://bucket.s3.amazonaws.com", "s3Endpoint"),
        ("s3://bucket/key", None, f"{MINIO}/path", "s3Endpoint"),
        ("s3://bucket/key", None, "https://minio.example", "s3Endpoint"),
        ("s3://bucket/key", None, "https://[::1", "s3Endpoint"),
        (f"{LOCAL}/bucket/key", None, MINIO, "s3Endpoint"),
        ("https://s3.amazonaws.com/bucket/key", None, MINIO, "s3Endpoint"),
    ],
)
def test_anything_else_is_refused_by_field(path: str, region: str | None, endpoint: str | None, field: str) -> None:
    with pytest.raises(RefusedFieldsError) as caught:
        endpoints().place(path, region, endpoint)
    assert list(caught.value.errors) == [field]


class Names:
    """Resolves to ``answers``, one after the other."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = [*answers]
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        if not self._answers:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self._answers.pop(0)]


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1%eth0",
    "fd00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "ff02::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_endpoint_that_resolves_to_what_is_not_public_is_refused_unless_it_is_listed(address: str) -> None:
    unlisted = Endpoints((), Names(["52.216.0.1", address]))
    with pytest.raises(UnreachableError, match="not public"):
        unlisted.addresses(aws("us-east-1"))
    url = "https://s3.us-east-1.amazonaws.com"
    listed = Endpoints((url,), Names([address]))
    assert listed.addresses(listed.place("s3://bucket/key", "us-east-1", None).endpoint) == [address]


def test_public_addresses_are_what_is_connected_to() -> None:
    found = ["52.216.0.1", "2600:1fa0::1", "::ffff:52.216.0.1"]
    names = Names([*found, found[0]])
    assert Endpoints((), names).addresses(aws("eu-west-1")) == found
    assert names.asked == ["s3.eu-west-1.amazonaws.com"]


def test_a_name_without_an_address_is_unreachable() -> None:
    with pytest.raises(UnreachableError, match="no address"):
        Endpoints((), Names()).addresses(aws("eu-west-1"))


@pytest.mark.parametrize(
    ("url", "origin", "again"),
    [
        ("https://minio.example", ("https", "minio.example", 443), "https://minio.example"),
        ("http://minio.example:80/", ("http", "minio.example", 80), "http://minio.example"),
        ("HTTP://[::1]:9000", ("http", "::1", 9000), "http://[::1]:9000"),
    ],
)
def test_a_url_of_an_endpoint_is_read(url: str, origin: tuple[str, str, int], again: str) -> None:
    assert split_origin(url) == origin
    assert Endpoint(*origin).url == again


@pytest.mark.parametrize(
    "url",
    ["", "minio", "ftp://x", "https://", "https://x/y", "https://a@b", "https://x:99999", "https://x?a", "http://[x"],
)
def test_what_is_no_url_of_an_endpoint_is_a_wrong_setting(url: str, tmp_path: Any) -> None:
    with pytest.raises(ConfigurationError, match="s3_endpoints"):
        Settings(tmp_path, s3_endpoints=(url,))
