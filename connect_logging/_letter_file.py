"""Dead letters read again, and taken out of their file once their events are stored.

Invariants:

* A file is replaced as a whole, under the lock of those who append to it, or not at all: whenever it is killed,
  each letter is in the old file or in the new one.
* Lines that are no letters are kept. So are letters that nobody has settled, whoever wrote them and when.
* A letter is found again by its bytes, wherever rotation has moved it meanwhile. So before it is sent it has an id
  there: two events whose letters look the same are two.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ._dead_letter import BACKUPS, FIELDS, MAX_REASON, DeadLetterLog, refused_at
from ._types import Clock, Properties

_ROTATED: Final = re.compile(rf"(.+)\.[1-{BACKUPS}]")
_SUFFIX: Final = ".rewriting"
"""Of the file that is to take the place of another."""


class Letter(NamedTuple):
    """One line of a file, ``number`` from 1. ``event`` is text when it could not be encoded."""

    path: Path
    number: int
    line: bytes
    time: str
    collection: str
    id: Any
    reason: str
    event: Properties | str

    @property
    def properties(self) -> Properties:
        """The event as it is to be sent."""
        assert isinstance(self.event, dict)
        return {"timestamp": self.time, **self.event}


class Broken(NamedTuple):
    """A line that is no letter, and why."""

    path: Path
    number: int
    reason: str


def read_letters(path: Path) -> tuple[list[Letter], list[Broken]]:
    """What the file holds. Raises OSError."""
    letters: list[Letter] = []
    broken: list[Broken] = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if line.strip():
            read = _read(path, number, line)
            letters.append(read) if isinstance(read, Letter) else broken.append(read)
    return letters, broken


def _read(path: Path, number: int, line: bytes) -> Letter | Broken:
    try:
        letter = json.loads(line)
    except (ValueError, RecursionError):
        return Broken(path, number, "it is not JSON")
    if not isinstance(letter, dict) or set(letter) != set(FIELDS):
        return Broken(path, number, f"it is not a JSON object with {', '.join(FIELDS)}")
    if not all(isinstance(letter[name], str) for name in ("time", "collection", "reason")):
        return Broken(path, number, "its time, collection and reason must be text")
    if not isinstance(letter["event"], dict | str):
        return Broken(path, number, "its event must be an object, or text")
    return Letter(path, number, line, **letter)


def base_of(path: Path) -> Path:
    """The file that is appended to, of ``path`` or what ``path`` was rotated from."""
    rotated = _ROTATED.fullmatch(path.name)
    return path.with_name(rotated[1]) if rotated else path


def give_ids(base: Path, clock: Clock) -> None:
    """Write an id into each event of ``base``, and of what it was rotated to, that has none.

    It is made of the line, of how many like it come before, and of the file: so it is stored once, however often it is
    sent from there, and another that looks the same is another. ``clock``: as of :func:`settle`. Raises OSError.
    """
    alike: Counter[bytes] = Counter()

    def with_id(line: bytes) -> bytes:
        letter = _read(base, 0, line)
        if not isinstance(letter, Letter) or not isinstance(letter.event, dict) or "id" in letter.event:
            return line
        place = f"{base.resolve()}\0{alike[line]}\0".encode(errors="surrogateescape")
        alike[line] += 1
        made = hashlib.sha256(place + line).hexdigest()[:32]
        return json.dumps({**json.loads(line), "event": {"id": made, **letter.event}}).encode()

    _rewrite(base, clock, with_id)


def settle(base: Path, delivered: Iterable[bytes], refused: Mapping[bytes, str], clock: Clock) -> None:
    """Take the lines ``delivered`` out of ``base`` and what it was rotated to; give those ``refused`` their new reason.

    ``clock``: seconds since the epoch. Raises OSError; then the files are as they were, or some of them done.
    """
    gone = frozenset(delivered)
    moment = refused_at(clock())
    _rewrite(base, clock, lambda line: None if line in gone else _renewed(line, refused, moment))


def _rewrite(base: Path, clock: Clock, change: Callable[[bytes], bytes | None]) -> None:
    """What ``change`` makes of each line takes its place; of None, nothing."""
    with contextlib.closing(DeadLetterLog(base, clock)) as log, log.locked():
        for path in (base, *(base.with_name(f"{base.name}.{number}") for number in range(1, BACKUPS + 1))):
            if path.exists():
                lines = path.read_bytes().split(b"\n")
                kept = [changed for line in lines if (changed := change(line)) is not None]
                if kept != lines:
                    _replace(path.resolve(), b"\n".join(kept))


def _renewed(line: bytes, refused: Mapping[bytes, str], moment: str) -> bytes:
    reason = refused.get(line)
    if reason is None:
        return line
    return json.dumps({**json.loads(line), "time": moment, "reason": reason[:MAX_REASON]}).encode()


def _replace(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of the file's, at once, for the same owner and mode."""
    state = path.stat()
    beside = path.with_name(path.name + _SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()  # of one that was killed
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchown(descriptor, state.st_uid, state.st_gid)
            os.fchmod(descriptor, state.st_mode & 0o777)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
