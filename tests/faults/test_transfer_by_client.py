"""Imports and exports of a process that is killed, and of very many events: every event once, memory as before.

As many events as a test has time for; a million with CONNECT_FAULTS=long.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from server_process import ServerProcess
from spooling import LONG

from connect_logging import ConnectClient

COUNT = 1_000_000 if LONG else 20_000
MEMORY = 60 * 2**20
"""Bytes by which a process may grow, however many events pass."""

PREAMBLE = """
import json, re, sys
from connect_logging import ConnectClient

def peak():  # getrusage's is that of the parent, where this was larger
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024

"""
IMPORT = (
    PREAMBLE
    + """
path, url, project_id, key = sys.argv[1:]
with ConnectClient(project_id, key, url) as client:
    client.import_events([{"id": "warm"}], "warm")
    before = peak()
    result = client.import_events(path, "moved", progress=lambda so_far: print(so_far.imported_events, flush=True))
    grown = peak() - before
    print(json.dumps([result.imported_events, result.duplicate_events, result.refused_events, grown]))
"""
)
EXPORT = (
    PREAMBLE
    + """
path, url, project_id, key = sys.argv[1:]
with ConnectClient(project_id, key, url) as client:
    next(iter(client.export("moved")))
    before = peak()
    count = sum(1 for _ in client.export("moved"))
    client.export("moved").to_file(path)
    print(json.dumps([count, peak() - before]))
"""
)


def test_an_import_that_is_killed_and_started_again_stores_every_event_once(
    server: ServerProcess, tmp_path: Path
) -> None:
    source, exported = tmp_path / "source.jsonl", tmp_path / "exported.jsonl"
    with source.open("w") as file:
        for n in range(COUNT):
            stamp = f"2026-01-01T00:00:{n % 60:02}.000000Z"
            file.write(json.dumps({"n": n, "timestamp": stamp, "text": "ä" * 20}) + "\n")
    killed = start(IMPORT, source, server)
    assert killed.stdout is not None
    while int(killed.stdout.readline()) < COUNT // 4:
        pass
    killed.kill()
    killed.wait()
    killed.stdout.close()
    before = server.count("moved")
    assert 0 < before < COUNT

    began = time.monotonic()
    imported, known, refused, grown = finish(start(IMPORT, source, server))
    print(f"{COUNT:,} events imported in {time.monotonic() - began:.1f} s, {known:,} of them known; +{grown:,} bytes")
    assert (imported + known, refused, server.count("moved")) == (COUNT, 0, COUNT)
    assert known >= before
    assert grown < MEMORY

    began = time.monotonic()
    count, grown = finish(start(EXPORT, exported, server))
    print(f"{COUNT:,} events exported twice in {time.monotonic() - began:.1f} s; +{grown:,} bytes")
    assert count == COUNT
    assert grown < MEMORY
    assert digest(without_id(exported)) == digest(without_id(source)), "byte for byte, in whatever order"


def start(script: str, path: Path, server: ServerProcess) -> subprocess.Popen[str]:
    arguments = [str(path), server.url, server.project_id, server.keys["push_query"]]
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> Any:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


def without_id(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        for line in file:
            event = json.loads(line)
            event.pop("id", None)
            yield json.dumps(event, sort_keys=True).encode()


def digest(lines: Iterable[bytes]) -> int:
    """Equal for equal multisets: the sum of a hash of each."""
    return sum(int.from_bytes(hashlib.blake2b(line, digest_size=16).digest()) for line in lines)


def test_what_was_exported_is_imported_and_exported_byte_for_byte(server: ServerProcess, tmp_path: Path) -> None:
    source, exported = tmp_path / "source.jsonl", tmp_path / "exported.jsonl"
    with source.open("w") as file:
        for n in range(1_000):
            event = {
                "id": f"e{n}",
                "timestamp": "2026-01-01T00:00:00.000000Z",
                "n": n,
                "text": "ä",
                "x": {"y": [n, 0.5]},
            }
            file.write(json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n")
    with ConnectClient(server.project_id, server.keys["master"], server.url) as client:
        assert client.import_events(source, "kept").imported_events == 1_000
        client.export("kept").to_file(exported)
    assert sorted(exported.read_bytes().splitlines()) == sorted(source.read_bytes().splitlines())
