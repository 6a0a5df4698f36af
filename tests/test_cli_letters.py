"""``connect-logging dead-letters``: what was refused is shown, and sent again once; nothing is lost on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from oracle import Exchange, Oracle, error_body
from oracle_faults import Hang, RefuseBatch, Status
from pushing import CANARY, MakeHandler, logger_with
from server_process import ServerProcess

from connect_logging._dead_letter import DeadLetterLog
from connect_logging.cli import main

COMMAND = [sys.executable, "-W", "error", "-m", "connect_logging.cli", "dead-letters", "replay"]


def run(*arguments: Any, url: str = "http://127.0.0.1:9", **env: str) -> Result:
    env = {"CONNECT_PROJECT_ID": "project", "CONNECT_API_KEY": CANARY, "CONNECT_BASE_URL": url, **env}
    result = CliRunner().invoke(main, ["dead-letters", *map(str, arguments)], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert CANARY not in result.output
    return result


def replay(oracle: Oracle, code: int, *arguments: Any) -> str:
    result = run("replay", *arguments, url=oracle.url)
    assert result.exit_code == code, result.output
    return result.output


def listed(*paths: Path) -> list[dict[str, Any]]:
    result = run("list", *paths, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def write(path: Path, *events: dict[str, Any] | str, collection: str = "things", reason: str = "no") -> None:
    """Dead letters by the writer of handlers and clients."""
    with closing(DeadLetterLog(path, time.time)) as log:
        for event in events:
            log.write(collection, event, reason)


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"e{number}", "timestamp": "2026-01-02T03:04:05.678900Z", **more}


def ids(oracle: Oracle, collection: str = "things") -> list[str]:
    return sorted(each["id"] for each in oracle.events(collection))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "refused.log"


# The whole way


def test_what_a_handler_buried_is_replayed_when_the_cause_is_mended(
    path: Path, oracle: Oracle, make_handler: MakeHandler, server: ServerProcess
) -> None:
    oracle.fail(RefuseBatch(), None)
    handler = make_handler(dead_letters=path)
    with logger_with(handler) as log:
        for number in range(3):
            extra = {"collection": "replayed", "event": {"poison": True, "number": number, "price": 0.1, "name": "Zoë"}}
            log.info("", extra=extra)
        log.info("", extra={"collection": "replayed", "event": {"bad": float("nan")}})
        assert handler.flush()
    letters = listed(path)
    assert [letter["replayable"] for letter in sorted(letters, key=lambda letter: letter["line"])].count(True) == 3
    sent = [json.loads(payload) for seen in oracle.seen.values() for payload in seen.payloads]
    assert sorted((letter["event"] for letter in letters if letter["replayable"]), key=str) == sorted(sent, key=str)

    output = replay(oracle, 1, path)
    assert "left: 3 events refused again, with the new reason" in output
    assert "left: 1 event that cannot be replayed" in output
    copy = Path(shutil.copy(path, f"{path}.copy"))

    address = {"CONNECT_PROJECT_ID": server.project_id, "CONNECT_API_KEY": server.keys["push"]}
    first = run("replay", path, url=server.url, **address)
    assert (first.exit_code, first.stdout.splitlines()[0]) == (1, "3 events sent")
    assert [letter["replayable"] for letter in listed(path)] == [False]
    again = run("replay", copy, url=server.url, **address)
    assert again.stdout.splitlines()[:2] == ["0 events sent", "3 events stored already"]
    rows = server.query("replayed", {"select": {"n": "count", "sum": {"sum": "number"}}, "groupBy": "name"})
    assert rows == [{"name": "Zoë", "n": 3, "sum": 3}]


def test_ids_and_timestamps_are_kept_and_the_file_is_left_empty(path: Path, oracle: Oracle) -> None:
    events = [event(number, value=[1.5, None, {"ä": 2**63}]) for number in range(5)]
    write(path, *events)
    path.chmod(0o640)
    assert replay(oracle, 0, path) == "5 events sent\n"
    stored = sorted(oracle.events("things"), key=lambda each: str(each["id"]))
    assert [{**each, "timestamp": "2026-01-02T03:04:05.678900Z"} for each in stored] == events
    assert {each["timestamp"] for each in stored} == {"2026-01-02T03:04:05.678900Z"}
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"", 0o640)
    assert run("list", path).stdout == "no dead letters\n"
    assert replay(oracle, 0, path) == "0 events sent\n"


def test_what_is_refused_again_stays_with_the_new_reason(path: Path, oracle: Oracle) -> None:
    write(path, event(1), event(2, poison=True), reason="the old reason")
    [_, before] = listed(path)
    oracle.fail(RefuseBatch(422), None)
    assert "1 event sent\nleft: 1 event refused again" in replay(oracle, 1, path)
    [after] = listed(path)
    assert after["reason"] == "HTTP 422: there is a bad event in this batch"
    assert after["time"] > before["time"]
    assert (after["id"], after["event"], after["collection"]) == ("e2", event(2, poison=True), "things")


def test_only_the_collections_that_are_asked_for_are_replayed(path: Path, oracle: Oracle) -> None:
    write(path, event(1), event(2))
    write(path, event(3), collection="others")
    write(path, event(4), collection="rest")
    assert replay(oracle, 0, path, "--collection", "others", "--collection", "rest") == "2 events sent\n"
    assert [letter["id"] for letter in listed(path)] == ["e1", "e2"]
    assert (ids(oracle), ids(oracle, "others"), ids(oracle, "rest")) == ([], ["e3"], ["e4"])


def test_an_event_that_a_person_has_mended_is_stored_once(path: Path, oracle: Oracle) -> None:
    """Its text replaced by an object, without an id: it gets one, and always the same."""
    write(path, "{'price': nan}")
    [letter] = listed(path)
    mended = {name: letter[name] for name in ("time", "collection", "id", "reason")} | {"event": {"price": 0}}
    path.write_text(json.dumps(mended))  # and an editor that leaves no newline at the end
    content = path.read_bytes()
    assert replay(oracle, 0, path) == "1 event sent\n"
    path.write_bytes(content)
    assert replay(oracle, 0, path) == "0 events sent\n1 event stored already\n"
    [stored] = oracle.events("things")
    assert stored["timestamp"][:23] == letter["time"][:23]


def test_a_mended_event_that_breaks_a_rule_stays_with_that_rule(path: Path, oracle: Oracle) -> None:
    write(path, event(1, **{"a.b": 1}), event(2))
    assert "1 event sent\nleft: 1 event refused again" in replay(oracle, 1, path)
    [letter] = listed(path)
    assert "a.b" in letter["reason"]
    assert "dot" in letter["reason"]


# Others at the same file


def test_what_is_buried_meanwhile_stays_and_the_writer_goes_on(path: Path, oracle: Oracle) -> None:
    write(path, event(1), event(2))
    with closing(DeadLetterLog(path, time.time)) as live:

        def bury(exchange: Exchange) -> None:
            live.write("things", event(3), "meanwhile")
            exchange.answer()

        oracle.fail(bury)
        assert replay(oracle, 0, path) == "2 events sent\n"
        live.write("things", event(4), "afterwards")
    assert [(letter["id"], letter["reason"]) for letter in listed(path)] == [("e3", "meanwhile"), ("e4", "afterwards")]


def test_letters_are_found_where_rotation_has_moved_them(path: Path, oracle: Oracle) -> None:
    write(path, event(1), event(2, poison=True))
    rotated = path.with_name("refused.log.1")

    def rotate(exchange: Exchange) -> None:
        path.rename(rotated)
        write(path, event(3))
        exchange.answer(lambda each: "no" if each.get("poison") else None)

    oracle.fail(rotate)
    oracle.fail(RefuseBatch(), None)
    replay(oracle, 1, path)
    assert [(letter["file"], letter["id"]) for letter in listed(path, rotated)] == [
        (str(path), "e3"),
        (str(rotated), "e2"),
    ]
    oracle.heal()
    assert replay(oracle, 0, rotated, path, rotated) == "2 events sent\n"
    assert listed(path, rotated) == []
    assert ids(oracle) == ["e1", "e2", "e3"]


# Nothing is lost


def without_a_server_or_with_a_wrong_key() -> list[tuple[Callable[[Oracle], None], str]]:
    return [
        (lambda oracle: oracle.refuse(), "ConnectionRefusedError"),
        (lambda oracle: oracle.fail(Status(403), None), "HTTP 403"),
        (lambda oracle: oracle.fail(Hang(), None), "the server did not answer in time"),
    ]


@pytest.mark.parametrize(("go_wrong", "words"), without_a_server_or_with_a_wrong_key())
def test_what_was_not_sent_stays_as_it_was(
    path: Path, oracle: Oracle, go_wrong: Callable[[Oracle], None], words: str
) -> None:
    write(path, event(1), event(2))
    before = path.read_bytes()
    go_wrong(oracle)
    output = replay(oracle, 1, path, "--timeout", 0.2)
    assert f"left: 2 events not sent: {words}" in output
    assert path.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle_it_loses_nothing(path: Path, oracle: Oracle, number: int) -> None:
    write(path, *(event(each) for each in range(200)))
    lines = path.read_bytes().splitlines()
    stored: list[int] = []

    def answer_the_first_part(exchange: Exchange) -> None:
        if stored:
            Hang(commit=True)(exchange)
        elif len(exchange.events) > 100:
            exchange.send(413, error_body("too large"))
        else:
            stored.append(len(exchange.events))
            exchange.answer()

    oracle.fail(answer_the_first_part, None)
    with replaying(path, oracle) as process:
        oracle.wait_for(lambda o: stored and len(o.stored) > stored[0])
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == (1 if number == signal.SIGINT else -number)
    assert err == ""
    left = path.read_bytes().splitlines()
    if number == signal.SIGINT:
        assert f"left: {len(left)} events not sent: stopped by Ctrl-C" in out
        assert len(left) == 200 - stored[0]
    else:
        assert left == lines
    oracle.heal()
    replay(oracle, 0, path)
    assert path.read_bytes() == b""
    assert len(oracle.stored) == 200
    assert all(len(seen.payloads) == 1 for seen in oracle.seen.values())


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
@pytest.mark.parametrize("call", ["fchown", "fsync", "rename", "unlink"])
def test_killed_while_it_rewrites_the_file_it_loses_nothing(path: Path, oracle: Oracle, call: str) -> None:
    write(path, event(1), event(2), "text")
    lines = path.read_bytes().splitlines()
    new = path.with_name("refused.log.rewriting")
    new.write_bytes(b"of one that was killed")
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(new), "-e", f"inject={call}:signal=KILL:when=1"]
    with replaying(path, oracle, strace) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert ids(oracle) == ["e1", "e2"]
    assert path.read_bytes().splitlines() in (lines, lines[2:])
    replay(oracle, 1, path)
    assert path.read_bytes().splitlines() == lines[2:]
    assert ids(oracle) == ["e1", "e2"]
    assert sorted(each.name for each in path.parent.iterdir()) == [".__refused.lock", "refused.log"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_full_disk_leaves_the_file_as_it_was(path: Path, oracle: Oracle, call: str) -> None:
    write(path, event(1), "text")
    before = path.read_bytes()
    new = path.with_name("refused.log.rewriting")
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(new), "-e", f"inject={call}:error=ENOSPC"]
    with replaying(path, oracle, strace) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err.startswith(f"Error: {path} could not be rewritten (No space left on device), and what was sent is still")
    assert path.read_bytes() == before
    assert not new.exists()
    assert "1 event stored already" in replay(oracle, 1, path)


def replaying(path: Path, oracle: Oracle, before: list[str] | None = None, **options: Any) -> subprocess.Popen[str]:
    env = {**os.environ, "CONNECT_PROJECT_ID": "p", "CONNECT_API_KEY": CANARY, "CONNECT_BASE_URL": oracle.url}
    command = [*(before or []), *COMMAND, path]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


# What is shown


def test_the_list_shows_every_letter_shortly(path: Path) -> None:
    write(path, event(1, text="x" * 1_000), "<text>", reason="a reason")
    shown = run("list", path)
    assert shown.exit_code == 0
    for words in ("things", "e1", "a reason", "<text>", "2 dead letters, 1 of them text that cannot be replayed"):
        assert words in shown.stdout
    assert shown.stdout.count("x") < 150


def test_nothing_in_a_letter_is_obeyed_by_the_terminal(path: Path) -> None:
    hostile = "\x1b[31m\r\n\x07\x9b\u202e[bold]\ud800"
    write(path, event(1, text=hostile), hostile, collection=hostile, reason=hostile)
    shown = run("list", path).stdout
    assert all(each.isprintable() or each == "\n" for each in shown)
    assert "[bold]" in shown
    assert [letter["reason"] for letter in listed(path)] == [hostile, hostile]


def test_lines_that_are_no_letters_are_named_and_kept(path: Path, oracle: Oracle) -> None:
    write(path, event(1))
    broken = [
        b"no JSON \xff",
        b"[" * 5_000,
        b'{"time": "t"}',
        b"[]",
        b'{"time": "t", "collection": 1, "id": null, "reason": "r", "event": {}}',
        b'{"time": "t", "collection": "c", "id": null, "reason": "r", "event": []}',
    ]
    with path.open("ab") as file:
        file.write(b"\n".join([*broken, b"", b""]))
    result = run("list", path)
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert [line.partition(" is skipped: ")[0] for line in lines] == [f"{path}, line {at}" for at in range(2, 8)]
    assert [line.partition(" is skipped: ")[2] for line in lines] == [
        "it is not JSON",
        "it is not JSON",
        "it is not a JSON object with time, collection, id, reason, event",
        "it is not a JSON object with time, collection, id, reason, event",
        "its time, collection and reason must be text",
        "its event must be an object, or text",
    ]
    output = replay(oracle, 1, path)
    assert "1 event sent\nleft: 6 lines that cannot be read\n" in output
    assert path.read_bytes() == b"\n".join([*broken, b"", b""])


def test_of_many_broken_lines_a_few_are_named(path: Path) -> None:
    write(path, event(1))
    with path.open("ab") as file:
        file.write(b"?\n" * 1_000)
    result = run("list", path)
    assert result.stderr.count("is skipped") == 10
    assert "990 more lines are skipped" in result.stderr


def test_mistakes_are_told_in_a_line(tmp_path: Path, path: Path) -> None:
    (tmp_path / "notes").write_text("hello\nworld\n")
    for command in ("list", "replay"):
        for place, words in (
            (tmp_path / "none", "none: No such file or directory"),
            (tmp_path, "Is a directory"),
            (tmp_path / "notes", "notes holds no dead letter: line 1 is none, as it is not JSON"),
        ):
            result = run(command, place)
            assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
            assert words in result.stderr
    assert run("list").exit_code == 2
    write(path, event(1))
    result = run("replay", path, CONNECT_API_KEY="")
    assert result.exit_code == 2
    assert "CONNECT_API_KEY" in result.stderr


def test_events_that_look_the_same_are_as_many_as_there_are(path: Path, oracle: Oracle) -> None:
    """Mended alike, within the same millisecond; a first attempt gets no further than the first of them."""
    write(path, *["{'v': nan}"] * 3)
    lines = path.read_text().splitlines()
    mended = json.dumps({**json.loads(lines[0]), "event": {"v": 0}})
    path.write_text(f"{mended}\n" * 3)
    oracle.fail(Status(503), times=None)
    assert "3 events not sent" in replay(oracle, 1, path, "--timeout", "0.1")
    oracle.heal()
    before = path.read_bytes()
    assert "3 events sent" in replay(oracle, 0, path)
    assert len(oracle.stored) == 3
    path.write_bytes(before)
    assert "3 events stored already" in replay(oracle, 0, path)
    assert path.read_bytes() == b""
