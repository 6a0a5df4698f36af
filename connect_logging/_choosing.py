"""The options that choose events: conditions such as ``price=gt:5``, and times.

``--where`` narrows, each time; of several ``--any-of`` one must hold. A value is read as JSON where it is JSON (5,
true, null, "5" in quotes), else as the text that it is; with ``in``, several are parted by commas.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import click

from ._console import Problem, plain
from ._grammar.filters import parse_filters
from ._terms import OPERATORS, PERIODS, RELATIVE_TIMEFRAMES
from ._when import Relative
from ._where import Filter, all_of, any_of
from .exceptions import InvalidQueryError
from .query import Export, Query
from .rules import MAX_INTEGER, MIN_INTEGER

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Selection = TypeVar("_Selection", Query, Export)

_SOME_PERIODS: Final = re.compile(r"(last|current)[ _-](\d{1,9})[ _-]([a-z]+)")
_WHICH: Final = {"last": "previous", "current": "current"}
_PARTS: Final = {
    "filter": "where",
    "groupBy": "by",
    "interval": "interval",
    "limit": "limit",
    "nonEmpty": "non-empty",
    "orderBy": "order-by",
    "timeframe": "timeframe",
    "timezone": "timezone",
}
"""The options that make the parts of a query."""
_BOUNDS: Final = {"timeframe.start": "--start", "timeframe.end": "--end"}
_WORD: Final = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the options chose: ``apply`` narrows a query or an export to it."""

    filters: Filter
    timeframe: str | Relative | None = None
    start: datetime | None = None
    end: datetime | None = None
    timezone: str | float | None = None

    def apply(self, selection: _Selection) -> _Selection:
        """``selection``, narrowed. Raises InvalidQueryError."""
        narrowed = selection.where(self.filters)
        if self.timeframe is not None:
            narrowed = narrowed.timeframe(self.timeframe)  # type: ignore[arg-type]  # it was checked when it was read
        elif self.start or self.end:
            narrowed = narrowed.timeframe(self.start, self.end)
        return narrowed if self.timezone is None else narrowed.timezone(self.timezone)


@contextmanager
def in_options() -> Iterator[None]:
    """Say what is wrong with a query that only options made, by their names."""
    try:
        yield
    except InvalidQueryError as error:
        raise Problem("; ".join(f"{_option(field)}: {text}" for field, text in error.errors.items())) from None


def _option(field: str) -> str:
    part, _, within = field.partition(".")
    if part == "select":
        return f"column {within!r}"
    return _BOUNDS.get(field) or (f"--{_PARTS[part]}" if part in _PARTS else field)


def filter_options(command: _Command) -> _Command:
    """The command is passed a ``choice``, of which it has the filters."""

    @functools.wraps(command)
    def chosen(*arguments: Any, where: Sequence[Filter], any_of_: Sequence[Filter], **options: Any) -> Any:
        alternatives = [any_of(*any_of_)] if any_of_ else []
        return command(*arguments, choice=Choice(all_of(*where, *alternatives)), **options)

    decorated: Any = chosen
    for names, words in (
        (("--any-of", "any_of_"), "Of several of these, one or more must hold."),
        (("--where",), "Only such events: country=AU, price=gt:5, country=in:AU,NZ; all must hold."),
    ):
        option = click.option(*names, multiple=True, metavar="CONDITION", callback=_filters, help=words)
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def choice_options(command: _Command) -> _Command:
    """The command is passed its ``choice``: filters and times."""

    @functools.wraps(command)
    def chosen(*arguments: Any, choice: Choice, **options: Any) -> Any:
        times = {name: options.pop(name) for name in ("timeframe", "start", "end", "timezone")}
        if times["timeframe"] and (times["start"] or times["end"]):
            raise click.UsageError("--timeframe is a whole one: leave out --start and --end, or it")
        return command(*arguments, choice=Choice(choice.filters, **times), **options)

    decorated: Any = chosen
    for name, read, metavar, words in (
        ("timezone", _zone, "ZONE", "Whose calendar: Australia/Brisbane, or hours from UTC."),
        ("end", _moment, "TIME", "Only events before it; UTC, where it has no offset."),
        ("start", _moment, "TIME", "Only events from it on: 2026-03-01, 2026-03-01T08:30+10:00."),
        ("timeframe", _timeframe, "TIMEFRAME", "this_month, yesterday, …, last_3_days, current_24_hours."),
    ):
        option = click.option(f"--{name}", metavar=metavar, callback=_reading(read), help=words)
        decorated = option(decorated)
    return filter_options(decorated)  # type: ignore[no-any-return]


