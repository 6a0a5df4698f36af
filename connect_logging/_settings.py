"""Options of clients and handlers, read and checked once, before anything starts.

A wrong option is a ConfigurationError that names the option, what it got and what it takes. The key is in no
message and no repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from .exceptions import ConfigurationError

ENVIRONMENT: Final = {
    "project_id": "CONNECT_PROJECT_ID",
    "api_key": "CONNECT_API_KEY",
    "base_url": "CONNECT_BASE_URL",
}
"""Where an option that is not passed is looked for."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where to push, and as whom."""

    project_id: str
    api_key: str = field(repr=False)
    base_url: str

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
        found: dict[str, str] = {}
        for option, variable in ENVIRONMENT.items():
            value = given[option] or environ.get(variable)
            if not value:
                raise ConfigurationError(f"{option} is missing: pass it or set {variable}")
            if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
                raise ConfigurationError(f"{option} must be a str of printable ASCII characters without spaces")
            found[option] = value
        return cls(found["project_id"], found["api_key"], _checked_url(found["base_url"]))


@dataclass(frozen=True, slots=True)
class Triggers:
    """When waiting events are sent: at so many ``events`` or ``bytes``, or ``interval`` seconds after the first."""

    events: int
    bytes: int
    interval: float


def _checked_url(base_url: str) -> str:
    hint = "base_url must be like https://connect.example.com or http://127.0.0.1:8010"
    try:
        parts = urlsplit(base_url)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(f"{hint}, not {base_url!r}")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{hint}: user names and passwords do not belong in it")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{hint}, without '?' and '#': not {base_url!r}")
    return base_url.rstrip("/")


def number(name: str, value: float, *, least: float, most: float = float("inf")) -> float:
    """``value`` when it is a number within the bounds; else ConfigurationError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        bounds = f"at least {least:g}" if most == float("inf") else f"between {least:g} and {most:g}"
        raise ConfigurationError(f"{name} must be a number {bounds}, not {value!r}")
    return value


def whole_number(name: str, value: int, *, least: int, most: float = float("inf")) -> int:
    """``value`` when it is an int within the bounds; else ConfigurationError."""
    if not isinstance(value, int):
        raise ConfigurationError(f"{name} must be a whole number, not {value!r}")
    return int(number(name, value, least=least, most=most))
