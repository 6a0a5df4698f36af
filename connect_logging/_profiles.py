"""Profiles: connections under names, in a TOML file of the user's.

    [default]
    base_url = "https://connect.example.com"
    project_id = "0123456789abcdef01234567"
    api_key = "…"

Invariants: a file that holds a key and that others can read is refused before anything of it is used. No message has
a value of the file in it.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ._settings import ENVIRONMENT, MASTER_KEY, refuse_unknown
from .exceptions import ConfigurationError

PROFILE: Final = "CONNECT_PROFILE"
"""The variable that chooses a profile."""
DEFAULT: Final = "default"
"""The profile that is used when none is chosen, if it is there."""
ENTRIES: Final = {**ENVIRONMENT, "master_key": MASTER_KEY}
"""What a profile may hold, and the variable that says the same."""

_SECRET: Final = ("api_key", "master_key")


def config_path(environ: Mapping[str, str]) -> Path:
    """Where the profiles are: in ``XDG_CONFIG_HOME``, by default ``~/.config``."""
    home = Path(environ.get("XDG_CONFIG_HOME") or "")
    if not home.is_absolute():
        try:
            home = Path.home() / ".config"
        except RuntimeError:  # no HOME, and a user in no list
            home = Path("/nonexistent")
    return home / "connect-logging" / "config.toml"


def with_profile(environ: Mapping[str, str], chosen: str | None = None) -> dict[str, str]:
    """``environ``, and the variables that a profile says: before it for the ``chosen`` one, else behind it.

    Who says ``--profile`` means all of it; what is the default gives way to variables. Raises ConfigurationError.
    """
    if chosen:
        return {**environ, **read_profile(config_path(environ), chosen)}
    return {**read_profile(config_path(environ), environ.get(PROFILE)), **{k: v for k, v in environ.items() if v}}


def read_profile(path: Path, name: str | None) -> dict[str, str]:
    """The variables that the profile ``name`` stands for. None: the default one, or none. Raises ConfigurationError."""
    profiles = read_profiles(path)
    if name and name not in profiles:
        known = f"it has {', '.join(profiles)}" if profiles else "it has none" if path.exists() else "there is no file"
        raise ConfigurationError(f"no profile {name!a} in {path}: {known}")
    return {ENTRIES[entry]: value for entry, value in profiles.get(name or DEFAULT, {}).items()}


def read_profiles(path: Path) -> dict[str, dict[str, str]]:
    """All profiles in the file; none when there is no file. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            profiles = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from None
    for name, profile in profiles.items():
        _check(path, name, profile)
    holds_a_key = any(entry in profile for profile in profiles.values() for entry in _SECRET)
    if holds_a_key and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"{path} holds a key, and other users may reach it: chmod 600 {path}")
    return profiles


def _check(path: Path, name: str, profile: Any) -> None:
    if not isinstance(profile, dict):
        raise ConfigurationError(f"{path}: {name} stands outside of a profile: begin one with a line [{DEFAULT}]")
    refuse_unknown(f"{path}: profile {name}", profile, list(ENTRIES))
    for entry, value in profile.items():
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{path}: {entry} of profile {name} must be a text in quotes, and not empty")
