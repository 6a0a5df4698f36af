"""What a valid event is. Client, handler and server decide with this module and no other.

Sources: the restrictions in the Connect documentation ("Modeling your events"), and the decisions of
docs/events.md where that documentation is silent.

:class:`EventRules` walks an event once and names every violation. Invariants:

* It never raises, whatever the event holds, and never keeps a reference to it.
* Its work is bounded by the size of an event that could be sent: it stops at ``MAX_EVENT_BYTES`` of
  text and values, at ``MAX_DEPTH`` and at ``MAX_VIOLATIONS``, so a cycle or a 100 MB event costs little.
* It reads what the encoder reads: of a subclass of dict or list the items it holds, whatever its methods say.
* What passes can be encoded as JSON without loss, lone surrogates apart: these surface when the event is
  encoded, and :func:`unencodable` then finds them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Any, Final, TypeAlias

from ._types import Properties, Violation

MAX_EVENT_BYTES: Final = 65_536
"""Of the encoded event, id and timestamp included: the documented 64 kB."""
MAX_BATCH_EVENTS: Final = 5_000
"""In one batch request, over all collections; documented."""
MAX_NAME_LENGTH: Final = 255
"""Characters in a property name; documented. Collections are held to the same."""
MAX_DEPTH: Final = 100
"""Objects and lists inside each other. Far above real events and far below any parser's own limit."""
MAX_VIOLATIONS: Final = 100
"""Reported of one event. Enough to mend it by, and a path of each may be 25 kB long."""
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1
"""The integers that both stores keep exactly. Beyond them a JSON reader may silently round."""

_SEEN_NAMES: Final = 4_096
"""Valid names remembered, so that a name is examined once; bounded, as names may come from user data."""

_COLLECTION = re.compile(r"\w[\w .:-]*")
_TIMESTAMP: Final = r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d{1,9})?([Zz]|[+-]\d{2}(?::?\d{2})?)?"

_Path: TypeAlias = "tuple[_Path, str | int] | None"
"""Where the walk is, linked to its parent: turned into text only when there is something to report."""


class _Stop(Exception):
    """The walk has seen enough: the event is too deep or too large, whatever else it holds."""


def collection_violation(name: object) -> str | None:
    """Why ``name`` cannot name a collection, or None when it can.

    Letters and digits of any script, ``_``, and after the first character also space, ``.``, ``:`` and ``-``:
    what the SDKs can put into a URL path and read back from a batch's answer.
    """
    if type(name) is not str:
        return f"a collection is named by a str, not {type(name).__name__}"
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        return f"a collection's name has 1 to {MAX_NAME_LENGTH} characters, not {len(name)}"
    if not _COLLECTION.fullmatch(name) or name != name.rstrip():
        return (
            "a collection's name begins with a letter, digit or '_', goes on with these and ' ', '.', ':', '-',"
            f" and does not end with a space: {name!a}"
        )
    if not unicodedata.is_normalized("NFKC", name):
        return f"a collection's name must be in Unicode form NFKC: {name!a}"
    if name == "errorMessage":
        return "'errorMessage' is what a failed batch answers with, and cannot name a collection"
    return None


@cache
def _timestamp() -> re.Pattern[str]:
    """Compiled for the first one: the events of a log call have none, and it takes a sixth of a millisecond."""
    return re.compile(_TIMESTAMP, re.ASCII)


def parse_timestamp(value: object) -> datetime:
    """``value`` as an aware datetime in UTC.

    A datetime (naive means UTC) or a full ISO-8601 date-time (``2015-07-17T11:11:11.587Z``; an offset is
    converted, none means UTC, digits beyond microseconds are cut off). Raises ValueError that says what is wrong.
    """
    if isinstance(value, datetime) and value == value:  # pandas has one that is no time
        parsed = value
    elif isinstance(value, str) and (match := _timestamp().fullmatch(value)):
        date, time, fraction, offset = match.groups(default="")
        try:
            parsed = datetime.fromisoformat(f"{date}T{time}{fraction}{offset.upper()}")
        except ValueError as error:
            raise ValueError(f"timestamp has no such time: {error}") from None
    else:
        raise ValueError("timestamp must be a datetime or a full ISO-8601 date-time such as 2015-07-17T11:11:11Z")
    if parsed.tzinfo is None:
        return parsed.replace(tzinfo=UTC)
    try:
        return parsed.astimezone(UTC)
    except OverflowError:
        raise ValueError("timestamp is outside the years 1 to 9999 in UTC") from None


