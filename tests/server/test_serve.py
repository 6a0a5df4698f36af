"""The server as a process: it starts whole or says why not, and ends with nothing half done."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import trustme
from click.testing import CliRunner
from conftest import Serve
from server_process import ServerProcess

from connect_logging.cli import main
from connect_logging.server.projects import ProjectFile


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


def test_requests_that_were_accepted_are_finished_before_it_stops(serve: Serve) -> None:
    server = serve()
    events = [{"a": "x" * 100}] * 5_000
    begun = threading.Barrier(5)

    def push(_: int) -> int:
        with requests.Session() as session:
            headers = server.headers()
            assert session.post(server.url + "/events/c", b"{}", headers=headers, timeout=9).status_code == 200
            begun.wait(timeout=9)
            return sum(
                result["success"]
                for result in session.post(
                    server.url + "/events", json={"c": events}, headers=headers, timeout=30
                ).json()["c"]
            )

    with ThreadPoolExecutor(4) as threads:
        pushes = threads.map(push, range(4))
        begun.wait(timeout=9)
        code = server.stop()
        try:
            stored = sum(pushes)
        except requests.ConnectionError:  # a request may also have come too late, and was then not accepted
            stored = None
    assert code == 0
    server.restart()
    found = server.count("c") - 4
    print(f"stopped amid 4 batches: {found} events stored whole")
    assert found % 5_000 == 0
    assert stored is None or found == stored


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_uvicorn_listens_to_signals_is_heeded(number: signal.Signals, tmp_path: Path) -> None:
    program = f"""
import os, sys, uvicorn
from pathlib import Path
from connect_logging.server.serve import serve
from connect_logging.server.settings import Settings

def run(server, sockets, run=uvicorn.Server.run):
    os.kill(os.getpid(), {number.value})
    run(server, sockets)

