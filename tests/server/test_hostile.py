"""Whatever a client sends: no 500, an answer of the right shape, and a server that goes on serving.

What the app understands of a request is in test_app.py, what a connection may do in test_connection.py; here are the
requests that nobody sends by accident.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPResponse
from typing import NamedTuple
from urllib.parse import quote

import pytest
import requests
from server_process import ServerProcess

PATIENCE = 1.5
"""Seconds that the impatient server waits for a client."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    options = ["--failed-keys", "1000000"]
    running = ServerProcess(tmp_path_factory.mktemp("hostile") / "data", options=options)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    options = ["--client-timeout", str(PATIENCE), "--max-connections", "40"]
    running = ServerProcess(tmp_path_factory.mktemp("impatient") / "data", options=options)
    yield running
    assert running.stop() == 0
    assert running.errors == ""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def send(server: ServerProcess, method: str, target: str, body: bytes = b"", *more: str) -> Answer:
    """Send exactly this, with the master key unless ``more``, further lines of the head, has a key."""
    named = {line.partition(":")[0].lower() for line in more}
    lines = [] if "x-api-key" in named else [f"X-Api-Key: {server.keys['master']}"]
    lines += [] if "x-project-id" in named else [f"X-Project-Id: {server.project_id}"]
    lines += [] if "transfer-encoding" in named else [f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, *more, "", ""])
    with connect(server, head.encode("latin-1") + body) as raw, closing(HTTPResponse(raw, method=method)) as answer:
        answer.begin()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def connect(server: ServerProcess, said: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(said)
    return connection


def check(answer: Answer, *, is_batch: bool = False) -> None:
    """The rules by which SDKs read an answer, and none of ours broken by what was sent."""
    assert answer.status < 500, answer.body[:500]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["content-type"] == "application/json"
    assert all(value.isprintable() and len(value) < 300 for value in answer.headers.values())
    assert b"Traceback" not in answer.body
    if answer.status < 300:
        return
    document = json.loads(answer.body)
    if answer.status == 422:
        assert not is_batch
        assert [set(error) for error in document["errors"]] == [{"field", "description"}] * len(document["errors"])
    else:
        assert list(document) == ["errorMessage"]
        assert len(document["errorMessage"]) < 2_000, "what was sent comes not back as a whole"


DEEP = 30_000
OBJECTS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    # what is sent as an event, and how it may be answered
    "deep lists": (b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}", (400, 422)),
    "deep objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, (400, 422)),
    "unclosed lists": (b'{"a":' + b"[" * 60_000, (400,)),
    "10**5000": (b'{"a":1' + b"0" * 5_000 + b"}", (400, 422)),
    "-10**5000": (b'{"a":-1' + b"0" * 5_000 + b"}", (400, 422)),
    "1e400": (b'{"a":1e400}', (400,)),
    "-1e400": (b'{"a":-1e400}', (400,)),
    "1e-400": (b'{"a":1e-400}', (200,)),
    "a long exponent": (b'{"a":1e' + b"9" * 5_000 + b"}", (400,)),
    "many digits": (b'{"a":0.' + b"3" * 60_000 + b"}", (200, 400)),
    "2**64": (b'{"a":18446744073709551616}', (400, 422)),
    "minus zero": (b'{"a":-0.0}', (200,)),
    "a leading zero": (b'{"a":01}', (400,)),
    "NaN": (b'{"a":NaN}', (400,)),
    "Infinity": (b'{"a":-Infinity}', (400,)),
    "a name twice": (b'{"a":1,"a":2,"b":{"c":1,"c":2}}', (200,)),
    "an id twice": (b'{"id":1,"id":2}', (200,)),
    "names that differ by case": (b'{"a":1,"A":2,"\xc3\xa9":3,"\xc3\x89":4}', (200,)),
    "names that look alike": ('{"é":1,"e\u0301":2,"ﬁ":3,"fi":4,"K":5,"K":6}'.encode(), (200,)),
    "an empty name": (b'{"":1,"b":{"":2}}', (200, 422)),
    "a name of SQL": (b'{"a\\"; DROP TABLE events; --":1,"\' OR 1=1":2,"a\\\\":3,"$[0]":4}', (200, 422)),
    "a prototype": (b'{"__proto__":{"x":1},"constructor":2}', (200,)),
    "a long name": (b'{"' + "é".encode() * 255 + b'":1}', (200,)),
    "a longer name": (b'{"' + "é".encode() * 256 + b'":1}', (422,)),
    "NUL in a text": (b'{"a":"x\\u0000y"}', (200, 422)),
    "NUL in a name": (b'{"a\\u0000b":1}', (200, 422)),
    "NUL in an id": (b'{"id":"x\\u0000y"}', (200, 422)),
    "NUL as it is": (b'{"a":"x\x00y"}', (400,)),
    "a lone surrogate": (b'{"a":"\\ud800"}', (400,)),
    "a lone surrogate in a name": (b'{"\\udc00":1}', (400,)),
    "not UTF-8": (b'{"a":"\xff\xfe"}', (400,)),
    "not UTF-8 in a name": (b'{"\xc3":1}', (400,)),
    "overlong UTF-8": (b'{"a":"\xc0\xaf"}', (400,)),
    "UTF-16": ('{"a":1}'.encode("utf-16"), (400,)),
    "a byte order mark": (b'\xef\xbb\xbf{"a":1}', (400,)),
    "two documents": (b"{}{}", (400,)),
    "a comment": (b'{"a":1/*x*/}', (400,)),
    "single quotes": (b"{'a':1}", (400,)),
    "nothing": (b"", (400,)),
    "blanks": (b" " * 60_000, (400,)),
    "a text": (b'"x"', (400,)),
    "null": (b"null", (400,)),
    "40,000 names": (b'{"x":1' + b"".join(b',"%x":1' % each for each in range(6_000)) + b"}", (200, 422)),
    "an empty id": (b'{"id":""}', (200, 422)),
    "an id of 60,000": (b'{"id":"' + b"i" * 60_000 + b'"}', (200, 422)),
    "an id that is a list": (b'{"id":[1]}', (422,)),
    "the year 0": (b'{"timestamp":"0000-01-01T00:00:00Z"}', (422,)),
    "before the year 1": (b'{"timestamp":"0001-01-01T00:00:00+14:00"}', (422,)),
    "after the year 9999": (b'{"timestamp":"9999-12-31T23:59:59-14:00"}', (422,)),
    "the year 9999": (b'{"timestamp":"9999-12-31T23:59:59.999999Z"}', (200,)),
    "the year 1": (b'{"timestamp":"0001-01-01T00:00:00Z"}', (200,)),
    "the 30th of February": (b'{"timestamp":"2026-02-30T00:00:00Z"}', (422,)),
    "digits of another script": ('{"timestamp":"\uff12\uff10\uff12\uff16-01-01T00:00:00Z"}'.encode(), (422,)),
}


