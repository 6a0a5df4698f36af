"""Foreign packages for the tests here, each installed once into ``.cache`` of this tree."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

CACHE: Final = Path(__file__).parents[2] / ".cache"


def installed(package: str, command: Sequence[str], made: str) -> Path:
    """What ``command`` has ``made`` in the empty directory that it runs in. Skips the test where it fails."""
    kept = CACHE / package
    if not kept.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            try:
                done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
            except subprocess.TimeoutExpired:
                pytest.skip(f"{package} could not be installed within a minute")
            if done.returncode:
                pytest.skip(f"{package} cannot be installed: {' '.join(done.stderr.split())[:200]}")
            (Path(directory) / made).rename(kept)
    return kept
