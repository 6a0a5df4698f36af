"""A stream becomes a file, whole or not at all.

Invariant: under its name there is what was there before, or all of what was downloaded. The rest of a download that
broke off is removed; after a crash it is beside it, under a name that begins with a dot and ends with ``.part``.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

Progress: TypeAlias = Callable[[int], object]
"""Called now and then with how much there is so far."""


def save(pieces: Iterable[bytes], path: Path, progress: Progress | None = None) -> int:
    """Write ``pieces`` to ``path``, which only this user may read, and replace what was there. Returns the bytes.

    What is to be replaced is a file, or a link to one, which stays. Raises OSError, which names ``path``, when it
    cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a device, pipe or socket is no file that could be replaced", str(path))
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            size = 0
            for piece in pieces:
                size += file.write(piece)
                if progress is not None:
                    progress(size)
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        # A full disk does not say which; and nobody asked for the partial one.
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(partial)):
            error.filename = str(path)
        raise
    return size
