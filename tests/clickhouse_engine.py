"""ClickHouse itself, in this process by chdb, asked as its HTTP interface asks it: one statement with all its settings.

Every statement has a handle of its own, so that settings and the database end with it, and several run at once.
chdb allows one directory a process: while an engine is open, only engines and clients of the same directory can be.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import chdb

_INSERT = re.compile(rb"\s*(INSERT\s+INTO\s.*?)\sFORMAT\s+(\w+)[ \t]*\r?\n?", re.IGNORECASE | re.DOTALL)
_VALUES = re.compile(r"values", re.IGNORECASE)
_ASKS = re.compile(rb"[\s(]*(SELECT|WITH|FROM|SHOW|DESC|DESCRIBE|EXISTS|EXPLAIN|CHECK|VALUES|KILL)\b", re.IGNORECASE)
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)[\s;]*$", re.IGNORECASE)
_KILL = re.compile(rb"\s*KILL\s+QUERY\b", re.IGNORECASE)
_SELF = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUERY_ID = "format_template_row_format"
"""A setting that nobody needs: chdb gives ids of its own."""

STATUSES = {
    "REQUIRED_PASSWORD": 401,
    **dict.fromkeys(["AUTHENTICATION_FAILED", "UNKNOWN_USER", "WRONG_PASSWORD", "ACCESS_DENIED"], 403),
    **dict.fromkeys(
        ["SYNTAX_ERROR", "BAD_ARGUMENTS", "INCORRECT_DATA", "TYPE_MISMATCH", "ILLEGAL_COLUMN", "DUPLICATE_COLUMN"], 400
    ),
    **dict.fromkeys(["CANNOT_PARSE_TEXT", "CANNOT_PARSE_INPUT_ASSERTION_FAILED", "CANNOT_PARSE_NUMBER"], 400),
    **dict.fromkeys(["UNKNOWN_TABLE", "UNKNOWN_DATABASE", "UNKNOWN_FUNCTION", "UNKNOWN_IDENTIFIER"], 404),
    **dict.fromkeys(["UNKNOWN_SETTING", "UNKNOWN_TYPE", "UNKNOWN_STORAGE", "UNKNOWN_FORMAT"], 404),
    "TIMEOUT_EXCEEDED": 408,
    "QUERY_IS_TOO_LARGE": 413,
    "NOT_IMPLEMENTED": 501,
    "CANNOT_SCHEDULE_TASK": 503,
}
"""What ClickHouse answers its exceptions with; all others with 500."""


class EngineError(Exception):
    """An exception of ClickHouse: ``code``, ``name``, and its text as the HTTP interface answers it."""

    def __init__(self, text: str, version: str = chdb.engine_version) -> None:
        found = re.search(r"Code: (\d+)\. .*", text, re.DOTALL)
        message = found[0].strip() if found else f"Code: 1001. DB::Exception: {text}. (STD_EXCEPTION)"
        self.code = int(found[1]) if found else 1001
        message = re.sub(r" \(version [\d.]+\)$", "", message)
        self.name = message.rpartition("(")[2].rstrip(")")
        self.status = STATUSES.get(self.name, 500)
        super().__init__(f"{message} (version {version} (official build))\n")


@dataclass(frozen=True)
class Statement:
    """``text``: without the ``data`` of an insert, which is in ``form``. ``form`` is else that of the answer.

    ``parameters``: by name, escaped as in tab-separated values. ``query_id``: what KILL QUERY knows it by.
    """

    text: bytes
    form: str
    data: bytes | None = field(default=None, repr=False)
    database: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    query_id: str = ""

    @property
    def has_result(self) -> bool:
        """Whether it asks something."""
        return bool(_ASKS.match(self.text))


def split(query: bytes, form: str) -> tuple[bytes, str, bytes | None]:
    """The text, form and data of ``query``; ``form``: what it is answered in unless it says so itself."""
    insert = _INSERT.match(query)
    if insert and not _VALUES.fullmatch(insert[2].decode()):
        return insert[1], insert[2].decode(), query[insert.end() :]
    named = _FORMAT.search(query)
    return query, named[1].decode() if named else form, None


class Result(NamedTuple):
    """``body`` in the form that was asked for; how many rows were read and written."""

    body: bytes
    read: int = 0
    written: int = 0


class Engine:
    """The database in ``path``. Safe to share between threads."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._keeps_it_open = chdb.connect(path)
        self.timezone = self._keeps_it_open.query("SELECT timezone()", "TabSeparatedRaw").bytes().decode().strip()

    def close(self) -> None:
        """Let go of the directory."""
        self._keeps_it_open.close()

    def run(self, statement: Statement) -> Result:
        """Run it to its end. Raises EngineError."""
        handle = None
        try:
            handle = chdb.connect(self.path)
            self._prepare(handle, statement)
            return _ask(handle, statement) if statement.data is None else _insert(handle, statement, statement.data)
        except RuntimeError as error:  # what chdb raises, and its ChdbError
            raise EngineError(str(error)) from None
        finally:
            if handle is not None:
                handle.close()

    def kill(self, query_id: str) -> None:
        """End the statement with that id, if there is one."""
        self.run(Statement(b"KILL QUERY WHERE query_id = {id:String} ASYNC", "Null", parameters={"id": query_id}))

    def _prepare(self, handle: Any, statement: Statement) -> None:
        settings = dict(statement.settings)
        if statement.query_id:
            settings[_QUERY_ID] = statement.query_id
        if statement.database:
            handle.query(f"USE `{statement.database}`")
        for name in settings:
            if not _SELF.fullmatch(name):
                raise EngineError(f"Code: 115. DB::Exception: Unknown setting '{name}'. (UNKNOWN_SETTING)")
        if settings:
            handle.query("SET " + ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items()))


def _ask(handle: Any, statement: Statement) -> Result:
    text = statement.text
    if _KILL.match(text):
        text = re.sub(rb"\bquery_id\b", f"Settings['{_QUERY_ID}']".encode(), text)
    answer = handle.query(text, statement.form, params=dict(statement.parameters))
    return Result(answer.bytes() or b"", read=answer.rows_read())


def _insert(handle: Any, statement: Statement, data: bytes) -> Result:
    """By a file: chdb's inserts in pieces are silent when a column that is computed fails."""
    into, settings, values = re.split(r"(\sSETTINGS\s|$)", statement.text.decode(), maxsplit=1, flags=re.IGNORECASE)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        text = f"{into} FROM INFILE {_quoted(file.name)}{settings}{values} FORMAT {statement.form}"
        return Result(b"", written=handle.query(text, "Null").rows_read())


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
