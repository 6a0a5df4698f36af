"""Reading and writing objects: against moto's server, and against one that misbehaves."""

from __future__ import annotations

import io
import logging
import ssl
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme
from s3_server import BUCKET, KEYS, S3, Misbehaving, reply, serving_s3

from connect_logging.server.s3 import bucket as bucket_module
from connect_logging.server.s3.addresses import Credentials, Endpoint, Endpoints, Place
from connect_logging.server.s3.bucket import S3Error
from connect_logging.server.stores.base import StoppedError

TOKEN = "canary-token"
CREDENTIALS = Credentials(*KEYS.values(), TOKEN)
Serve = Callable[..., Misbehaving]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with serving_s3() as serving:
        yield serving


@pytest.fixture
def misbehaving() -> Iterator[Serve]:
    made: list[Misbehaving] = []

    def serve(*arguments: Any) -> Misbehaving:
        made.append(Misbehaving(*arguments))
        return made[-1]

    yield serve
    for server in made:
        server.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt: botocore's pauses are its own."""
    monkeypatch.setattr(bucket_module, "_ATTEMPTS", 1)


CLIENTS = bucket_module.S3(Endpoints(()))
"""Shared, as the first client takes a second. Whether an endpoint is listed it learns from that."""


def opened(url: str, key: str, **options: Any) -> Any:
    place = Endpoints((url,)).place(f"{url}/{BUCKET}/{key}", None, None, **options)
    return CLIENTS.open(place, CREDENTIALS)


def read(url: str, key: str) -> bytes:
    with opened(url, key) as bucket:
        return b"".join(bucket.read().pieces())


def test_an_object_is_read_in_pieces(s3: S3) -> None:
    content = bytes(range(256)) * 4_000
    s3.put("a folder/é 1", content)
    with opened(s3.url, "a%20folder/%C3%A9%201") as bucket:
        found = bucket.read()
        pieces = [*found.pieces()]
    assert (found.size, b"".join(pieces)) == (len(content), content)
    assert max(map(len, pieces)) <= bucket_module.PIECE_BYTES
    s3.put("empty", b"")
    assert read(s3.url, "empty") == b""


def test_an_object_has_an_identity_until_it_is_written_again(s3: S3) -> None:
    def identity(key: str) -> bytes:
        with opened(s3.url, key) as bucket:
            return bucket.read().identity

    s3.put("one", b"a")
    s3.put("two", b"a")
    before = identity("one")
    assert before == identity("one") != identity("two")
    s3.put("one", b"b")
    assert identity("one") != before


