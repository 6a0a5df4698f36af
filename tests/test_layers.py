"""The layers of the design, read from the imports of every module. Nothing is imported to find out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

PACKAGE: Final = Path(__file__).parent.parent / "connect_logging"
ROOT: Final = "connect_logging"
MAX_LINES: Final = 400

LAYERS: Final = {
    "exceptions": 0,
    "_types": 0,
    "rules": 1,
    "_shapes": 1,
    "event": 1,
    "_completion": 1,
    "responses": 1,
    "security": 1,
    "_terms": 1,
    "_settings": 1,
    "_grammar": 1,
    "_grammar.calendars": 1,
    "_grammar.documents": 1,
    "_grammar.filters": 1,
    "_grammar.model": 1,
    "_grammar.reading": 1,
    "_grammar.timeframes": 1,
    "_grammar.zones": 1,
    "_http": 1,
    "_tables": 1,
    "_select": 1,
    "_when": 1,
    "_where": 1,
    "_frames": 1,
    "_mapping": 2,
    "_buffer": 2,
    "_transport": 2,
    "_exchange": 2,
    "_download": 2,
    "_importing": 2,
    "_retry": 2,
    "_dead_letter": 2,
    "_rotating_file": 1,
    "_outbox": 2,
    "_ledger": 2,
    "_worker": 2,
    "_forking": 2,
    "_notices": 2,
    "_journal": 2,
    "_journal.framing": 2,
    "_journal.payload": 2,
    "_journal.reading": 2,
    "_journal.receipts": 2,
    "_journal.recovery": 2,
    "_journal.segment": 2,
    "_journal.shelf": 2,
    "_journal.spool": 2,
    "_journal.sync": 2,
    "_journal.taking": 2,
    "_console": 2,
    "_profiles": 2,
    "_settlement": 3,
    "_schedule": 3,
    "_durability": 3,
    "_sender": 3,
    "_sender_process": 4,
    "_letter_file": 3,
    "_reader": 3,
    "query": 3,
    "_pusher": 4,
    "client": 5,
    "_sending": 5,
    "_charts": 2,
    "_choosing": 6,
    "_connecting": 6,
    "_answers": 6,
    "handler": 6,
    "_placing": 6,
    "cli_backup": 7,
    "cli_collections": 7,
    "cli_copy": 7,
    "cli_keys": 7,
    "cli_letters": 7,
    "cli_projects": 7,
    "cli_push": 7,
    "cli_query": 7,
    "cli_spool": 7,
    "cli_tail": 7,
    "cli_transfer": 7,
    "cli": 8,
    "testing": 8,
    "": 8,
}
"""The client's modules; ``""`` is the package root."""

SERVER_LAYERS: Final = {
    "server.settings": 1,
    "server.data_directory": 0,
    "server.projects": 1,
    "server.answers": 1,
    "server.observing": 1,
    "server.threads": 1,
    "server.periodic": 1,
    "server.retention": 1,
    "server.turns": 1,
    "server.tls": 1,
    "server.failed_keys": 1,
    "server.query": 1,
    "server.query.parser": 1,
    "server.query.dialect": 1,
    "server.query.clocks": 1,
    "server.query.duckdb_dialect": 1,
    "server.query.clickhouse_dialect": 1,
    "server.query.compiler": 1,
    "server.query.answer": 1,
    "server.openapi": 2,
    "server.access_log": 2,
    "server.auth": 2,
    "server.body": 2,
    "server.parameters": 2,
    "server.s3": 2,
    "server.s3.addresses": 2,
    "server.s3.pinned": 2,
    "server.s3.bucket": 2,
    "server.stores": 2,
    "server.stores.base": 2,
    "server.stores.batch": 2,
    "server.stores.group_commit": 2,
    "server.stores.answers": 2,
    "server.stores.interrupting": 2,
    "server.stores.requests": 2,
    "server.stores.shapes": 2,
    "server.stores.tables": 2,
    "server.stores.clickhouse": 2,
    "server.stores.clickhouse_export": 2,
    "server.stores.clickhouse_lines": 2,
    "server.stores.clickhouse_overview": 2,
    "server.stores.clickhouse_writing": 2,
    "server.stores.clickhouse_address": 0,
    "server.stores.clickhouse_remedies": 1,
    "server.stores.clickhouse_connection": 2,
    "server.stores.clickhouse_tables": 2,
    "server.stores.clickhouse_projects": 2,
    "server.stores.clickhouse_retention": 2,
    "server.stores.duckdb_file": 2,
    "server.stores.duckdb_calls": 2,
    "server.stores.duckdb_keys": 2,
    "server.stores.duckdb_lines": 2,
    "server.stores.duckdb_columns": 2,
    "server.stores.duckdb_export": 2,
    "server.stores.duckdb_overview": 2,
    "server.stores.duckdb_types": 2,
    "server.stores.duckdb_writing": 2,
    "server.stores.duckdb": 2,
    "server.timestamps": 1,
    "server.alike": 3,
    "server.ingest": 4,
    "server.transfers": 5,
    "server.transfers.lines": 5,
    "server.transfers.jobs": 5,
    "server.transfers.job_files": 5,
    "server.transfers.job_table": 5,
    "server.transfers.workers": 5,
    "server.transfers.asking": 5,
    "server.transfers.importing": 5,
    "server.transfers.service": 5,
    "server.transfers.schemas": 5,
    "server.downloads": 4,
    "server.routing": 4,
    "server.schemas": 4,
    "server.parsing": 4,
    "server.reads": 4,
    "server.metrics": 4,
    "server.metrics_server": 4,
    "server.control": 4,
    "server.middleware": 6,
    "server.cycle": 6,
    "server.backup": 6,
    "server.backing": 6,
    "server.copying": 6,
    "server.routes": 6,
    "server.routes.documents": 6,
    "server.routes.events": 6,
    "server.routes.operations": 6,
    "server.routes.queries": 6,
    "server.routes.exports": 6,
    "server.routes.imports": 6,
    "server.routes.collections": 6,
    "server.app": 7,
    "server.connection": 7,
    "server.http_server": 8,
    "server.serve": 9,
    "server.in_process": 9,
    "server": 10,
}

