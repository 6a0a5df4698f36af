"""``connect-logging export`` and ``import``: events to files and streams, and back."""

from __future__ import annotations

import gzip
import json
import signal
import stat
import subprocess
from pathlib import Path

import pyarrow.parquet
import pytest
from click.testing import CliRunner
from commands import PROGRAM, done, on_a_terminal, refused, run, set_variables
from server_process import ServerProcess

from connect_logging.cli import main

EVENTS = [{"id": n, "n": n, "timestamp": f"2026-03-01T00:00:{n:02}Z", "name": f"ü{n}"} for n in range(20)]
LINES = "".join(json.dumps(event) + "\n" for event in EVENTS)


@pytest.fixture(scope="module", autouse=True)
def source(server: ServerProcess) -> None:
    server.push("source", *EVENTS)


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, server: ServerProcess) -> None:
    set_variables(monkeypatch, server)


def numbers(lines: str) -> list[int]:
    return [json.loads(line)["n"] for line in lines.splitlines()]


def test_events_are_exported_to_standard_output() -> None:
    assert numbers(done("export", "source")) == [*range(20)]
    assert numbers(done("export", "source", "--where", "n=gt:15", "--end", "2026-03-01T00:00:18")) == [16, 17]
    assert done("export", "source", "--format", "csv", "--where", "n=3").splitlines()[1].endswith(',3,"ü3"')
    result = CliRunner().invoke(main, ["export", "source", "-f", "parquet"])
    assert result.stdout_bytes.startswith(b"PAR1")


def test_events_are_exported_to_files_in_the_form_of_their_names(tmp_path: Path) -> None:
    for name in ("e.jsonl", "e.csv", "e.parquet"):
        file = tmp_path / name
        file.write_text("old")
        assert done("export", "source", "-o", file) == f"{file}: {file.stat().st_size:,} bytes\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert numbers((tmp_path / "e.jsonl").read_text()) == [*range(20)]
    assert (tmp_path / "e.csv").read_text().count("\n") == 21
    assert pyarrow.parquet.read_table(tmp_path / "e.parquet").num_rows == 20
    done("export", "source", "-o", tmp_path / "no ending", "--format", "jsonl")
    assert numbers((tmp_path / "no ending").read_text()) == [*range(20)]
    assert len([*tmp_path.iterdir()]) == 4


def test_mistakes_of_an_export_are_told(tmp_path: Path) -> None:
    assert "no directory" in refused("export", "source", "-o", tmp_path / "none" / "e.csv")
    assert "takes a file, not ." in refused("export", "source", "-f", "csv", "-o", ".")
    assert "an empty name" in refused("export", "source", "-f", "csv", "-o", "")
    assert "jsonl, csv, parquet" in refused("export", "source", "-o", tmp_path / "e.doc")
    assert "--where" in refused("export", "source", "--where", "n=gt:true")


def test_an_export_of_a_collection_that_is_not_there_says_so(tmp_path: Path) -> None:
    for options in ((), ("-f", "csv"), ("-f", "parquet"), ("-o", tmp_path / "e.parquet")):
        result = CliRunner().invoke(main, ["export", "absent", *map(str, options)])
        assert result.exit_code == 0
        assert result.stderr.startswith("there is no collection 'absent': ")
    assert done("export", "source", "--where", "n=99") == ""


def test_whoever_has_read_enough_ends_an_export_quietly(server: ServerProcess) -> None:
    server.push("large", *({"text": "x" * 10_000} for _ in range(100)))
    with subprocess.Popen([PROGRAM, "export", "large"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait() == 1
        assert process.stderr.read() == b""


def test_parquet_is_not_written_to_a_terminal() -> None:
    shown, code = on_a_terminal("export", "source", "--format", "parquet")
    assert code == 2
    assert b"name a file" in shown


@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_is_imported_and_again(server: ServerProcess, tmp_path: Path, zipped: bool) -> None:
    file, collection = tmp_path / "events", f"file-{zipped}"
    file.write_bytes(gzip.compress(LINES.encode()) if zipped else LINES.encode())
    assert done("import", collection, file) == "20 events stored\n"
    assert done("import", collection, file) == "0 events stored\n20 events stored already\n"
    assert server.count(collection) == 20


def test_standard_input_is_imported_gzipped_or_not(server: ServerProcess) -> None:
    assert done("import", "stream", answer=LINES) == "20 events stored\n"
    zipped = CliRunner().invoke(main, ["import", "stream", "-"], input=gzip.compress(LINES.encode()))
    assert zipped.stdout == "0 events stored\n20 events stored already\n"
    assert done("import", "stream", answer="") == "0 events stored\n"


def test_what_is_refused_is_told_with_its_line_and_leaves_the_others(server: ServerProcess) -> None:
    result = run("import", "mixed", answer='{"n": 1}\n{"_id": 1}\n\n{"n": \n{"n": 2}\n')
    assert result.exit_code == 1
    assert result.stdout == "2 events stored\n2 events refused\n"
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["line 2", "line 4"]
    assert server.count("mixed") == 2
    result = run("import", "mixed", answer="x\n" * 12)
    assert result.stderr.splitlines()[10:] == ["… 12 events in all"]


def test_a_damaged_file_an_absent_one_and_an_absent_server_are_told(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gz"
    packed = gzip.compress(LINES.encode())
    for content in (packed[:-20], packed[:20] + b"\xff" * 40 + packed[60:]):
        damaged.write_bytes(content)
        assert "is damaged" in refused("import", "damaged", damaged)
    assert "none: No such file" in refused("import", "damaged", tmp_path / "none")
    absent = ("--base-url", "http://127.0.0.1:9", "--timeout", "0.2")
    assert "start it again" in refused("import", "absent", *absent, code=1, answer=LINES)


def test_an_import_that_is_interrupted_says_how_to_go_on(server: ServerProcess) -> None:
    with subprocess.Popen([PROGRAM, "import", "cut"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(LINES.encode())
        process.stdin.flush()
        while not server.count("cut"):
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b"Stopped: start it again, and no event is stored twice.\n"


def test_progress_is_shown_on_a_terminal(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(LINES)
    shown, code = on_a_terminal("import", "watched", str(file))
    assert code == 0
    assert b"importing watched" in shown
    assert b"20 events stored" in shown
