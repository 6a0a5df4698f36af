"""Right calls are right to mypy --strict, and wrong ones are wrong, each for the reason that is noted beside it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

USAGE = Path(__file__).with_name("usage.py")
ROOT = USAGE.parent.parent.parent


def test_mypy_finds_what_is_marked_as_wrong_and_nothing_else() -> None:
    marked = {
        (number, marker[1])
        for number, line in enumerate(USAGE.read_text().splitlines(), start=1)
        if (marker := re.search(r"# E: ([a-z-]+)$", line))
    }
    command = [sys.executable, "-m", "mypy", "--strict", USAGE]  # with the cache of `make check`
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = re.findall(r"^tests/typing/usage\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.M)
    assert {(int(number), code) for number, code in found} == marked, done.stdout + done.stderr
    assert f"Found {len(marked)} errors" in done.stdout