@pytest.mark.parametrize(("event", "statuses"), OBJECTS.values(), ids=OBJECTS)
def test_a_hostile_event(server: ServerProcess, event: bytes, statuses: tuple[int, ...]) -> None:
    answer = send(server, "POST", "/events/hostile", event)
    check(answer)
    assert answer.status in statuses
    batch = send(server, "POST", "/events", b'{"hostile batch":[{"good":1},' + event + b"]}")
    check(batch, is_batch=True)
    assert batch.status in (200, 400)
    if batch.status == 200:
        results = json.loads(batch.body)["hostile batch"]
        assert results[0]["success"], "one bad event leaves the others as they are"


BAD_NAMES = ("", "../x", "a\0", "e\u0301", "ﬁ", " ", "x" * 300, "'; --")
BATCHES = {
    "a collection twice": b'{"a":[{}],"a":[{}]}',
    "bad names": json.dumps({name: [{}] for name in BAD_NAMES}).encode(),
    "a name that is no text": b"{1:[{}]}",
    "no list": b'{"a":{"b":1}}',
    "lists in lists": b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "30,000 collections": b"{" + b",".join(b'"c%d":[]' % each for each in range(30_000)) + b"}",
    "too many events": b'{"a":[' + b"{}," * 50_000 + b"{}]}",
    "events that are none": b'{"a":[1,null,"x",[],true]}',
    "a name that is not UTF-8": b'{"\xff":[{}]}',
}


