"""The documentation is true: every option is in it with its default, and what it shows runs as it is shown."""

from __future__ import annotations

import ast
import gzip
import inspect
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from backed import backed
from conftest import Serve
from pythonjsonlogger.core import BaseJsonFormatter
from s3_server import KEYS, serving_s3
from server_process import ServerProcess

from connect_logging import ConnectClient, ConnectHandler, EventFormatter, _terms, event, query, rules, security
from connect_logging._buffer import MemoryBuffer, Overflow
from connect_logging._dead_letter import FIELDS as FIELDS_OF_LETTERS
from connect_logging._durability import DURABILITIES, BufferOptions
from connect_logging._notices import DROP_REASONS
from connect_logging._settings import DEAD_LETTERS, ENVIRONMENT
from connect_logging.cli import main
from connect_logging.server import body, connection, copying, cycle, failed_keys, ingest, metrics_server
from connect_logging.server.access_log import FIELDS
from connect_logging.server.app import make_app
from connect_logging.server.backing import backing_of
from connect_logging.server.metrics import Metrics
from connect_logging.server.projects import ROLES
from connect_logging.server.settings import Settings
from connect_logging.server.stores.duckdb_writing import EXPIRED_AT_ONCE
from connect_logging.server.transfers import job_table, jobs, lines, service

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
STATES = ("in use", "orphan", "newer version", "unreadable")
PAGE_OF = {
    "spool": "reliability.md",
    "dead-letters": "reliability.md",
    "copy": "scaling.md",
    **dict.fromkeys(["serve", "project", "backup", "demo"], "server.md"),
}
"""Where a command is documented that is not in cli.md."""
WITHOUT_ADDRESS = {"project_id": "p", "api_key": "k", "base_url": "http://127.0.0.1:9"}

Rows = list[list[str]]


def tables(page: Path) -> Iterator[tuple[str, Rows]]:
    """The tables of a page: the heading of the first column, and the rows' cells."""
    for found in re.finditer(r"(?:^\|.*\n)+", page.read_text(), re.M):
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[0].splitlines()]
        yield rows[0][0].strip(), rows[2:]


def table(page: Path, heading: str) -> Rows:
    [rows] = [rows for found, rows in tables(page) if found == heading]
    return rows


def names(rows: Rows) -> list[str]:
    """What stands in backquotes in the first column."""
    return [name for first, *_ in rows for name in re.findall(r"`([^`]+)`", first)]


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of a language, with where they begin."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [(match.start(), match[1]) for match in found]


def defaults(rows: Rows) -> dict[str, Any]:
    """Option → default, read from the first two columns of a table."""
    read: dict[str, Any] = {}
    for options, default, _ in rows:
        values = [
            eval(text, {"__builtins__": {}}, {name: name for name in ENVIRONMENT.values()})
            for text in re.findall(r"`([^`]+)`", default)
        ]
        read |= dict(zip(re.findall(r"`([^`]+)`", options), values, strict=True))
    return read


def options_of(kind: type) -> dict[str, Any]:
    """Option → default, read from the signature, as the documentation writes it."""
    parameters = inspect.signature(kind).parameters.values()
    found = {each.name: each.default for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD}
    found |= ENVIRONMENT
    for name in found.keys() & {"level", "flush_level"}:
        found[name] = logging.getLevelName(found[name])
    return found


@pytest.mark.parametrize(("kind", "page"), [(ConnectHandler, README), (ConnectClient, DOCS / "client.md")])
def test_every_option_is_documented_with_its_default(kind: type, page: Path) -> None:
    assert defaults(table(page, "option")) == options_of(kind)


