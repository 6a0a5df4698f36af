"""Where a server keeps what it keeps: one place, said once, without its password where others can see it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from commands import PROGRAM, refused, run

from connect_logging.server.stores.clickhouse_address import ClickHouseAddress

NOWHERE = "clickhouse://user:s3cret@127.0.0.1:1/d"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONNECT_STORE", "CONNECT_CLICKHOUSE_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def test_one_place_is_needed_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (("serve",), ("project", "list"), ("backup", "--to", tmp_path)):
        assert "--data is missing" in refused(*command)
        assert "choose one" in refused(*command, "--data", tmp_path, "--store", NOWHERE)
    monkeypatch.setenv("CONNECT_STORE", NOWHERE)
    made = json.loads(run("project", "create", "--data", tmp_path / "data", "--json").output)
    assert (
        json.loads(run("project", "list", "--data", tmp_path / "data", "--json").output)[0]["projectId"]
        == (made["projectId"])
    ), "the option goes before the variable"


def test_an_address_that_is_none_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("s3cret", "clickhouse://user:s3cret@", "clickhouse://u:s3cret@h/d?s3cret=1"):
        error = refused("serve", "--store", address)
        assert error.startswith("Error: --store must be an address such as clickhouse://user@host:8123/database: ")
        assert "s3cret" not in error
        monkeypatch.setenv("CONNECT_STORE", address)
        error = refused("project", "list")
        assert error.startswith("Error: CONNECT_STORE must be an address such as ")
        assert "s3cret" not in error
        monkeypatch.delenv("CONNECT_STORE")


def test_a_database_that_is_not_there_is_told_with_its_address_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (("serve",), ("project", "list"), ("project", "create")):
        result = run(*command, "--store", NOWHERE)
        warning, error = result.stderr.splitlines()
        assert "Other users can see the password in --store" in warning
        assert error.startswith("Error: clickhouse://user@127.0.0.1:1/d: ")
        assert "cannot be reached" in error
        assert (result.exit_code, "s3cret" in result.output) == (2, False)
    monkeypatch.setenv("CONNECT_STORE", NOWHERE)
    alone = subprocess.run([PROGRAM, "project", "list"], capture_output=True, text=True)
    assert (alone.returncode, alone.stderr.count("\n")) == (2, 1), "no library says more"
    monkeypatch.setenv("CONNECT_CLICKHOUSE_PASSWORD", "s3cret")
    assert run("project", "list", "--store", "clickhouse://user@127.0.0.1:1/d").stderr.count("\n") == 1


def test_what_is_of_the_other_place_is_refused(tmp_path: Path) -> None:
    assert "--threads" in refused("serve", "--store", "clickhouse://h", "--threads", 2)
    assert "ClickHouse makes backups" in refused("backup", "--store", "clickhouse://h", "--to", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_projects_in_clickhouse_have_the_same_commands(clickhouse_address: ClickHouseAddress) -> None:
    store = ("--store", str(clickhouse_address))
    assert "UNKNOWN" in refused("project", "list", *store), "nothing is made before it is asked for"
    made = json.loads(run("project", "create", *store, "--json").output)
    assert json.loads(run("project", "keys", *store, "--json").output) == made
    reset = json.loads(run("project", "reset-keys", *store, "--yes", "--json").output)
    assert reset["projectId"] == made["projectId"]
    assert reset["master"] != made["master"]
    described = json.loads(run("project", "set", *store, "--legacy-filtered-keys", "false", "--json").output)
    assert not described["legacyFilteredKeys"]
    assert json.loads(run("project", "list", *store, "--json").output) == [described]
