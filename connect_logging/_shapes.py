"""Looks at events whose shape is known: half the work of the rules' own quick look.

Most collections hold events of one shape, the same names with the same kinds of values in every event. For that a
function is compiled, as dataclasses compiles its methods, which knows where it finds what. Invariants:

* What a look finds valid, :meth:`~connect_logging.rules.EventRules.check` finds valid, or only too large as a whole:
  its text will tell. None of its values is, so that text is at most some megabytes. Of the rest a look says nothing.
* It never raises.
* Of the event after which it is made only the names are in its code, as literals: no value, and nothing to execute.
* There are never more than ``MOST_LOOKS``, however many collections there are and however their events change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Final, TypeAlias

from ._types import Properties
from .rules import MAX_EVENT_BYTES, MAX_INTEGER, MIN_INTEGER, EventRules

Look: TypeAlias = Callable[[Properties], bool]

COLLECTIONS_KNOWN: Final = 1_024
"""Valid collection names remembered; bounded, as a name may come from user data."""
MOST_LOOKS: Final = 256
"""Made in a factory's life, for all collections: a third of a millisecond and some kilobytes each."""
LEARN_AFTER: Final = (100, 1_100, 10_100, 100_100)
"""Events of a collection that its look did not know, after as many of which one is made: at last it is left at that."""
FORGET_AFTER: Final = (1_000, 10_000, 100_000)
"""Of these, after as many of which the look is given up. So it is made after any event, most likely one of the usual
shape; made after one that the look does not know, it would turn to every rare shape in its turn."""

_MOST_NAMES: Final = 64
"""In a shape, at all levels: it takes milliseconds to compile hundreds."""
_MOST_LEVELS: Final = 8
_SPECIAL: Final = ("id", "timestamp")
"""In the root, have rules of their own."""

_FUNCTION: Final = """\
def look(v1):
 try:
{lines}
  return True
 except Exception:
  return False
"""
_WAYS: Final[dict[type, str]] = {
    str: "if (type({v}) is not str or len({v}) >= {most}) and not is_plain({v}): return False",
    int: "if (type({v}) is not int or {v} >= 0x20000000 or {v} <= -0x20000000) and not is_plain({v}): return False",
    float: "if (type({v}) is not float or {v} - {v} != 0.0) and not is_plain({v}): return False",
    bool: "if type({v}) is not bool and not is_plain({v}): return False",
    list: "if (type({v}) is not list or len_of_plain({v}) >= {most}) and not is_plain({v}): return False",
}
"""How a value is looked at that is of that kind in the event after which a look is made; another time it may be another
plain one. Integers beyond 30 bits are compared more slowly, and so only where they come."""


class Looks:
    """The looks of the collections that :meth:`know` was told of. Safe to share between threads.

    ``of``: the look of a collection, None where the collection is not known.
    """

    def __init__(self, rules: EventRules) -> None:
        self._rules = rules
        self._looks: dict[object, Look] = {}
        self._unlike: dict[object, int] = {}
        self._left = MOST_LOOKS
        self.of = self._looks.get

    def know(self, collection: str) -> None:
        """Remember ``collection``, which is valid, to learn how its events look."""
        if len(self._looks) < COLLECTIONS_KNOWN:
            self._unlike[collection] = 0
            self._looks[collection] = _nothing_known

    def closer(self, collection: object, properties: Properties) -> bool:
        """Whether the rules' quick look finds valid what the look of ``collection`` did not."""
        if not self._rules.surely_valid(properties):
            return False
        self.learn(collection, properties)
        return True

    def learn(self, collection: object, properties: Properties) -> None:
        """There was an event, a valid one, that the look of ``collection`` did not know."""
        unlike = self._unlike.get(collection)
        if unlike is not None:
            self._unlike[collection] = unlike = unlike + 1
            if unlike in FORGET_AFTER:
                self._looks[collection] = _nothing_known
            elif unlike in LEARN_AFTER and self._left > 0:
                self._left -= 1
                self._looks[collection] = self._look_at(properties) or _nothing_known

    def _look_at(self, properties: Properties) -> Look | None:
        try:
            seen = deepcopy(properties)
        except Exception:  # noqa: BLE001 - it is being changed, or a value's own code ran
            return None
        return None if self._rules.check(seen) else look_at_shape(seen)


def _nothing_known(_: Properties) -> bool:
    return False


class _NoShape(Exception):
    """Too large, too deep, or with names and values that the rules look at themselves."""


def look_at_shape(event: Properties) -> Look | None:
    """A look for events of the shape of ``event``, which is valid and nobody else's; None where it has none."""
    try:
        lines = "\n".join(_object(event, 1, [_MOST_NAMES]))
    except _NoShape:
        return None
    made: dict[str, Any] = {"is_plain": _is_plain, "len_of_plain": _len_of_plain}
    exec(_FUNCTION.format(lines=lines), made)  # noqa: S102 - see the invariants
    look: Look = made["look"]
    return look if look(event) else None


def _object(value: Properties, level: int, left: list[int]) -> Iterator[str]:
    """The lines that look at the object in ``v<level>``, of which this is one. ``left``: names that it may have."""
    left[0] -= len(value)
    if level > _MOST_LEVELS or left[0] < 0:
        raise _NoShape
    indent, inner = "  " * level, f"v{level + 1}"
    yield f"{indent}if len(v{level}) != {len(value)}: return False"
    for name, of_name in value.items():
        if type(name) is not str or (level == 1 and name in _SPECIAL):
            raise _NoShape
        yield f"{indent}{inner} = v{level}[{name!a}]"
        if type(of_name) is dict:
            yield f"{indent}if type({inner}) is not dict:"
            yield f"{indent} if not is_plain({inner}): return False"
            yield f"{indent}else:"
            yield from _object(of_name, level + 1, left)
        else:
            way = _WAYS.get(str if of_name is None else type(of_name))
            if way is None:
                raise _NoShape
            yield indent + way.format(v=inner, most=MAX_EVENT_BYTES)


def _is_plain(value: Any) -> bool:
    """Whether it is a valid one of those that take no room to speak of."""
    kind = type(value)
    if kind is int:
        return bool(MIN_INTEGER <= value <= MAX_INTEGER)
    if kind is float:
        return bool(value - value == 0.0)
    return kind is bool or value is None


def _len_of_plain(values: list[Any]) -> int:
    """The room that a list of plain values takes; more than there is, when it holds others or is too long."""
    size = len(values)
    if size > MAX_EVENT_BYTES:
        return size
    for value in values:
        if type(value) is str:
            size += len(value)
        elif not _is_plain(value):
            return MAX_EVENT_BYTES
    return size