def test_every_option_of_the_formatter_is_documented() -> None:
    signatures = (inspect.signature(EventFormatter), inspect.signature(BaseJsonFormatter))
    known = {name for signature in signatures for name in signature.parameters} - {"options", "prefix"}
    assert set(names(table(DOCS / "events.md", "option of `EventFormatter`"))) == known


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_every_command_and_its_options_are_documented() -> None:
    found: dict[tuple[Path, str], dict[str, Any]] = {}
    for name, command in commands(main):
        group, _, within = name.partition(" ")
        page = DOCS / PAGE_OF.get(group, "cli.md")
        assert f"connect-logging {name}" in page.read_text()
        known = {option: each for each in command.params for option in each.opts if option.startswith("--")}
        at = page, f"{group} …" if within else name
        found[at] = found.get(at, {}) | known
    for (page, heading), known in found.items():
        rows = table(page, f"option of `{heading}`")
        assert set(names(rows)) == set(known)
        for row in rows:
            for option in names([row]):
                if row[1].startswith("`"):
                    assert row[1].strip("`") == str(known[option].default)


def test_every_setting_of_the_server_is_documented() -> None:
    page = DOCS / "server.md"
    units = {"MiB": 2**20, "": 1}
    documented = {}
    for first, value, _ in table(page, "setting"):
        number, _, unit = value.partition(" ")
        documented[first.strip("`")] = int(number) * units[unit]
    by_option = {"place", "retention", "host", "port", "memory_limit", "threads", "query_timeout"}
    by_option |= {"max_connections", "client_timeout", "failed_keys_per_minute", "trusted_proxies", "s3_endpoints"}
    by_option |= {"concurrent_queries", "stop_timeout", "tls_cert", "tls_key", "metrics", "access_log"}
    assert all(f"`{name}`" in page.read_text() for name in by_option)
    assert documented == {each.name: each.default for each in fields(Settings) if each.name not in by_option}


def test_every_metric_and_every_field_of_the_access_log_is_documented() -> None:
    page = DOCS / "server.md"
    made = [metric.name for metric in Metrics().registry.collect() if not metric.name.startswith("process_")]
    documented = names(table(page, "metric"))
    watched = {"connect_waiting_bytes", "connect_database_bytes", "connect_access_log_dropped_lines"}
    watched |= {"connect_queries_running", "connect_queries_waiting"}
    watched |= {"connect_transfers_running", "connect_transfers_waiting"}
    assert {name.removesuffix("_total").removesuffix("_info") for name in documented} == {*made, *watched}
    assert [name for row in table(page, "field") for name in names([row])] == list(FIELDS)