def canonical_id(value: object) -> str:
    """The text under which an id is unique: a string as it is, 7 and 7.0 as ``"7"``. Raises ValueError."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value)) if MIN_INTEGER <= value <= MAX_INTEGER else _refuse_id()
    if isinstance(value, float) and value.is_integer():
        return canonical_id(int(value))
    return _refuse_id()


def _refuse_id() -> str:
    raise ValueError("id must be a string or an integer")


_SPECIAL: Final[dict[str, Callable[[object], object]]] = {"id": canonical_id, "timestamp": parse_timestamp}
"""The root properties whose values have a meaning of their own, with what reads them."""


class EventRules:
    """The rules for an event's properties, with a bounded memory of the names already found valid.

    ``refused_prefixes``: beginnings that no name at any level may have. The client refuses ``$`` as the
    original SDK did; the server, which takes events of all SDKs, refuses none.

    Safe to share between threads: the memory only grows, and losing an addition costs one more examination.
    """

    def __init__(self, refused_prefixes: tuple[str, ...] = ()) -> None:
        self._refused_prefixes = refused_prefixes
        self._root_names: set[object] = set()
        self._usual_names: set[object] = set()  # of the root as well, save those in _SPECIAL
        self._nested_names: set[object] = set()

    def surely_valid(self, properties: dict[str, Any]) -> bool:
        """Whether a quick look finds ``properties`` valid; where it does not, only :meth:`check` can say.

        For what nearly all events are: plain values of known names on at most two levels, without ``id`` and
        ``timestamp``; a list is a level, too. The inner loop is the outer one again: a call for it would cost half as
        much once more.
        """
        try:
            if not self._usual_names.issuperset(properties):
                return False
            size = 0
            for value in properties.values():
                kind = type(value)
                if kind is str:
                    size += len(value)
                elif kind is int:
                    # Small ones first: comparing with large ones takes longer.
                    if not -(2**29) < value < 2**29 and not -(2**63) <= value <= 18446744073709551615:
                        return False
                elif kind is float:
                    if value - value != 0.0:
                        return False
                elif kind is dict or kind is list:
                    size += len(value)
                    if size > MAX_EVENT_BYTES or (kind is dict and not self._nested_names.issuperset(value)):
                        return False
                    for inner in value.values() if kind is dict else value:
                        kind = type(inner)
                        if kind is str:
                            size += len(inner)
                        elif kind is int:
                            if not -(2**29) < inner < 2**29 and not -(2**63) <= inner <= 18446744073709551615:
                                return False
                        elif kind is float:
                            if inner - inner != 0.0:
                                return False
                        elif kind is not bool and inner is not None:
                            return False
                elif kind is not bool and value is not None:
                    return False
            return size < MAX_EVENT_BYTES
        except Exception:  # noqa: BLE001 - a value's own code ran, or the dict is being changed
            return False

    def knows_names(self, properties: Properties) -> bool:
        """Whether all names are known, so that ``properties``, which a decoder has made, are valid.

        Where it does not know them, only :meth:`check` can say. Without ``id`` and ``timestamp``, and the size apart.
        """
        nested = self._nested_names
        if not self._root_names.issuperset(properties):
            return False
        for value in properties.values():
            if type(value) is dict:
                if not nested.issuperset(value):
                    return False
                for inner in value.values():
                    if type(inner) is dict and not nested.issuperset(inner):
                        return False
            elif type(value) is list:
                for inner in value:
                    if type(inner) is dict and not nested.issuperset(inner):
                        return False
        return True

    def check(self, properties: dict[str, Any]) -> list[Violation]:
        """The violations in ``properties``, in its ``id`` and ``timestamp`` too; none when it is valid."""
        found: list[Violation] = []
        try:
            if not self._root_names.issuperset(properties):
                self._check_names(properties, self._root_names, None, found)
            self._walk(properties.items(), None, 1, MAX_EVENT_BYTES - len(properties), found)
            for name, read in _SPECIAL.items():
                if name in properties:
                    try:
                        read(properties[name])
                    except ValueError as error:
                        found.append(Violation(name, name, str(error)))
        except _Stop:
            pass
        except Exception as error:  # noqa: BLE001 - a value's own code ran: a hostile __eq__, a dict that changes
            found.append(Violation("", "type", f"the event could not be read: {type(error).__name__}"))
        return found

    def _walk(self, items: Any, path: _Path, depth: int, left: int, found: list[Violation]) -> int:
        """Check the values of a container's ``items``, of which each has its name or index before it.

        ``left`` is what remains of the bytes that an event may have, counted from below: a character of
        text and an item of a container take at least one each. Returned after this container's share.
        """
        if left < 0:
            raise self._too_large(found)
        for name, value in items:
            kind = type(value)
            if kind is str:
                left -= len(value)
            elif kind is int:
                if not MIN_INTEGER <= value <= MAX_INTEGER:
                    _report(found, (path, name), "range", "an integer must fit into 64 bits")
            elif kind is float:
                if value - value != 0.0:
                    _report(found, (path, name), "number", "NaN and infinities are not JSON")
            elif kind is dict or kind is list:
                inside = (path, name)
                if depth == MAX_DEPTH:
                    raise self._too_deep(inside, found)
                if kind is list:
                    left = self._walk(enumerate(value), inside, depth + 1, left - len(value), found)
                    continue
                if not self._nested_names.issuperset(value):
                    self._check_names(value, self._nested_names, inside, found)
                left = self._walk(value.items(), inside, depth + 1, left - len(value), found)
            elif kind is not bool and value is not None:
                plain = _plain(value)
                if plain is None:
                    message = f"{kind.__name__} is not JSON: send a str, number, bool, None, dict, list or datetime"
                    _report(found, (path, name), "type", message)
                else:
                    left = self._walk(((name, plain),), path, depth, left, found)
        if left < 0:
            raise self._too_large(found)
        return left

    def _check_names(self, names: Collection[object], known: set[object], path: _Path, found: list[Violation]) -> None:
        if len(names) > MAX_EVENT_BYTES:
            raise self._too_large(found)
        for name in names:
            if name not in known:
                self._check_name(name, known, path, found)

    def _check_name(self, name: object, known_names: set[object], path: _Path, found: list[Violation]) -> None:
        if not isinstance(name, str):
            kind = type(name).__name__
            _report(found, (path, f"<{kind}>"), "name", f"a property is named by a str, not {kind}")
            return
        name = str.__str__(name)  # a subclass may say anything about itself
        before = len(found)
        where = (path, name)
        if "." in name:
            _report(found, where, "dot", "a property's name must not contain a dot")
        if len(name) > MAX_NAME_LENGTH:
            message = f"a property's name has at most {MAX_NAME_LENGTH} characters, not {len(name)}"
            _report(found, where, "length", message)
        if name.startswith(self._refused_prefixes):
            message = f"a property's name must not begin with {' or '.join(self._refused_prefixes)}"
            _report(found, where, "prefix", message)
        if path is None and (name == "_id" or name[:3].lower() == "tp_"):
            message = "'_id' and names beginning with 'tp_' are reserved"
            _report(found, where, "reserved", message)
        if len(found) == before and len(known_names) < _SEEN_NAMES:
            known_names.add(name)
            if path is None and name not in _SPECIAL:
                self._usual_names.add(name)

    @staticmethod
    def _too_large(found: list[Violation]) -> _Stop:
        found.append(too_large())
        return _Stop()

    @staticmethod
    def _too_deep(path: _Path, found: list[Violation]) -> _Stop:
        message = f"nested deeper than {MAX_DEPTH} levels, or containing itself"
        found.append(Violation(_text(path), "depth", message))
        return _Stop()


def _report(found: list[Violation], path: _Path, rule: str, message: str) -> None:
    found.append(Violation(_text(path), rule, message))
    if len(found) >= MAX_VIOLATIONS:
        raise _Stop


def too_large(size: int | None = None) -> Violation:
    """The violation of an event over ``MAX_EVENT_BYTES``; ``size`` in bytes where it is known."""
    known = f", not {size:,}" if size is not None else ""
    return Violation("", "size", f"an event has at most {MAX_EVENT_BYTES:,} bytes as JSON{known}")


def unencodable(properties: dict[str, Any]) -> list[Violation]:
    """The names and texts in checked ``properties`` that hold a lone surrogate, which UTF-8 has no bytes for."""
    message = "the text holds a lone surrogate, which is not Unicode"
    paths = islice(_unencodable(properties, None), MAX_VIOLATIONS)
    return [Violation(_text(path), "text", message) for path in paths]


def _unencodable(value: object, path: _Path) -> Iterator[_Path]:
    if isinstance(value, str):
        try:
            str.encode(value)
        except UnicodeEncodeError:
            yield path
    elif isinstance(value, dict):
        for name, inner in dict.items(value):
            yield from _unencodable(name, (path, name))
            yield from _unencodable(inner, (path, name))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _unencodable(inner, (path, index))


def _plain(value: object) -> object | None:
    """A value of an accepted type that is not a plain JSON type, as the plain value it stands for; else None."""
    if isinstance(value, datetime):
        # What is no time, NaT of pandas, equals nothing. The text asks the time zone, as the encoder will.
        return datetime.isoformat(value) if value == value else None
    for base, convert in _BASES:
        if isinstance(value, base):
            return convert(value)
    return None


_TOO_MANY: Final = MAX_EVENT_BYTES + 1
"""Items that no event can have: more of a container need not be copied to see this."""
_BASES: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (dict, lambda value: dict(islice(dict.items(value), _TOO_MANY))),
    (list, lambda value: list(islice(list.__iter__(value), _TOO_MANY))),
    (tuple, lambda value: list(islice(tuple.__iter__(value), _TOO_MANY))),
)


def _text(path: _Path) -> str:
    """``customer.address[0].zip``; long or unprintable names are shortened and escaped, as they may be hostile."""
    parts: list[str] = []
    while path is not None:
        path, step = path
        if isinstance(step, int):
            parts.append(f"[{step}]")
        else:
            shown = step if len(step) <= MAX_NAME_LENGTH else step[:40] + "…"
            parts.append("." + (shown if shown.isprintable() else ascii(shown)[1:-1]))
    return "".join(reversed(parts)).removeprefix(".")