BUILT_ON_EACH_OTHER: Final = (0, 1)
"""Layers of the client whose modules may import each other, without a circle. Those of the others may not."""
FAMILIES: Final = ("_journal.", "server.query.", "server.s3.", "server.stores.", "server.transfers.")
"""Packages whose modules may import each other, without a circle."""
FOR_THE_SERVER: Final = (0, 1)
"""Layers of the client that the server may import from."""
STARTS_THE_SERVER: Final = ("_placing", "cli", "cli_backup", "cli_copy", "cli_projects", "testing")
"""The modules that may import the server, where it costs nothing until it is used."""

KEPT_APART: Final = {
    "_grammar": ("starlette", "uvicorn", "duckdb", "json5"),
    "server.routes": ("duckdb", "clickhouse_connect"),
    "server.stores": ("starlette", "uvicorn", "anyio", "h11"),
    "server.query": ("starlette", "uvicorn", "duckdb", "clickhouse_connect"),
}
"""What the modules of a package must not know of the outside."""

SQL: Final = re.compile(
    r"\b(SELECT|INSERT|UPDATE|WHERE|FROM|JOIN)\b"
    r"|(?i:\b(select\b.+\bfrom|insert\s+into|delete\s+from|update\b.+\bset|(create|drop|alter)\s+table|(group|order)\s+by)\b)"
)


class Import(NamedTuple):
    """``target``: a module of this package, from its root, or one of the outside, with ``outside`` set."""

    target: str
    outside: bool
    lazy: bool
    """In a function or for the type checker: it does not run when the module is imported."""


@cache
def _parse(source: str) -> ast.Module:
    return ast.parse(source)


Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Module(NamedTuple):
    name: str
    source: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        return _parse(self.source)

    @property
    def package(self) -> str:
        return self.name if self.is_package else self.name.rpartition(".")[0]


