"""Reads batches whose events are alike: many at a time, in half the time that each takes by itself.

Most collections hold events of one shape, the same names with the same kinds of values. For each a struct of msgspec is
made, as which all events of a batch are decoded in one call, and encoded in another. Invariants:

* What is read here is what :meth:`.ingest.Ingest.read` makes of each event, but for the order of its properties.
  Where that is not sure, nothing is read, and it reads each by itself.
* Names are those of events that were valid, and an event with another name is not alike.
* There are never more than ``MOST_KNOWN`` collections, however many there are, each with one struct at a time.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from itertools import count
from operator import attrgetter
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, cast

import msgspec

from ..rules import MAX_EVENT_BYTES, MIN_INTEGER
from .stores.base import NewEvent
from .stores.batch import Batch, Kind, Shape
from .timestamps import Timestamps

MOST_KNOWN: Final = 1_024
LEARN_AFTER: Final = 500
"""Events of a collection that were read one by one, as the struct did not fit; at first there is none. Where they keep
changing, the next is made after ten times as many, and again ten times."""
_LEARN_AT_LAST_AFTER: Final = 500_000
_LOOKED_AT: Final = 500
"""Events of a batch, of all of which a struct is made: so that a property that some lack is optional in it."""
_MOST_NAMES: Final = 64
"""In a shape, at all levels."""
_MOST_LEVELS: Final = 8
_MOST_SHAPES: Final = 16
"""Remembered of one form: its numbers are whole or not."""
SURELY_SMALL: Final = MAX_EVENT_BYTES // 8
"""Bytes of a document and characters of an id that are no event too large: of a character JSON makes six bytes."""

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=MIN_INTEGER, le=2**63 - 1)] | float
PlainValue: TypeAlias = str | Number | bool | None
"""Types for a decoder of JSON: a value of one of these is valid."""

_POSSIBLE_NAME: Final = re.compile(r'[^"\\\x00-\x1f]*')
"""Of a struct's field in JSON, as msgspec says."""
_HEAD: Final = [("id", str | msgspec.UnsetType), ("timestamp", str | msgspec.UnsetType)]
"""What every event has. Unset when it is encoded: a document is what is left."""

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode_lines: Final = msgspec.json.Encoder().encode_lines


_Form: TypeAlias = "str | dict[str, _Field]"
"""Of the values of a property: a key of ``_TYPES``, or the properties of an object."""


class _Field(NamedTuple):
    """A property. ``is_optional``: whether events are without it."""

    form: _Form
    is_optional: bool


_TYPES: Final[dict[str, Any]] = {
    "text": str,
    "number": Number,
    "boolean": bool,
    "plain": PlainValue,
    "texts": list[str],
    "plains": list[PlainValue],
}
_SHAPELESS: Final = frozenset({"plain", "plains"})
_FORMS: Final = {str: "text", int: "number", float: "number", bool: "boolean", type(None): "plain"}


class _NoFormError(Exception):
    """Too many names or impossible ones, too deep, lists of objects, or what is an object here and none there."""


class Alike:
    """What is known of how the events of collections look. Safe to share between threads."""

    def __init__(self, timestamps: Timestamps) -> None:
        self._timestamps = timestamps
        self._known: dict[tuple[str, str], _Known] = {}
        self._adding = threading.Lock()

    def read(self, project: str, collection: str, events: msgspec.Raw) -> Batch | None:
        """The array ``events``; None where they are to be read one by one."""
        known = self._known.get((project, collection))
        return known.reader.read(events, self._timestamps) if known is not None and known.reader is not None else None

    def learn(self, project: str, collection: str, events: Sequence[NewEvent]) -> None:
        """``events``, which are valid, had to be read one by one."""
        known = self._known.get((project, collection))
        if known is None:
            with self._adding:
                if len(self._known) >= MOST_KNOWN:
                    del self._known[next(iter(self._known))]
                known = self._known[project, collection] = _Known()
        known.learn(events)


class _Known:
    """Of one collection: what reads its events, where they are alike.

    Without a lock: where two batches are learnt from at a time, one may not be counted.
    """

    def __init__(self) -> None:
        self.reader: _Reader | None = None
        self._unlike = 0
        self._patience = LEARN_AFTER

    def learn(self, events: Sequence[NewEvent]) -> None:
        self._unlike += len(events)
        if self._unlike < self._patience:
            return
        self._unlike = 0
        self._patience = min(10 * self._patience, _LEARN_AT_LAST_AFTER)
        try:
            self.reader = _Reader([_decode(event.document) for event in events[-_LOOKED_AT:]])
        except _NoFormError:
            self.reader = None