uvicorn.Server.run = run
serve(Settings(Path(sys.argv[1]), port=0), on_ready=print, on_first_project=id)
print("closed in order")
"""
    command = [sys.executable, "-c", program, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("closed in order\n")


def test_ctrl_c_ends_it_as_well(serve: Serve) -> None:
    server = serve()
    server.push("c", {"a": 1})
    assert server.stop(signal.SIGINT) == 0
    assert server.errors == ""


def test_no_file_can_be_read_by_others(serve: Serve) -> None:
    server = serve()
    server.push("c", {"a": 1})
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in server.data.iterdir()}
    assert {"events.duckdb", "events.duckdb.wal", "projects.json", "lock"} <= set(modes)
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700


def test_projects_and_keys_changed_by_another_process_count_at_once(serve: Serve) -> None:
    server = serve()
    projects = ProjectFile(server.data / "projects.json")
    second = projects.create()
    headers = {"X-Project-Id": second.id, "X-Api-Key": second.keys.push}
    assert server.request("POST", "/events/c", {"id": 1}, headers=headers).status_code == 200
    assert server.request("POST", "/events/c", {"id": 1}).headers.get("X-Connect-Duplicate") is None
    assert server.count("c") == 1
    projects.reset_keys(second.id)
    assert server.request("POST", "/events/c", {}, headers=headers).status_code == 401


def test_only_a_trusted_proxy_is_believed_who_asks(serve: Serve) -> None:
    proxied = serve("proxied", options=["--failed-keys", "2", "--trusted-proxy", "127.0.0.1"])
    direct = serve("direct", options=["--failed-keys", "2", "--trusted-proxy", "192.0.2.0/24"])

    def statuses(server: ServerProcess, *addresses: str) -> list[int]:
        return [
            server.request("POST", "/events/c", {}, headers={"X-Forwarded-For": address}).status_code
            for address in addresses
        ]

    one, other = "198.51.100.1", "198.51.100.2"
    assert statuses(proxied, one, one, one, other, f"{other}, {one}", f"{one}, {other}") == [
        401,
        401,
        429,
        401,
        429,
        401,
    ]
    assert statuses(direct, one, other, "198.51.100.3") == [401, 401, 429]
    answer = direct.request("POST", "/events/c", {}, headers={})
    assert (answer.status_code, list(answer.json())) == (429, ["errorMessage"])
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    direct.push("c", {"a": 1})


def test_a_proxy_is_believed_also_where_both_kinds_of_addresses_are_listened_on(serve: Serve, tmp_path: Path) -> None:
    try:
        socket.create_server(("::", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    log = tmp_path / "access.log"
    options = ["--host", "::", "--failed-keys", "1", "--trusted-proxy", "127.0.0.1", "--access-log", str(log)]
    server = serve(options=options)

    def ask(headers: dict[str, str]) -> int:
        return requests.get(f"http://127.0.0.1:{server.port}/collections", headers=headers, timeout=9).status_code

    asked = [ask({"X-Forwarded-For": f"198.51.100.{number}"}) for number in (1, 1, 2)]
    assert (asked, ask({})) == ([401, 429, 401], 401)
    assert server.stop() == 0
    clients = [json.loads(line)["client"] for line in log.read_text().splitlines()]
    assert clients == ["198.51.100.1", "198.51.100.1", "198.51.100.2", "127.0.0.1"]


def test_a_directory_in_use_is_refused(serve: Serve) -> None:
    serve()
    with pytest.raises(RuntimeError, match=r"exit code 2\): Error: .*in use by another server"):
        serve()


def test_a_port_in_use_is_refused(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"exit code 2\\): Error: cannot listen on 127.0.0.1, port {port}"):
            serve(port=port)


def test_an_address_that_is_none_is_refused(serve: Serve) -> None:
    with pytest.raises(RuntimeError, match="exit code 2"):
        serve(options=["--host", "256.0.0.1"])


def test_it_listens_on_ipv6(serve: Serve) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    server = serve(options=["--host", "::1"])
    assert server.url.startswith("http://[::1]:")
    assert server.count("c") == 0


def test_a_damaged_database_is_said_to_be_one(serve: Serve) -> None:
    server = serve()
    server.stop()
    (server.data / "events.duckdb").write_bytes(b"x" * 10_000)
    with pytest.raises(RuntimeError, match=r"exit code 2\): Error: the events cannot be opened"):
        server.restart()


def test_a_wrong_path_gets_no_traceback(server: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
    assert "Traceback" not in server.errors


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certificate(authority: trustme.CA, directory: Path) -> list[str]:
    """The options for a new certificate of 127.0.0.1, in the same files each time."""
    issued = authority.issue_cert("127.0.0.1")
    cert, key = directory / "cert.pem", directory / "key.pem"
    issued.private_key_pem.write_to_path(key)
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return ["--tls-cert", str(cert), "--tls-key", str(key)]


def shown_certificate(server: ServerProcess, context: ssl.SSLContext) -> bytes | None:
    with (
        socket.create_connection(("127.0.0.1", server.port)) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as secure,
    ):
        return secure.getpeercert(binary_form=True)


def test_tls_metrics_of_their_own_and_an_access_log(serve: Serve, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(root := tmp_path / "root.pem")
    log = tmp_path / "access.log"
    options = [*certificate(authority, tmp_path), "--metrics", "127.0.0.1:0", "--access-log", str(log)]
    server = serve(options=options)
    assert server.url.startswith("https://127.0.0.1:")

    # TLS: verified, a renewed certificate, one that cannot be used
    assert server.request("POST", "/events/c", {"id": 1}, verify=root).status_code == 200
    with pytest.raises(requests.exceptions.SSLError):
        server.request("GET", "/health")
    context = ssl.create_default_context(cafile=root)
    first = shown_certificate(server, context)
    certificate(authority, tmp_path)
    os.kill(server.pid, signal.SIGHUP)
    while shown_certificate(server, context) == first:
        pass
    (tmp_path / "key.pem").write_text("")
    os.kill(server.pid, signal.SIGHUP)
    while "stays in use" not in server.errors:
        threading.Event().wait(0.01)
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(server.url.replace("https", "http") + "/health", timeout=9)

    # Metrics: there and nowhere else
    metrics = next(line.split()[-1] for line in server.output.splitlines() if line.startswith("Metrics on "))
    assert "connect_events_total" in requests.get(metrics, timeout=9).text
    assert server.request("GET", "/metrics", verify=root).status_code == 404
    assert (
        server.request("GET", f"/{server.keys['master']}?query={server.keys['push']}", verify=root).status_code == 404
    )

    # What is refused before it is a request is told as well
    with (
        socket.create_connection(("127.0.0.1", server.port)) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"no HTTP\r\n\r\n")
        assert secure.recv(100).startswith(b"HTTP/1.1 400 ")
    refused = 'connect_requests_total{method="other",route="other",status="400"} 1.0'
    assert refused in requests.get(metrics, timeout=9).text

    assert server.stop() == 0
    assert server.errors.count("\n") == 1, "about the certificate, and nothing else"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(each["method"], each["route"], each["status"], each["project"]) for each in lines] == [
        ("POST", "/events/{collection}", 200, server.project_id),
        ("GET", "/metrics", 404, None),
        ("GET", None, 404, None),
        ("", None, 400, None),
    ]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    for key in server.keys.values():
        assert key not in log.read_text() + server.errors + server.output


def test_it_stops_while_a_client_of_tls_idles(serve: Serve, authority: trustme.CA, tmp_path: Path) -> None:
    server = serve(options=[*certificate(authority, tmp_path), "--stop-timeout", "6"])
    authority.cert_pem.write_to_path(root := tmp_path / "root.pem")
    with requests.Session() as session:
        assert session.get(server.url + "/health", verify=root, timeout=9).status_code == 200
        assert server.stop() == 0
    assert server.errors == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metrics", "127.0.0.1"], "--metrics must be HOST:PORT"),
        (["--metrics", "256.0.0.1:0"], "cannot listen on 256.0.0.1:0 for metrics"),
        (["--metrics", "a..b:99"], "cannot listen on a..b:99 for metrics: no host has such a name"),
        (["--host", "a..b"], "cannot listen on a..b: no host has such a name"),
        (["--host", "a" * 70], "no host has such a name"),
        (["--threads", "257"], "--threads must be at most 256, not 257"),
        (["--tls-cert", "x"], "a certificate and its private key go together"),
        (["--tls-cert", "/none", "--tls-key", "/none"], "/none cannot be read"),
        (["--access-log", "/none/log"], "/none/log: No such file or directory"),
        (["--retention", "0"], "--retention must be between 1 and 36500 days, not 0"),
    ],
)
def test_an_option_that_cannot_work_is_refused_in_a_line(options: list[str], message: str, tmp_path: Path) -> None:
    mask = os.umask(0o022)
    done = CliRunner().invoke(main, ["serve", "--data", str(tmp_path / "data"), "--port", "0", *options])
    os.umask(mask)
    assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
    assert message in done.output
