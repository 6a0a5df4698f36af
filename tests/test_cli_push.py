"""``connect-logging push``: events from the command line and from standard input; what is refused."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess

import pytest
from commands import PROGRAM, done, refused, run, set_variables
from server_process import ServerProcess


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, server: ServerProcess) -> None:
    set_variables(monkeypatch, server, "push")


def test_events_are_pushed_from_the_command_line(server: ServerProcess) -> None:
    assert done("push", "typed", '{"price": 5}', '{"price": 7, "id": "a"}') == "2 events stored\n"
    assert server.query("typed", {"select": {"sum": {"sum": "price"}}}) == [{"sum": 12}]
    [answer] = done("push", "typed", '{"id": "a"}', "--json").splitlines()
    answer = json.loads(answer)
    assert (answer["success"], answer["errorMessage"], answer["httpStatusCode"]) == (True, None, 200)
    assert answer["event"]["id"] == "a"
    assert server.count("typed") == 2


def test_events_are_pushed_from_standard_input(server: ServerProcess) -> None:
    assert done("push", "piped", answer='{"n": 1}\n\n{"n": 2}\n{"n": "ü"}') == "3 events stored\n"
    assert server.count("piped") == 3


def test_what_is_refused_is_told_with_its_place_and_leaves_the_others(server: ServerProcess) -> None:
    lines = '{"n": 1}\n[1]\n{"n": \n{"_id": 1}\n{"n": 2}\n{"n": NaN}\n'
    result = run("push", "mixed", answer=lines)
    assert result.exit_code == 1
    assert result.stdout == "2 events stored\n"
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == [f"event {n}" for n in (3, 2, 4, 6)]
    result = run("push", "mixed", "--json", answer=lines)
    assert [json.loads(line)["success"] for line in result.stdout.splitlines()].count(True) == 2
    assert result.exit_code == 1


def test_of_many_faults_the_first_are_told() -> None:
    result = run("push", "faulty", *["x"] * 12)
    assert result.stderr.count("\n") == 11
    assert "12 events" in result.stderr.splitlines()[-1]


def test_a_wrong_collection_or_key_ends_it(monkeypatch: pytest.MonkeyPatch, server: ServerProcess) -> None:
    assert "collection" in refused("push", "a/b", "{}")
    monkeypatch.setenv("CONNECT_API_KEY", server.keys["query"])
    result = run("push", "c", answer="{}\n" * 100_000)
    assert result.exit_code == 2
    assert result.stdout.startswith("0 events stored")
    assert "stopped at event 1: HTTP 401" in result.stderr
    assert result.stderr.count("\n") == 1


def test_whoever_types_events_is_told_how() -> None:
    pid, terminal = pty.fork()
    if not pid:
        os.execv(PROGRAM, [PROGRAM, "push", "by-hand"])
    shown = b""
    while b"Ctrl-D" not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, b'{"n": 1}\n\x04')
    while b"1 event stored" not in shown:
        shown += os.read(terminal, 1024)
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)


def test_what_is_stored_when_it_is_interrupted_is_told(server: ServerProcess) -> None:
    with subprocess.Popen(
        [PROGRAM, "push", "interrupted"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdin is not None
        process.stdin.write('{"n": 1}\n')
        process.stdin.flush()
        while server.count("interrupted") < 1:
            pass
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
        assert out in ("1 event stored\n", "0 events stored; of 1 it is not known\n"), "the answer was on its way"
        assert process.returncode == 130


def test_an_empty_argument_is_a_mistake_and_an_empty_line_is_none() -> None:
    result = run("push", "empty", "", '{"n": 1}')
    assert result.exit_code == 1
    assert "event 1: no JSON" in result.stderr
    assert "1 event stored" in result.stdout
    assert run("push", "empty", answer='\n{"n": 2}\n\n').exit_code == 0


def test_a_stream_is_pushed_while_it_comes_and_ctrl_c_ends_it(server: ServerProcess) -> None:
    command = [PROGRAM, "push", "stream", "--json"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for n in range(3):
            process.stdin.write(b'{"n": %d}\n' % n)
            process.stdin.flush()
            while server.count("stream") <= n:
                pass
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b""
