"""Disks that are full: a small one, where the system lets us mount one, and a limit on the size of files elsewhere."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(path: Path, size: str) -> Iterator[Path]:
    """A file system at ``path`` of ``size``, as mount writes it, for the length of the block."""
    path.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", path]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this user may not mount a small disk: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@contextlib.contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file of this process grows beyond ``size`` bytes in the block: the kernel writes what fits, then refuses.

    Python would keep what fits of the bytecode of a module that is imported meanwhile, and fail to read it ever after.
    """
    before, writes_none = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = writes_none