class _Reader:
    """Reads events of one form, that of ``objects``, of which one at least has properties. Raises _NoFormError."""

    def __init__(self, objects: Sequence[dict[str, Any]]) -> None:
        fields = _fields_of(objects, 1, [_MOST_NAMES])
        self._decode = msgspec.json.Decoder(list[_struct(fields, _HEAD)]).decode  # type: ignore[misc]  # made here
        self._fields = fields if _has_shape(fields) else None
        self._numbers = [attrgetter(path) for path, form in _leaves(fields) if form == "number"]
        self._shapes: dict[tuple[Kind, ...], Shape] = {}

    def read(self, text: msgspec.Raw, timestamps: Timestamps) -> Batch | None:
        """See :meth:`Alike.read`."""
        try:
            events = self._decode(text)
            times = timestamps.all_microseconds([event.timestamp for event in events])
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return None
        ids = [event.id for event in events]
        for event in events:
            event.id = event.timestamp = msgspec.UNSET
        lines = _encode_lines(events)
        if not events or not _has_short_lines(lines, SURELY_SMALL - max(map(len, ids))):
            return None
        return Batch(ids, times, lines, self._shape(events))

    def _shape(self, events: Sequence[Any]) -> Shape | None:
        """Of all of ``events``; None where a number is whole in one of them and not in another, or is negative."""
        if self._fields is None:
            return None
        kinds = [kind for number in self._numbers if (kind := _kind_of([*map(number, events)]))]
        if len(kinds) < len(self._numbers):
            return None
        shape = self._shapes.get((*kinds,))
        if shape is None:
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            shape = self._shapes[(*kinds,)] = _shape_of(self._fields, iter(kinds))
        return shape


def _has_short_lines(lines: bytes, most: int) -> bool:
    """Whether each is at most ``most`` bytes long. Looks at few of them: from one that ends so far to the next."""
    begin = 0
    while len(lines) - begin > most + 1:
        begin = lines.rfind(b"\n", begin, begin + most + 1) + 1
        if not begin:
            return False
    return True


def _kind_of(numbers: Sequence[float]) -> Kind | None:
    types = {*map(type, numbers)}
    if types == {float}:
        return "fraction"
    return "whole" if types == {int} and min(numbers) >= 0 else None


def _fields_of(objects: Sequence[dict[str, Any]], level: int, left: list[int]) -> dict[str, _Field]:
    """``left``: names that they may have, at all levels."""
    names: dict[str, None] = {}
    for each in objects:
        names.update(dict.fromkeys(each))
        if len(names) > left[0]:
            raise _NoFormError
    left[0] -= len(names)
    if level > _MOST_LEVELS or not all(map(_POSSIBLE_NAME.fullmatch, names)):
        raise _NoFormError
    having = {name: [each[name] for each in objects if name in each] for name in names}
    return {name: _Field(_form_of(having[name], level, left), len(having[name]) < len(objects)) for name in names}


def _form_of(values: Sequence[Any], level: int, left: list[int]) -> _Form:
    types = {*map(type, values)}
    if types == {dict}:
        return _fields_of(values, level + 1, left)
    if types == {list}:
        inner = {type(item) for items in values for item in items}
        if inner <= _FORMS.keys():
            return "texts" if inner <= {str} else "plains"
    elif types <= _FORMS.keys():
        forms = {_FORMS[each] for each in types}
        return forms.pop() if len(forms) == 1 else "plain"
    raise _NoFormError


def _leaves(fields: dict[str, _Field], path: str = "") -> Iterator[tuple[str, str]]:
    """Where in a struct the values are that are no objects, and their forms."""
    for attribute, field in zip(_attributes(), fields.values(), strict=False):
        if isinstance(field.form, dict):
            yield from _leaves(field.form, f"{path}{attribute}.")
        else:
            yield f"{path}{attribute}", field.form


def _attributes() -> Iterator[str]:
    """Of structs: a property may have any name."""
    return (f"p{number}" for number in count())


def _struct(fields: dict[str, _Field], head: Sequence[tuple[str, Any]] = ()) -> type[msgspec.Struct]:
    """As which an object with ``fields`` is decoded, and with no others but ``head``."""
    members: list[tuple[str, Any] | tuple[str, Any, Any]] = [*head]
    for attribute, (form, is_optional) in zip(_attributes(), fields.values(), strict=False):
        kind = _struct(form) if isinstance(form, dict) else _TYPES[form]
        members.append((attribute, kind | msgspec.UnsetType, msgspec.UNSET) if is_optional else (attribute, kind))
    return msgspec.defstruct(
        "Alike",
        members,
        rename=dict(zip(_attributes(), fields, strict=False)),
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _has_shape(fields: dict[str, _Field]) -> bool:
    """Whether :data:`~.stores.batch.Shape` can tell of what has ``fields``."""
    if not len({name.lower() for name in fields}) == len(fields) > 0:
        return False
    return all(
        name and not is_optional and (_has_shape(form) if isinstance(form, dict) else form not in _SHAPELESS)
        for name, (form, is_optional) in fields.items()
    )


def _shape_of(fields: dict[str, _Field], numbers: Iterator[Kind]) -> Shape:
    """Of what has ``fields``; ``numbers``: the kinds of its numbers, in the order of :func:`_leaves`."""
    return tuple((name, _kind_in(form, numbers)) for name, (form, _) in fields.items())


def _kind_in(form: _Form, numbers: Iterator[Kind]) -> Kind | Shape:
    if isinstance(form, dict):
        return _shape_of(form, numbers)
    return next(numbers) if form == "number" else cast("Kind", form)