@pytest.mark.parametrize("body", BATCHES.values(), ids=BATCHES)
def test_a_hostile_batch(server: ServerProcess, body: bytes) -> None:
    answer = send(server, "POST", "/events", body)
    check(answer, is_batch=True)
    assert answer.status in (200, 400, 413)


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


MIB = 2**20
CHUNKS = "Transfer-Encoding: chunked"
GZIP = "Content-Encoding: gzip"
BODIES: dict[str, tuple[bytes, tuple[str, ...], int, int]] = {
    # body, lines of the head, status for an event, status for a batch
    "chunks over the limit of an event": (chunked(b" " * 70_000), (CHUNKS,), 413, 400),
    "chunks over the limit of a batch": (chunked(*[b" " * MIB] * 33), (CHUNKS,), 413, 413),
    "chunks of a byte": (chunked(*[b"{", b"}"] + [b" "] * 9_998), (CHUNKS,), 200, 200),
    "a gzip bomb": (gzip.compress(bytes(40 * MIB)), (GZIP,), 413, 413),
    "a gzip bomb in chunks": (chunked(gzip.compress(bytes(40 * MIB))), (GZIP, CHUNKS), 413, 413),
    "many gzip bombs": (gzip.compress(bytes(MIB)) * 40, (GZIP,), 413, 413),
    "many gzip members of nothing": (gzip.compress(b"") * 3_000, (GZIP,), 400, 400),
    "gzip in gzip": (gzip.compress(gzip.compress(b"{}")), (GZIP,), 400, 400),
    "half a gzip": (gzip.compress(b"{}")[:-4], (GZIP,), 400, 400),
    "a gzip of another length": (gzip.compress(b"{}")[:-1] + b"\x01", (GZIP,), 400, 400),
    "gzip twice": (gzip.compress(b"{}"), ("Content-Encoding: gzip, gzip",), 415, 415),
    "brotli": (b"{}", ("Content-Encoding: br",), 415, 415),
    "an encoding of nonsense": (b"{}", ("Content-Encoding: " + "x" * 5_000,), 415, 415),
    "another type": (b"{}", ("Content-Type: text/html; charset=utf-7",), 200, 200),
}


@pytest.mark.parametrize(("body", "lines", "single", "batch"), BODIES.values(), ids=BODIES)
def test_a_hostile_body(server: ServerProcess, body: bytes, lines: tuple[str, ...], single: int, batch: int) -> None:
    for target, status in (("/events/bodies", single), ("/events", batch)):
        answer = send(server, "POST", target, body, *lines)
        check(answer, is_batch=target == "/events")
        assert answer.status == status, target


NAMES: dict[str, tuple[str, int]] = {
    # a collection as it stands in a path, and the status of a push
    "up": ("..", 422),
    "up, escaped": ("%2e%2e", 422),
    "up, with a slash": ("..%2f..%2fetc%2fpasswd", 404),
    "up, with a backslash": ("..%5c..%5cx", 422),
    "up, escaped twice": ("%252e%252e%252f", 422),
    "NUL": ("a%00b", 422),
    "NUL alone": ("%00", 422),
    "a line": ("a%0d%0aSet-Cookie:%20x=1", 422),
    "not UTF-8": ("%ff%fe", 422),
    "overlong UTF-8": ("%c0%ae%c0%ae", 422),
    "half an escape": ("%", 422),
    "no escape": ("%zz", 422),
    "a lone surrogate": ("%ed%a0%80", 422),
    "SQL": ("x%27%3B%20DROP%20TABLE%20events%3B--", 422),
    "quoted": ("%22x%22", 422),
    "a fullwidth letter": (quote("\uff21"), 422),
    "a ligature": (quote("ﬁ"), 422),
    "decomposed": (quote("e\u0301"), 422),
    "from right to left": (quote("\u202egnp"), 422),
    "no width": (quote("a\u200bb"), 422),
    "a private letter": (quote("\ue000"), 422),
    "255": ("x" * 255, 200),
    "256": ("x" * 256, 422),
    "255 of four bytes": (quote("𐐀") * 255, 200),
    "a blank": ("%20", 422),
    "a blank at the end": ("x+", 422),
    "a device": ("CON", 200),
    "a word of SQL": ("select", 200),
    "a word of routes": ("export", 200),
    "a word of answers": ("errorMessage", 422),
    "a parameter": ("%7Bcollection%7D", 422),
    "a path parameter": ("x;jsessionid=1", 422),
}


