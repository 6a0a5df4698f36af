"""Profiles: which one is used, what goes before what, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from connect_logging._profiles import config_path, read_profile, with_profile
from connect_logging.exceptions import ConfigurationError

KEY = "canary0123456789canary0123456789"
PROFILES = f"""
[default]
base_url = "http://default"
api_key = "{KEY}"

[staging]
base_url = "http://staging"
project_id = "staging"
master_key = "{KEY}"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def write(environ: dict[str, str], text: str, mode: int = 0o600) -> Path:
    path = config_path(environ)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_file_is_where_the_system_has_such_files(tmp_path: Path) -> None:
    assert config_path({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "connect-logging" / "config.toml"
    usual = Path.home() / ".config" / "connect-logging" / "config.toml"
    assert config_path({}) == config_path({"XDG_CONFIG_HOME": ""}) == config_path({"XDG_CONFIG_HOME": "here"}) == usual


def test_without_a_file_the_environment_is_all_there_is(environ: dict[str, str]) -> None:
    assert with_profile(environ) == environ


def test_variables_go_before_the_default_profile(environ: dict[str, str]) -> None:
    write(environ, PROFILES)
    found = with_profile({**environ, "CONNECT_BASE_URL": "http://variable", "CONNECT_PROJECT_ID": ""})
    assert (found["CONNECT_BASE_URL"], found["CONNECT_API_KEY"]) == ("http://variable", KEY)
    assert "CONNECT_PROJECT_ID" not in found, "an empty variable says nothing"


def test_a_profile_that_a_variable_chooses_gives_way_to_variables_as_well(environ: dict[str, str]) -> None:
    write(environ, PROFILES)
    found = with_profile({**environ, "CONNECT_PROFILE": "staging", "CONNECT_BASE_URL": "http://variable"})
    assert (found["CONNECT_BASE_URL"], found["CONNECT_PROJECT_ID"]) == ("http://variable", "staging")
    assert found["CONNECT_MASTER_KEY"] == KEY
    assert "CONNECT_API_KEY" not in found, "it is one profile, not one on top of another"


def test_a_profile_that_an_option_chooses_goes_before_variables(environ: dict[str, str]) -> None:
    write(environ, PROFILES)
    found = with_profile({**environ, "CONNECT_PROFILE": "gone", "CONNECT_BASE_URL": "http://variable"}, "staging")
    assert (found["CONNECT_BASE_URL"], found["CONNECT_PROJECT_ID"]) == ("http://staging", "staging")


def test_a_profile_that_is_not_there_is_told_with_those_that_are(environ: dict[str, str]) -> None:
    path = config_path(environ)
    with pytest.raises(ConfigurationError, match=r"no profile 'prod' in .*: there is no file"):
        read_profile(path, "prod")
    write(environ, "")
    with pytest.raises(ConfigurationError, match=r"no profile 'prod' in .*: it has none"):
        read_profile(path, "prod")
    write(environ, PROFILES)
    with pytest.raises(ConfigurationError, match=r"no profile 'prod' in .*: it has default, staging"):
        with_profile({**environ, "CONNECT_PROFILE": "prod"})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_file_with_keys_that_others_can_reach_is_refused(environ: dict[str, str], mode: int) -> None:
    path = write(environ, PROFILES, mode)
    with pytest.raises(ConfigurationError, match=f"holds a key, and other users may reach it: chmod 600 {path}"):
        with_profile(environ)


def test_a_file_without_keys_may_be_read_by_all(environ: dict[str, str]) -> None:
    write(environ, '[default]\nbase_url = "http://default"\n', 0o644)
    assert with_profile(environ)["CONNECT_BASE_URL"] == "http://default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'api_key = "{KEY}"', r"api_key stands outside of a profile: begin one with a line \[default\]"),
        (f"[default]\napi_key = {KEY}", "is no TOML"),
        (f'[default]\napi_kei = "{KEY}"', "profile default has no option 'api_kei': did you mean 'api_key'"),
        ("[default]\nproject_id = 7", "project_id of profile default must be a text"),
        ('[default]\nproject_id = ""', "project_id of profile default must be a text"),
    ],
)
def test_mistakes_in_the_file_are_named_without_its_values(environ: dict[str, str], text: str, message: str) -> None:
    path = write(environ, text)
    with pytest.raises(ConfigurationError, match=message) as error:
        with_profile(environ)
    assert str(path) in str(error.value)
    assert KEY not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(environ: dict[str, str]) -> None:
    path = config_path(environ)
    path.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=f"{path} cannot be read: Is a directory"):
        with_profile(environ)
    path.rmdir()
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="is no TOML"):
        with_profile(environ)


def test_where_nobody_knows_a_home_there_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert with_profile({"CONNECT_API_KEY": "k"}) == {"CONNECT_API_KEY": "k"}
