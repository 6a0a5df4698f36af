"""System calls that fail, in a real process: by strace, where it is installed and may trace."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from spooling import Program


@contextlib.contextmanager
def injected(program: Program, inject: str) -> Iterator[None]:
    """Make system calls of ``program`` fail, which says when it is ready and is told when to go on."""
    if shutil.which("strace") is None:
        pytest.skip("strace, which injects the fault, is not here")
    assert program.hear() == "ready", program.err
    command = ["strace", "-f", "-p", str(program.pid), "-o", "/dev/null", "-e", f"trace={inject.partition(':')[0]}"]
    with subprocess.Popen([*command, "-e", f"inject={inject}"], stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        try:
            if "attached" not in tracer.stderr.readline():
                pytest.skip("this process may not trace another")
            program.tell("go on")
            yield
        finally:
            program.kill()
            tracer.terminate()