@pytest.mark.parametrize(("name", "status"), NAMES.values(), ids=NAMES)
def test_a_hostile_name_of_a_collection(server: ServerProcess, name: str, status: int) -> None:
    for method, target, expected in (
        ("POST", f"/events/{name}", status),
        ("GET", f"/events/{name}?query=%7B%7D", status),
        ("GET", f"/collections/{name}", status),
        ("DELETE", f"/collections/{name}", status),
    ):
        answer = send(server, method, target, b"{}" if method == "POST" else b"")
        check(answer)
        assert answer.status == expected, f"{method} {target}"
        assert "set-cookie" not in answer.headers


TWINS = ["Twin", "twin", "TWIN", "tw\u0131n", "\u0442win", "Twin.", "é", "É"]


def test_names_that_look_alike_are_not_one(server: ServerProcess) -> None:
    for number, name in enumerate(TWINS, 1):
        server.push(name, *({"id": n} for n in range(number)))
    counted = {each["name"]: each["events"] for each in server.request("GET", "/collections").json()["collections"]}
    assert [counted[name] for name in TWINS] == list(range(1, len(TWINS) + 1))
    assert server.request("DELETE", "/collections/twin").status_code == 200
    assert [server.count(name) for name in TWINS] == [1, 0, 3, 4, 5, 6, 7, 8]


PROPERTIES = ['a"b', "a'b", "a;b", "a\\", "$", "*", "?", "%", "_", "x\ny", "a\0b", "\u202e", "A", "a", "é", "e\u0301"]
PROPERTIES += ["select", "timestamp2", "document", "rowid", "0", "-1", "[0]", "$[0]", "/x", "{}", "x" * 255]


def test_hostile_names_of_properties_are_names_and_nothing_else(server: ServerProcess) -> None:
    stored = [
        name
        for number, name in enumerate(PROPERTIES, 1)
        if server.request("POST", "/events/properties", {name: number, "in": {name: number}}).status_code == 200
    ]
    assert len(stored) >= len(PROPERTIES) - 1, "NUL apart, a store keeps every name"
    for name in stored:
        number = PROPERTIES.index(name) + 1
        for path in (name, f"in.{name}"):
            query = {"select": {"n": "count", "s": {"sum": path}}, "filter": {path: {"exists": True}}, "groupBy": path}
            assert server.query("properties", query) == [{path: number, "n": 1, "s": number}], path
            assert server.query("properties", {"select": {"n": "count"}, "filter": {path: number}}) == [{"n": 1}]