def read_object(name: str, text: str | None) -> dict[str, Any] | None:
    """The object in ``text``, or in standard input where that is ``-``. Raises UsageError, which says ``name``."""
    if text is None:
        return None
    try:
        read = json.loads(sys.stdin.read() if text == "-" else text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{name} is no JSON: {error}") from None
    if not isinstance(read, dict):
        raise click.UsageError(f"{name} must be an object of JSON, such as {{}}")
    return read


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two that are named alike one would be lost, and who wrote them meant both."""
    read = dict(pairs)
    if len(read) < len(pairs):
        [(repeated, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{repeated!a} is there twice")
    return read


def tell_ignored(document: Mapping[str, Any]) -> None:
    """Say on standard error which names of a query mean nothing: the protocol has them ignored, so a slip is too."""
    known = ("select", *_PARTS)
    if ignored := [name for name in document if name not in known]:
        names = ", ".join(map(ascii, ignored))
        click.echo(plain(f"ignored in QUERY: {names}; a query has {', '.join(known)}", 1_000), err=True)


def _filters(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> list[Filter]:
    return [read_condition(text) for text in texts]


def read_condition(text: str) -> Filter:
    """``country=AU``, or ``price=gt:5``. Raises BadParameter."""
    condition = _condition(text)
    try:
        parse_filters(condition.document)
    except InvalidQueryError as error:
        raise click.BadParameter(f"{text!r}: {'; '.join(error.errors.values())}") from None
    return condition


def _condition(text: str) -> Filter:
    path, equals, wanted = text.partition("=")
    if not equals or not path:
        raise click.BadParameter(f"{text!r} is no condition: write country=AU, or price=gt:5")
    word, colon, value = wanted.partition(":")
    operator = OPERATORS.get(word.lower()) if colon else None
    if operator is None:
        if colon and _WORD.fullmatch(word) and (close := difflib.get_close_matches(word, OPERATORS, 1)):
            hint = f"did you mean {close[0]}? For the text itself write {path}=eq:{wanted}"
            raise click.BadParameter(f"unknown operator {word!r} in {text!r}: {hint}")
        return all_of({path: _value(wanted)})
    if operator == "in":
        return all_of({path: {"in": _values(value.split(","))}})
    wanted = _text(value) if operator in ("startsWith", "endsWith") else _value(value)
    return all_of({path: {operator: wanted}})


def _values(texts: list[str]) -> list[Any]:
    """Of one kind: among texts, what looks like a number is one of them, as ``01234`` and ``90210``."""
    values = [*map(_value, texts)]
    if not any(isinstance(value, str) for value in values):
        return values
    return [text if _is_number(value) else value for text, value in zip(texts, values, strict=True)]


def _text(text: str) -> str:
    """For what takes nothing but texts: a number is the text of one, as in ``phone=startsWith:49``."""
    value = _value(text)
    return value if isinstance(value, str) else text


def _value(text: str) -> Any:
    """What is JSON is read as such, but for what no event can hold: objects, lists, numbers beyond 64 bits, or none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict | list) or (_is_number(value) and not MIN_INTEGER <= value <= MAX_INTEGER):
        return text
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reading(read: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    return lambda _context, _parameter, text: None if text is None else read(text)


def _timeframe(text: str) -> str | Relative:
    name = text.lower()
    if name in RELATIVE_TIMEFRAMES:
        return name
    if match := _SOME_PERIODS.fullmatch(name):
        which, number, period = match.groups()
        period = f"{period.removesuffix('s')}s"
        if period not in PERIODS:
            raise click.BadParameter(f"{text!r}: count in {', '.join(PERIODS)}")
        return Relative({_WHICH[which]: {period: int(number)}})
    raise click.BadParameter(
        f"{text!r} is none of {', '.join(RELATIVE_TIMEFRAMES)}; nor last_3_days, or current_3_days with today"
    )


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time: write 2026-03-01, or 2026-03-01T08:30+10:00") from None


def _zone(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