def test_the_limits_of_the_server_are_documented() -> None:
    limits = [limit for _, limit, _ in table(DOCS / "security.md", "what")]
    default = {each.name: each.default for each in fields(Settings)}
    numbers = [default["max_connections"], connection.MAX_TARGET, connection.MAX_FIELDS, connection.MAX_HEAD]
    numbers += [int(default["client_timeout"]), cycle.MIN_RATE, connection.MAX_PIPELINED, body.MAX_MEMBERS]
    numbers += [metrics_server.MAX_CONNECTIONS, int(metrics_server.PATIENCE)]
    numbers += [rules.MAX_EVENT_BYTES, rules.MAX_BATCH_EVENTS, ingest.MAX_BATCH_COLLECTIONS, security.MAX_KEY_LENGTH]
    numbers += [default[name] // 2**20 for name in ("max_body_bytes", "max_bodies_bytes", "max_waiting_bytes")]
    numbers += [default["failed_keys_per_minute"] * times for times in (1, failed_keys.ADDRESSES_OF_A_PROJECT)]
    numbers += [lines.MAX_LINE_BYTES // 2**20, lines.MAX_RATIO, service.MAX_WAITING]
    numbers += [default[name] for name in ("max_collections", "max_downloads", "max_uploads", "concurrent_transfers")]
    assert {f"{number:,}" for number in numbers} == set(re.findall(r"\d[\d,]*\b", " ".join(limits)))


def test_the_figures_of_more_than_one_machine_are_documented() -> None:
    page, server = ((DOCS / name).read_text() for name in ("scaling.md", "server.md"))
    assert f"not been heard of for {job_table.GONE_AFTER:g} seconds" in page
    assert f"the last {jobs.MAX_KEPT}\nof a project" in page
    assert f"in slices of {copying._SLICE_EVENTS:,}" in page
    assert f"{EXPIRED_AT_ONCE:,} events of a collection at a time" in server


def test_every_count_and_every_reason_is_documented(tmp_path: Path) -> None:
    page = DOCS / "reliability.md"
    handler = ConnectHandler(**WITHOUT_ADDRESS, spool=tmp_path)
    assert names(table(page, "key")) == list(handler.stats())
    handler.close()
    assert names(table(page, "reason of a drop")) == list(DROP_REASONS)
    assert names(table(page, "policy")) == [policy.value for policy in Overflow]
    assert names(table(page, "name")) == list(FIELDS_OF_LETTERS)


def test_every_option_of_the_spool_and_every_durability_is_documented() -> None:
    page = DOCS / "reliability.md"
    documented = defaults(table(page, "option"))
    buffering = {*BufferOptions.__struct_fields__}
    memory = set(inspect.signature(MemoryBuffer).parameters)
    assert set(documented) == buffering - memory, "what makes a buffer, without what makes one in memory"
    for kind in (ConnectHandler, ConnectClient):
        assert documented.items() <= options_of(kind).items()
    assert names(table(page, "durability")) == [f'"{each}"' for each in DURABILITIES]
    assert DEAD_LETTERS in page.read_text()
    assert all(f'"{state}"' in page.read_text() for state in STATES)


def test_every_rule_is_documented() -> None:
    """The rules are the constants that violations are made with."""
    found = {*rules._SPECIAL}
    for module in (rules, event):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                at = {"Violation": 1, "_report": 2}.get(node.func.id)
                if at is not None and isinstance(node.args[at], ast.Constant):
                    found.add(node.args[at].value)
    assert set(names(table(DOCS / "events.md", "rule"))) == found


def test_every_word_of_the_builder_is_documented() -> None:
    page = (DOCS / "querying.md").read_text()
    shown = {"Aggregate", "Condition", "Export", "Filter", "Order", "Periods", "Query", "Relative"}
    for name in set(query.__all__) - shown:
        assert re.search(rf"\b{name}\(", page), name
    for name in dir(query.Query):
        assert (
            name.startswith("_") or name in {"begin", "collection"} or f"`{name}" in page or f"await {name}" in page
        ), name
    for names in (_terms.RELATIVE_TIMEFRAMES, _terms.PERIODS, _terms.INTERVALS):
        assert all(f"`{name}`" in page or f'`"{name}"`' in page or f").{name}`" in page for name in names)


def test_every_file_of_the_data_directory_is_documented(tmp_path: Path) -> None:
    with backing_of(Settings(tmp_path)) as backing:
        backing.projects.create_first()
        made = {each.name for each in tmp_path.iterdir() if not each.name.startswith("events.duckdb.")}
    assert made <= {*names(table(DOCS / "server.md", "file"))}


def test_every_key_is_documented() -> None:
    documented = names(table(DOCS / "server.md", "key"))
    assert documented == [role if role != "push_query" else "pushQuery" for role in ROLES]


def test_every_route_is_documented(tmp_path: Path) -> None:
    app: Any = make_app(Settings(tmp_path), backed(tmp_path, None))
    while not hasattr(app, "routes"):
        app = app._app
    documented = re.findall(r"^## (GET|POST|DELETE) (/[^ ?\n]*)", (DOCS / "http-api.md").read_text(), re.M)
    routes = {(method, route.path) for route in app.routes for method in route.methods - {"HEAD"}}
    assert {*documented, ("POST", "/events/")} == routes


def test_the_readme_is_short_and_begins_with_what_one_does() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 120
    start = "\n".join(lines[:20])
    assert start.index("make demo") < start.index("make test") < start.index("```python")
    assert "```" in start[start.index("```python") + 3 :]


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "examples" / "shop" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.fixture
def environ(serve: Serve) -> dict[str, str]:
    """The variables that the documentation tells to export."""
    server = serve()
    return {**os.environ, **variables(server), "PYTHONWARNINGS": "error"}


def variables(server: ServerProcess) -> dict[str, str]:
    return {
        "CONNECT_BASE_URL": server.url,
        "CONNECT_PROJECT_ID": server.project_id,
        "CONNECT_API_KEY": server.keys["push_query"],
        "CONNECT_MASTER_KEY": server.keys["master"],
    }


@pytest.fixture(scope="module")
def used_environ(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a server that is not new: the first lines of the README have run, and perhaps other pages."""
    environ = {**os.environ, **variables(server), "PYTHONWARNINGS": "error"}
    first, cwd = blocks(README, "python")[0][1], tmp_path_factory.mktemp("first")
    subprocess.run([sys.executable, "-c", first], env=environ, cwd=cwd, check=True)
    return environ


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, used_environ: dict[str, str], tmp_path: Path) -> None:
    for start, code in blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-c", code], env=used_environ, cwd=tmp_path, capture_output=True, text=True
        )
        line = page.read_text()[:start].count("\n") + 1
        assert (done.returncode, done.stderr) == (0, ""), f"{page.name}, line {line}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_curl_lines_of_the_page_answer_as_shown(serve: Serve, tmp_path: Path) -> None:
    with serving_s3("my-bucket") as s3:
        s3.client.put_object(Bucket="my-bucket", Key="visits.json.gz", Body=gzip.compress(b'{"page": "/"}\n'))
        server = serve(options=["--s3-endpoint", s3.url])
        environ = {**os.environ, **variables(server), "S3_ENDPOINT": s3.url}
        environ |= {name.upper(): value for name, value in KEYS.items()}
        run_curl_lines(environ, tmp_path)


def run_curl_lines(environ: dict[str, str], tmp_path: Path) -> None:
    page = DOCS / "http-api.md"
    answers = blocks(page, "json")
    for start, command in blocks(page, "sh"):
        if "curl" not in command:
            continue
        end = start + len(f"```sh\n{command}```\n\n")
        expected = next((answer for at, answer in answers if at == end), None)
        done = subprocess.run(
            ["bash", "-c", command], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout) if done.stdout else None
        assert found == (like(json.loads(expected), found) if expected else None)


def test_what_the_first_lines_of_the_readme_have_logged_can_be_asked_for(
    environ: dict[str, str], tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-c", blocks(README, "python")[0][1]], env=environ, cwd=tmp_path, check=True)
    [question] = [command for _, command in blocks(README, "sh") if command.startswith("connect-logging query")]
    env = {**environ, "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}", "COLUMNS": "80"}
    done = subprocess.run(["bash", "-c", question], env=env, cwd=tmp_path, capture_output=True, text=True)
    [shown] = [answer for _, answer in blocks(README, "text")]
    assert (done.stdout, done.stderr) == (shown, "")


def test_the_commands_of_the_page_print_as_shown(environ: dict[str, str], tmp_path: Path) -> None:
    page = DOCS / "cli.md"
    answers = dict(blocks(page, "text"))
    env = {**environ, "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}", "COLUMNS": "80"}
    for start, command in blocks(page, "sh"):
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command], env=env, cwd=tmp_path, capture_output=True, text=True
        )
        line = page.read_text()[:start].count("\n") + 1
        assert (done.returncode, done.stderr) == (0, ""), f"line {line}"
        expected = answers.get(start + len(f"```sh\n{command}```\n\n"))
        if expected is not None:
            pattern = re.escape(expected).replace("…", ".*")
            assert re.fullmatch(pattern, done.stdout), f"line {line}: {done.stdout}"


def like(shown: Any, found: Any) -> Any:
    """``shown``, with what is found where it has an ellipsis."""
    if isinstance(shown, dict) and isinstance(found, dict):
        return {name: like(value, found.get(name)) for name, value in shown.items()}
    if isinstance(shown, list) and isinstance(found, list) and len(shown) == len(found):
        return [like(*pair) for pair in zip(shown, found, strict=True)]
    return found if shown == "…" else shown