def modules() -> dict[str, Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = Module(name, path.read_text(encoding="utf-8"), is_package)
    return found


MODULES: Final = modules()


# Reading imports


def imports(module: Module) -> list[Import]:
    return [*_imports(module, module.tree, False)]


def _imports(module: Module, node: ast.AST, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield _absolute(alias.name, lazy)
        elif isinstance(child, ast.ImportFrom):
            yield from _from(module, child, lazy)
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _for_types(child)
            yield from _imports(module, child, lazy or later)


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _absolute(name: str, lazy: bool) -> Import:
    if name == ROOT or name.startswith(f"{ROOT}."):
        return Import(name[len(ROOT) + 1 :], False, lazy)
    return Import(name, True, lazy)


def _from(module: Module, node: ast.ImportFrom, lazy: bool) -> Iterator[Import]:
    if node.level:
        package = f"{ROOT}.{module.package}".rstrip(".").split(".")
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
    else:
        base = node.module or ""
    for alias in node.names:
        inner = _absolute(f"{base}.{alias.name}", lazy)
        # ``from .stores import base`` is an import of the module, ``from .rules import check`` of its parent.
        yield inner if inner.target in MODULES and not inner.outside else _absolute(base, lazy)


# The rules


def layer_problems(module: Module) -> list[str]:
    """What a module imports that it must not."""
    name = module.name
    if name not in LAYERS | SERVER_LAYERS:
        return [f"{name} is in no layer: put it into the table, and tell the design"]
    found = [problem for each in imports(module) if not each.outside and (problem := _problem(name, each))]
    for package, strangers in KEPT_APART.items():
        if f"{name}.".startswith(f"{package}."):
            found += (
                f"{name} imports {each.target}"
                for each in imports(module)
                if each.outside and each.target.partition(".")[0] in strangers
            )
    return found


def _problem(name: str, each: Import) -> str | None:
    target = each.target
    if target == "" or (target not in LAYERS and target not in SERVER_LAYERS):
        return f"{name} imports {f'{ROOT}.{target}'.rstrip('.')}, the root or no module of the table"
    if name in SERVER_LAYERS and target in LAYERS:
        allowed = LAYERS[target] in FOR_THE_SERVER
    elif name in LAYERS and target in SERVER_LAYERS:
        allowed = name in STARTS_THE_SERVER and each.lazy
    else:
        table = LAYERS if name in LAYERS else SERVER_LAYERS
        mine, others = table[name], table[target]
        related = any(name.startswith(prefix) and target.startswith(prefix) for prefix in FAMILIES)
        related = related or (table is LAYERS and mine in BUILT_ON_EACH_OTHER)
        allowed = others < mine or (others == mine and related)
    return None if allowed else f"{name} imports {target}, which is not below it"


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle of imports, in order; none when there is no circle."""
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph.get(name, ())):
            if found := visit(target, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


def graph() -> dict[str, set[str]]:
    return {name: {each.target for each in imports(module) if not each.outside} for name, module in MODULES.items()}


def texts(module: Module) -> list[str]:
    """The texts of a module: its string constants without the docstrings, and its f-strings, each as a whole."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(module.tree)
        if isinstance(node, Documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [*_texts(module.tree, docstrings)]


def _texts(node: ast.AST, docstrings: set[int]) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        yield ast.unparse(node)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
        yield node.value
    for child in ast.iter_child_nodes(node):
        yield from _texts(child, docstrings)


def undocumented(module: Module) -> list[str]:
    """The public module, classes, functions and methods that have no docstring."""
    return [f"{module.name}: {name}" for name, node in _public(module.tree, "module") if not ast.get_docstring(node)]


def _public(node: Documented, name: str) -> Iterator[tuple[str, Documented]]:
    yield name, node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
                yield from _public(child, child.name)


def logic(module: Module) -> list[str]:
    """What an ``__init__`` holds beside its docstring, imports and ``__all__``."""
    return [
        ast.unparse(node).splitlines()[0]
        for node in module.tree.body
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    ]


# The package keeps them


@pytest.mark.parametrize("name", MODULES, ids=lambda name: name or ROOT)
def test_a_module_imports_only_what_lies_below_it(name: str) -> None:
    assert layer_problems(MODULES[name]) == []


def test_the_table_holds_the_modules_that_there_are_and_no_others() -> None:
    assert sorted(LAYERS | SERVER_LAYERS) == sorted(MODULES)


def test_no_imports_go_in_a_circle() -> None:
    assert circle(graph()) == []


def test_the_graph_is_read_from_the_real_modules() -> None:
    """A reader that found nothing would find nothing wrong."""
    edges = graph()
    assert {"_ledger", "_transport", "_settlement", "_worker"} <= edges["_pusher"]
    assert {"_ledger", "_outbox", "_retry", "_dead_letter"} <= edges["_settlement"]
    assert {"_buffer", "_journal.spool", "_journal.recovery"} <= edges["_durability"]
    assert {"_types", "rules", "exceptions"} <= edges["event"]
    assert edges["exceptions"] == {"_types"}, "an import for the type checker counts"
    assert {"client", "handler", "security"} <= edges[""]
    assert {"_grammar.filters", "security"} <= edges["server.auth"]
    assert "_grammar.documents" in edges["server.query.parser"]
    assert {"server.serve", "server.projects", "cli_spool", "cli_letters", "cli_projects"} <= edges["cli"]


def test_the_transport_does_not_know_of_retrying() -> None:
    assert "_retry" not in graph()["_transport"]


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("server.routes")])
def test_routes_hold_no_sql(name: str) -> None:
    assert [text for text in texts(MODULES[name]) if SQL.search(text)] == []


@pytest.mark.parametrize("name", MODULES, ids=lambda name: name or ROOT)
def test_a_module_is_short_and_is_no_drawer_for_odds_and_ends(name: str) -> None:
    assert MODULES[name].source.count("\n") <= MAX_LINES
    assert name.rpartition(".")[2].strip("_") not in {"utils", "util", "helpers", "common", "misc"}


@pytest.mark.parametrize("name", [name for name, module in MODULES.items() if module.is_package])
def test_an_init_holds_no_logic(name: str) -> None:
    assert logic(MODULES[name]) == []


@pytest.mark.parametrize("name", MODULES, ids=lambda name: name or ROOT)
def test_what_is_public_is_documented(name: str) -> None:
    assert undocumented(MODULES[name]) == []


# And these tests would see it if it did not


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("_buffer", "from ._ledger import Ledger"),
        ("_buffer", "from connect_logging._ledger import Ledger"),
        ("_buffer", "import connect_logging._ledger"),
        ("_transport", "from ._retry import RetryPolicy"),
        ("_types", "from .rules import EventRules"),
        ("_types", "if TYPE_CHECKING:\n    from .event import Event"),
        ("rules", "def later():\n    from ._buffer import MemoryBuffer"),
        ("_pusher", "from .client import ConnectClient"),
        ("client", "from .handler import ConnectHandler"),
        ("handler", "from .cli import main"),
        ("client", "from . import ConnectHandler"),
        ("client", "from connect_logging import ConnectHandler"),
        ("client", "import connect_logging"),
        ("client", "from .unheard_of import thing"),
        ("_new", "import os"),
        ("handler", "def f():\n    from .server.app import make_app"),
        ("cli", "from .server.app import make_app"),
        ("cli", "class C:\n    from .server import serve"),
        ("server.app", "from .._buffer import MemoryBuffer"),
        ("server.app", "from .._pusher import Pusher"),
        ("server.app", "from .. import ConnectClient"),
        ("server.routes.events", "from ... import ConnectClient"),
        ("server.ingest", "from .routes.events import EventRoutes"),
        ("server.ingest", "from .routes import events"),
        ("server.settings", "from .projects import Project"),
        ("server.auth", "from .stores.base import Store"),
        ("server.routes.events", "from .queries import QueryRoutes"),
        ("server.query.parser", "from ..auth import Grant"),
        ("server.routes.events", "import duckdb"),
        ("server.routes.events", "def f():\n    from duckdb.typing import X"),
        ("server.stores.duckdb", "from starlette.requests import Request"),
        ("server.query.compiler", "import duckdb"),
    ],
)
def test_an_import_that_is_not_allowed_is_found(name: str, source: str) -> None:
    assert len(layer_problems(Module(name, source))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("event", "from .rules import EventRules\nfrom ._types import Clock"),
        ("_pusher", "import os\nfrom ._buffer import MemoryBuffer"),
        ("cli", "def serve():\n    from .server.serve import serve"),
        ("cli", "if TYPE_CHECKING:\n    from .server.projects import Project"),
        ("server.app", "from ..rules import EventRules\nfrom .routes import events\nfrom . import settings"),
        ("server.query.compiler", "from .dialect import Dialect\nfrom ..._grammar.model import Query"),
        (
            "server.stores.duckdb",
            "import duckdb\nfrom .base import Store\nfrom ..query.compiler import compile_query",
        ),
        ("_settings", "import connect_logging_other"),
    ],
)
def test_an_import_that_is_allowed_is_no_problem(name: str, source: str) -> None:
    assert layer_problems(Module(name, source)) == []


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"a"}}, ["a", "a"]),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
        ({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}, []),
    ],
)
def test_a_circle_is_found(edges: dict[str, set[str]], expected: list[str]) -> None:
    assert circle(edges) == expected


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""SELECT in a docstring."""', False),
        ("q = 'SELECT 1'", True),
        ("q = f'select {a} from {b}'", True),
        ("q = 'select a from b'", True),
        ("q = f'{a} group by {b}'", True),
        ("q = 'Delete  From t'", True),
        ("methods = ['DELETE', 'POST']; names = ['select', 'groupBy', 'filter']", False),
    ],
)
def test_sql_is_found(source: str, found: bool) -> None:
    assert any(SQL.search(text) for text in texts(Module("server.routes.x", source))) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""Doc."""\nfrom . import a\n__all__ = ["a"]', 0),
        ('"""Doc."""\nimport os\nx = os.name', 1),
        ("def f(): ...\nif True:\n    pass", 2),
    ],
)
def test_logic_in_an_init_is_found(source: str, found: int) -> None:
    assert len(logic(Module("", source, is_package=True))) == found


def test_a_missing_docstring_is_found() -> None:
    source = (
        "class A:\n  def f(self): ...\n  def _g(self): ...\nclass _B:\n  def f(self): ...\ndef h():\n  def i(): ..."
    )
    assert undocumented(Module("m", source)) == ["m: module", "m: A", "m: f", "m: h"]
