"""Options of clients and handlers, read and checked once, before anything starts.

A wrong option is a ConfigurationError that names the option, what it got and what it takes. The key is in no
message and no repr.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from .exceptions import ConfigurationError

ENVIRONMENT: Final = {
    "project_id": "CONNECT_PROJECT_ID",
    "api_key": "CONNECT_API_KEY",
    "base_url": "CONNECT_BASE_URL",
}
"""Where an option that is not passed is looked for."""
MASTER_KEY: Final = "CONNECT_MASTER_KEY"
"""Where the commands look for the key that deletes, and makes filtered keys."""

DEAD_LETTERS: Final = "dead-letters.log"
"""Where dead letters go in a spool directory when no other file is named."""

LONGEST: Final = 365 * 24 * 3600
"""Seconds. A year is for ever, and no wait of the system overflows at it as at infinity."""
LARGEST: Final = 2**63 - 1
"""No memory holds more."""


class Connection(msgspec.Struct, frozen=True):
    """Where to push, and as whom."""

    project_id: str
    api_key: str
    base_url: str

    def __repr__(self) -> str:
        return f"Connection(project_id={self.project_id!r}, base_url={self.base_url!r})"

    @classmethod
    def from_options(
        cls,
        project_id: str | None,
        api_key: str | None,
        base_url: str | None,
        environ: Mapping[str, str],
    ) -> Connection:
        """The options, or where they are None the environment's. Raises ConfigurationError."""
        given = {"project_id": project_id, "api_key": api_key, "base_url": base_url}
        found = {option: given[option] or environ.get(variable) for option, variable in ENVIRONMENT.items()}
        if missing := [option for option, value in found.items() if not value]:
            raise ConfigurationError(_missing(missing))
        project_id, api_key, base_url = (_plain_text(option, value) for option, value in found.items())
        return cls(project_id, api_key, _checked_url(base_url))


class Triggers(msgspec.Struct, frozen=True):
    """When waiting events are sent: at so many ``events`` or ``bytes``, or ``interval`` seconds after the first."""

    events: int
    bytes: int
    interval: float


def _missing(options: Sequence[str]) -> str:
    """All that are missing at once, and where they are to be had."""
    variables = ", ".join(ENVIRONMENT[option] for option in options)
    are, them = ("is", "it") if len(options) == 1 else ("are", "them")
    hint = "for a server of your own, 'connect-logging project keys --data DIR --env push' prints them"
    return f"{', '.join(options)} {are} missing: pass {them} or set {variables} ({hint})"


def _plain_text(option: str, value: object) -> str:
    """``value`` when it is fit for a header; of one that is not, the message shows the least that helps."""
    kind = "must be a str of printable ASCII characters without spaces"
    if not isinstance(value, str):
        raise ConfigurationError(f"{kind}, not {type(value).__name__}", option)
    for at, character in enumerate(value, start=1):
        if not "!" <= character <= "~":
            raise ConfigurationError(f"{kind}: character {at} is {character!a}", option)
    return value


def _checked_url(base_url: str) -> str:
    like = "must be like https://connect.example.com or http://127.0.0.1:8010"
    if "@" in base_url:  # first, as the other messages show the value
        raise ConfigurationError(f"{like}: user names and passwords do not belong in it", "base_url")
    if "://" not in base_url:  # perhaps it is the key, by a slip
        raise ConfigurationError(f"{like}: it has no http:// or https://", "base_url")
    if "?" in base_url or "#" in base_url:  # who knows what follows them
        raise ConfigurationError(f"{like}, without '?' and '#'", "base_url")
    try:
        parts = urlsplit(base_url)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(f"{like}, not {base_url!r}", "base_url")
    return base_url.rstrip("/")


def number(name: str, value: float, *, least: float, most: float = LONGEST) -> float:
    """``value`` when it is a number within the bounds; else ConfigurationError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigurationError(f"must be a number {_bounds(least, most)}, not {_shown(value)}", name)
    return value


def whole_number(name: str, value: int, *, least: int, most: int = LARGEST) -> int:
    """``value`` when it is an int within the bounds; else ConfigurationError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(f"must be a whole number {_bounds(least, most)}, not {_shown(value)}", name)
    return value


def waiting_time(timeout: float | None, default: float) -> float:
    """Seconds to wait: ``timeout``, or the ``default`` for None; else ConfigurationError.

    What is left of a deadline may be less than 0, and for ever is a year.
    """
    if timeout is None:
        return default
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise ConfigurationError(f"must be a number of seconds, not {timeout!r}", "timeout")
    return max(0.0, min(timeout, LONGEST))


def refuse_unknown(owner: str, given: Iterable[str], known: Sequence[str]) -> None:
    """ConfigurationError for the first of ``given`` that is not ``known``, with the one that may be meant."""
    for name in given:
        if name not in known:
            import difflib

            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"its options are {', '.join(known)}"
            raise ConfigurationError(f"{owner} has no option {name!r}: {hint}")


def _bounds(least: float, most: float) -> str:
    return f"at least {least:,}" if most == LARGEST else f"between {least:,} and {most:,}"


def _shown(value: object) -> str:
    return f"one of {value.bit_length()} bits" if isinstance(value, int) and abs(value) > LARGEST else repr(value)