QUERIES = {
    "deep": '{"filter":{"a":' + "[" * 20_000,
    "deep and whole": '{"filter":{"a":' + "[" * 9_000 + "]" * 9_000 + "}}",
    "deep alternatives": '{"filter":' + '{"or":[' * 2_000 + "{}" + "]}" * 2_000 + "}",
    "10**5000": '{"filter":{"a":1' + "0" * 5_000 + "}}",
    "1e400": '{"filter":{"a":1e400}}',
    "NaN": '{"filter":{"a":NaN}}',
    "a name twice": '{"select":{"a":"count"},"select":{"b":"count"}}',
    "NUL": '{"filter":{"a":"\\u0000"},"groupBy":"\\u0000"}',
    "a lone surrogate": '{"filter":{"a":"\\ud800"},"select":{"\\udfff":"count"}}',
    "an empty path": '{"groupBy":["","a..b",".","a."]}',
    "a long path": json.dumps({"groupBy": ".".join("a" * 1_000)}),
    "a path of 5,000": json.dumps({"groupBy": "a" * 5_000}),
    "SQL": json.dumps({"filter": {"a' OR 1=1 --": "' OR 1=1 --"}, "groupBy": 'x") UNION SELECT 1 --'}),
    "SQL for an operator": '{"filter":{"a":{"= 1 OR 1":1}}}',
    "SQL for a function": '{"select":{"a":{"sum(1); --":"b"}}}',
    "a prototype": '{"__proto__":{"select":1},"constructor":{}}',
    "like": '{"filter":{"a":{"contains":"%_\\\\"},"b":{"startsWith":"\\\\%"}}}',
    "a long text": json.dumps({"filter": {"a": "x" * 60_000}}),
    "many values": json.dumps({"filter": {"a": {"in": list(range(10_000))}}}),
    "many groups": json.dumps({"groupBy": [f"g{n}" for n in range(3_000)]}),
    "a comment": "/*" * 5_000 + "{}",
    "blanks": " " * 20_000,
    "JSON5": "{filter:{a:+.5e-1,b:0x10,'c':'\\\n',},}",
    "a zone of nonsense": '{"timezone":"../../etc/passwd","timeframe":"today"}',
    "a zone of NUL": '{"timezone":"\\u0000","timeframe":"today"}',
    "a zone of infinity": '{"timezone":1e308,"timeframe":"today"}',
    "a timeframe without end": '{"timeframe":{"previous":{"years":99999999999999}}}',
    "a timeframe before all": '{"timeframe":{"start":"0001-01-01T00:00:00+14:00"}}',
    "text": "DROP TABLE events",
    "empty": "",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_hostile_query(server: ServerProcess, query: str) -> None:
    text = quote(query)
    answer = send(server, "GET", f"/events/hostile?query={text}")
    check(answer)
    assert answer.status in ((200, 422) if len(text) < 65_000 else (414,))


TARGETS: dict[str, tuple[str, str, int]] = {
    "a parameter that is not UTF-8": ("GET", "/events/x?query=%ff%fe", 422),
    "a parameter twice": ("GET", "/events/x?query=%7B%7D&query=x", 422),
    "another parameter": ("GET", "/events/x?callback=alert(1)&query=%7B%7D", 200),
    "a fragment": ("GET", "/events/x?query=%7B%7D#x", 200),
    "many parameters": ("GET", "/events/x?" + "a=1&" * 10_000 + "query=%7B%7D", 200),
    "a long target": ("GET", "/events/x?query=" + "x" * 70_000, 414),
    "a page of another host": ("GET", "http://evil.example/events/x?query=%7B%7D", 200),
    "slashes": ("GET", "/" * 1_000 + "events/x?query=%7B%7D", 200),
    "dots": ("GET", "/./events/../events/x?query=%7B%7D", 404),
    "a file": ("GET", "/..%2f..%2fprojects.json", 404),
    "a method": ("TRACE", "/events", 405),
    "a method of WebDAV": ("PROPFIND", "/events", 405),
}


@pytest.mark.parametrize(("method", "target", "status"), TARGETS.values(), ids=TARGETS)
def test_a_hostile_target(server: ServerProcess, method: str, target: str, status: int) -> None:
    answer = send(server, method, target)
    check(answer)
    assert answer.status == status


HEADS: dict[str, tuple[tuple[str, ...], int]] = {
    "a long field": (("X-Long: " + "x" * 70_000,), 431),
    "many fields": (("X: y",) * 200, 431),
    "a host of nonsense": (('Host: evil.example"><script>',), 200),
    "a long key": (("X-Api-Key: " + "f" * 32 + "-" + "0" * 60_000,), 401),
    "a key of latin letters": (("X-Api-Key: \xff\xfe",), 401),
    "a project of latin letters": (("X-Project-Id: \xe9",), 401),
    "a long project": (("X-Project-Id: " + "f" * 60_000,), 401),
    "forwarded by nobody": (("X-Forwarded-For: 127.0.0.1, \xff", "X-Forwarded-Proto: javascript"), 200),
    "a condition": (('If-None-Match: "' + "x" * 5_000, "If-Modified-Since: never"), 200),
    "a range": (("Range: bytes=0-1,2-3,9-",), 200),
    "an upgrade": (("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAA"), 200),
    "a type": (("Accept: text/html", "Accept-Encoding: br;q=\xff"), 200),
    "another method": (("X-HTTP-Method-Override: DELETE",), 200),
    "a body for a question": (("Expect: 100-continue",), 200),
}


@pytest.mark.parametrize(("lines", "status"), HEADS.values(), ids=HEADS)
def test_a_hostile_head(server: ServerProcess, lines: tuple[str, ...], status: int) -> None:
    answer = send(server, "GET", "/events/x?query=%7B%7D", b"", *lines)
    check(answer)
    assert answer.status == status


# --- slow clients, and many


def trickle(connection: socket.socket, seconds: float) -> bytes:
    """What the server says to a client that sends a byte now and then, until it is cut off."""
    connection.settimeout(0.05)
    end = time.monotonic() + seconds
    said = b""
    while time.monotonic() < end:
        try:
            connection.sendall(b"x")
            part = connection.recv(10_000)
        except TimeoutError:
            continue
        except OSError:
            break
        said += part
        if not part:
            break
    else:
        raise AssertionError(f"not cut off within {seconds} seconds")
    return said


def test_slow_clients_are_cut_off_and_others_are_served_meanwhile(impatient: ServerProcess) -> None:
    credentials = "".join(f"{name}: {value}\r\n" for name, value in impatient.headers().items())
    framing = "Content-Length: 1000\r\n\r\n"
    slow = {
        b"GET /events/x HTTP/1.1\r\nX: ": 408,
        f"POST /events/slow HTTP/1.1\r\n{credentials}{framing}".encode(): 408,
        f"POST /events HTTP/1.1\r\n{credentials}{framing}".encode(): 408,
        f"POST /events HTTP/1.1\r\n{framing}".encode(): 401,
    }
    said: dict[bytes, bytes] = {}

    def be_slow(start: bytes) -> None:
        with connect(impatient, start) as connection:
            said[start] = trickle(connection, 10)

    threads = [threading.Thread(target=be_slow, args=(start,)) for start in slow]
    for thread in threads:
        thread.start()
    longest = served = 0.0
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        assert impatient.request("POST", "/events/meanwhile", {}).status_code == 200
        longest, served = max(longest, time.monotonic() - began), served + 1
    for thread in threads:
        thread.join()
    for start, status in slow.items():
        head, _, body = said[start].partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"access-control-allow-origin: *" in head
        assert list(json.loads(body)) == ["errorMessage"]
    assert served > 5
    print(f"slow clients: 4 cut off, {served:.0f} pushes served meanwhile, the longest in {1_000 * longest:.0f} ms")


def test_a_flood_of_silent_connections_locks_out_nobody(impatient: ServerProcess) -> None:
    silent = [connect(impatient, said) for said in (b"", b"GET /", b"POST /events HTTP/1.1\r\n") for _ in range(50)]
    try:
        for _ in range(20):
            assert impatient.request("POST", "/events/flood", {}).status_code == 200
    finally:
        for connection in silent:
            connection.close()
    assert impatient.count("flood") == 20


def test_it_is_well_in_the_end(server: ServerProcess) -> None:
    """After all of the above, in this process."""
    with requests.Session() as session:
        for number in range(20):
            answer = session.post(server.url + "/events/end", json={"id": number}, headers=server.headers(), timeout=10)
            assert answer.status_code == 200
    assert server.count("end") == 20
    assert server.errors == ""