def test_an_object_is_written_below_the_place_whole_or_in_parts(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 50_000  # 12.8 MB: three parts of what S3 takes at least
    monkeypatch.setattr(bucket_module, "_PART_BYTES", 5 * 1024 * 1024)
    for name, part in (("small", content[:1_000]), ("large", content), ("nothing", b"")):
        sent: list[int] = []
        with opened(s3.url, "out", is_prefix=True) as bucket:
            bucket.write(name, io.BytesIO(part), sent.append)
        assert s3.get(f"out/{name}") == part
        assert sum(sent) == len(part)
    head = s3.client.head_object(Bucket=BUCKET, Key="out/large")
    assert (head["ContentType"], head["ETag"][-3:]) == ("application/x-ndjson", '-3"')


def test_an_upload_that_is_given_up_leaves_nothing(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "_PART_BYTES", 5 * 1024 * 1024)

    def stop(count: int) -> None:
        raise StoppedError("stopped")

    with opened(s3.url, "out", is_prefix=True) as bucket, pytest.raises(StoppedError):
        bucket.write("given up", io.BytesIO(bytes(12_000_000)), stop)
    assert s3.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []
    assert "out/given up" not in {each["Key"] for each in s3.client.list_objects_v2(Bucket=BUCKET)["Contents"]}


def test_what_s3_refuses_is_told_by_its_code(s3: S3) -> None:
    with pytest.raises(S3Error, match=r"^S3 answered NoSuchKey$"):
        read(s3.url, "none")


def reply_with_object(
    handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, length: int | None = None
) -> None:
    """``length``: what is announced; None: what there is."""
    announced = len(body) if length is None else length
    headers = {"Content-Length": str(announced), "ETag": '"e"', "Last-Modified": "Sun, 01 Mar 2026 00:00:00 GMT"}
    reply(handler, status, body, **headers)


def test_a_connection_that_breaks_is_made_again_from_where_it_was(misbehaving: Serve) -> None:
    content = bytes(range(256)) * 100
    breaks = 4

    def answer(handler: BaseHTTPRequestHandler) -> None:
        nonlocal breaks
        begin = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        end = len(content) if not breaks else begin + 5_000
        breaks -= bool(breaks)
        reply_with_object(handler, content[begin:end], 206 if begin else 200, length=len(content) - begin)
        handler.close_connection = True

    server = misbehaving(answer)
    assert read(server.url, "key") == content
    assert [headers.get("Range") for _, _, headers in server.heard] == [
        None,
        *(f"bytes={begin}-" for begin in (5_000, 10_000, 15_000, 20_000)),
    ]
    assert {headers.get("If-Match") for _, _, headers in server.heard[1:]} == {'"e"'}


def test_one_that_breaks_too_often_is_given_up(misbehaving: Serve) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        reply_with_object(handler, b"", length=10)
        handler.close_connection = True

    server = misbehaving(answer)
    with pytest.raises(S3Error):
        read(server.url, "key")
    assert len(server.heard) == 6


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(misbehaving: Serve, status: int) -> None:
    elsewhere = misbehaving(lambda handler: reply(handler, 200, b"secret"))
    server = misbehaving(lambda handler: reply(handler, status, b"", Location=f"{elsewhere.url}/bucket-1/key"))
    with pytest.raises(S3Error, match="sends the request elsewhere"):
        read(server.url, "key")
    assert elsewhere.heard == []


@pytest.mark.parametrize(
    ("status", "code"), [(301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed"), (400, "PermanentRedirect")]
)
def test_another_region_is_not_gone_to_but_asked_for(misbehaving: Serve, status: int, code: str) -> None:
    body = f"<Error><Code>{code}</Code><Region>eu-central-1</Region><Endpoint>evil.example</Endpoint></Error>".encode()
    server = misbehaving(lambda handler: reply(handler, status, body, x_amz_bucket_region="eu-central-1"))
    with pytest.raises(S3Error, match="is s3Region that of the bucket"):
        read(server.url, "key")


def test_what_s3_says_is_not_told_but_for_a_code(misbehaving: Serve) -> None:
    for code, shown in (("AccessDenied", "AccessDenied"), (f"x {TOKEN}", "with an error"), ("<b>", "403")):
        body = f"<Error><Code>{code}</Code><Message>{TOKEN}</Message></Error>".encode()
        server = misbehaving(lambda handler, body=body: reply(handler, 403, body))
        with pytest.raises(S3Error) as caught:
            read(server.url, "key")
        assert str(caught.value) == f"S3 answered {shown}"


def test_what_is_not_there_is_told_without_details() -> None:
    closed = Misbehaving(lambda handler: None)
    closed.close()
    with pytest.raises(S3Error, match=r"^S3 could not be reached: EndpointConnectionError$"):
        read(closed.url, "key")
    place = Place(Endpoint("https", "localhost", 443), "us-east-1", BUCKET, "key")
    with pytest.raises(S3Error, match="not public"), CLIENTS.open(place, CREDENTIALS):
        pass


def test_a_name_is_resolved_once_and_the_next_address_is_tried(misbehaving: Serve) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(0, 0, 0, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    server = misbehaving(lambda handler: reply_with_object(handler, b"x"))
    endpoints = Endpoints((f"http://s3.example:{server.port}",), resolve)
    place = endpoints.place(f"http://s3.example:{server.port}/{BUCKET}/key", None, None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bucket_module, "_ATTEMPTS", 2)
        with bucket_module.S3(endpoints).open(place, CREDENTIALS) as bucket:
            assert b"".join(bucket.read().pieces()) == b"x"
            assert b"".join(bucket.read().pieces()) == b"x"
    assert asked == ["s3.example"]
    assert {headers["Host"] for _, _, headers in server.heard} == {f"s3.example:{server.port}"}


@pytest.mark.parametrize(("name", "is_trusted"), [("s3.example", True), ("other.example", False)])
def test_a_certificate_must_be_for_the_name_of_the_endpoint(
    misbehaving: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, is_trusted: bool
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    server = misbehaving(lambda handler: reply_with_object(handler, b"x"), context)
    endpoint = Endpoint("https", "s3.example", server.port, is_listed=True)
    endpoints = Endpoints((), lambda host, port, **_: [(0, 0, 0, "", ("127.0.0.1", port))])
    with bucket_module.S3(endpoints).open(Place(endpoint, "us-east-1", BUCKET, "key"), CREDENTIALS) as bucket:
        if is_trusted:
            assert b"".join(bucket.read().pieces()) == b"x"
        else:
            with pytest.raises(S3Error, match="SSLError"):
                bucket.read()
    assert bool(server.heard) == is_trusted


def test_no_credential_is_in_what_is_logged_or_raised(s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    s3.put("key", b"x")
    read(s3.url, "key")
    with pytest.raises(S3Error) as caught:
        read(s3.url, "none")
    shown = caplog.text + repr(caught.getrepr(chain=True)) + repr(CREDENTIALS)
    for secret in (*KEYS.values(), TOKEN):
        assert secret not in shown


def test_nothing_of_the_surroundings_has_a_say(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies, profiles and endpoints of the environment are for other programs."""
    for name, value in (
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("http_proxy", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9"),
        ("AWS_PROFILE", "nobody"),
        ("AWS_CONFIG_FILE", "/nonexistent"),
        ("AWS_CA_BUNDLE", "/nonexistent"),
    ):
        monkeypatch.setenv(name, value)
    s3.put("key", b"x")
    assert read(s3.url, "key") == b"x"
