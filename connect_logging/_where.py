"""What events must meet: operators on properties, joined with AND and OR, and their JSON in the query's grammar.

:class:`Filter` is a conjunction. Its parts are kept as they were given; only :attr:`Filter.document` fits them into
the grammar, which has room in an object for an operator once and for one ``or``. Invariant: what a filter is joined
with can only narrow it; a condition never replaces an earlier one, as it would in a merge of dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from operator import mul
from typing import Any, Final, TypeAlias, TypeGuard

import msgspec

from ._grammar.filters import MAX_NESTING
from ._grammar.reading import MAX_PARTS
from .exceptions import InvalidQueryError

Scalar: TypeAlias = str | int | float | bool

OR: Final = "or"
"""The name under which a filter has its alternatives. A property of this name is told apart by its value."""


class Condition(msgspec.Struct, frozen=True):
    """Operators that all hold for one property: ``gt(5) & lte(10)``."""

    tests: tuple[tuple[str, Any], ...]

    def __and__(self, other: Condition) -> Condition:
        return Condition(self.tests + other.tests) if isinstance(other, Condition) else NotImplemented


Wanted: TypeAlias = Scalar | Condition | Sequence[Scalar] | Mapping[str, Any] | None
"""Of a property: a value that it equals, a condition, values of which it is one, or operators as in JSON."""


_Tests: TypeAlias = tuple[tuple[str, str, Any], ...]
_Choices: TypeAlias = "tuple[tuple[Filter, ...], ...]"


class Filter(msgspec.Struct, frozen=True):
    """All of ``tests`` (path, operator, value), and of each of ``choices`` one or more."""

    tests: _Tests = ()
    choices: _Choices = ()

    def __and__(self, other: Filter) -> Filter:
        if not isinstance(other, Filter):
            return NotImplemented
        return Filter(self.tests + other.tests, self.choices + other.choices)

    def __or__(self, other: Filter) -> Filter:
        return any_of(self, other) if isinstance(other, Filter) else NotImplemented

    @property
    def document(self) -> dict[str, Any]:
        """A new dict in the grammar of a query's ``filter`` and of a filtered key's ``filters``."""
        return _written(self.tests, self.choices)


def all_of(*filters: Filter | Mapping[str, Any], **properties: Wanted) -> Filter:
    """Events that meet everything given: filters, mappings of dotted paths, and root properties by keyword."""
    joined = Filter()
    for each in (*filters, properties):
        joined &= _filter(each)
    return joined


def any_of(*alternatives: Filter | Mapping[str, Any], **properties: Wanted) -> Filter:
    """Events that meet one or more of the alternatives; each keyword is one, and each mapping as a whole."""
    return _any_of([*map(_filter, alternatives), *(_property(name, wanted) for name, wanted in properties.items())])


def _any_of(alternatives: Iterable[Filter]) -> Filter:
    choice = tuple(each for given in alternatives for each in _alternatives(given))
    if not choice:
        raise InvalidQueryError({"filter.or": "any_of() takes one or more alternatives"})
    return Filter(choices=(choice,)) if len(choice) > 1 else choice[0]


def _alternatives(given: Filter) -> tuple[Filter, ...]:
    """Those of a filter that is nothing else, so that ``a | b | c`` is one ``or`` of three; else the filter."""
    return given.choices[0] if len(given.choices) == 1 and not given.tests else (given,)


def _filter(given: object, depth: int = 0) -> Filter:
    if isinstance(given, Filter):
        return given
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise InvalidQueryError({"filter": f'a filter, or a dict such as {{"customer.country": "AU"}}, not {kind}'})
    joined = Filter()
    for path, wanted in given.items():
        if path == OR and _are_filters(wanted):
            _check_nesting(depth + 1)
            joined &= _any_of(_filter(each, depth + 1) for each in wanted)
        else:
            joined &= _property(path, wanted)
    return joined


def _check_nesting(depth: int) -> None:
    """Refuse what the grammar would, before it is too deep to be walked."""
    if depth > MAX_NESTING:
        raise InvalidQueryError({f"filter.{OR}": f"at most {MAX_NESTING} {OR} inside each other"})


def _are_filters(wanted: object) -> TypeGuard[Sequence[object]]:
    """As in JSON: under ``or``, an array of objects."""
    return isinstance(wanted, list | tuple) and any(isinstance(each, Mapping | Filter) for each in wanted)


def _property(path: str, wanted: object) -> Filter:
    tests: Iterable[tuple[str, Any]]
    match wanted:
        case Condition():
            tests = wanted.tests
        case Mapping():
            tests = wanted.items()
        case list() | tuple():
            tests = [("in", list(wanted))]
        case _:
            tests = [("eq", wanted)]
    found = tuple((path, operator, value) for operator, value in tests)
    if not found:
        raise InvalidQueryError({f"filter.{path}": 'an operator is missing: a value, or for example {"gt": 10}'})
    return Filter(found)


def _written(tests: _Tests, choices: _Choices, depth: int = 0) -> dict[str, Any]:
    """The document that has a place for all of ``tests`` and ``choices``.

    What does not fit beside the others, a second test with the same operator or a second choice, goes into each
    alternative of the smallest choice, or else into one alternative of its own.
    """
    properties: dict[str, dict[str, Any]] = {}
    left: _Tests = ()
    for test in tests:
        path, operator, value = test
        if operator in properties.get(path, {}) or (path == OR and choices):
            left += (test,)
        else:
            properties.setdefault(path, {})[operator] = value
    if left and OR in properties:
        left += tuple((OR, *test) for test in properties.pop(OR).items())
        if not properties:
            raise InvalidQueryError({"filter.or": "a property of this name can have each operator once"})
    document: dict[str, Any] = {path: _shortest(operators) for path, operators in properties.items()}
    if choices:
        choice, *others = sorted(choices, key=len)
        _check_number(len(each) for each in (choice, *others))
        _check_nesting(depth + 1)
        document[OR] = [_written(each.tests + left, each.choices + tuple(others), depth + 1) for each in choice]
    elif left:
        document[OR] = [_written(left, (), depth + 1)]
    return document


def _check_number(choices: Iterable[int]) -> None:
    """Refuse choices that cannot be written before as many are made: each is repeated in each alternative of another.

    An alternative has a condition at least.
    """
    alternatives = sum(accumulate(choices, mul))
    if 2 * alternatives > MAX_PARTS:
        advice = 'put the values of one property into a list, country=["AU", "NZ"], or join fewer any_of'
        raise InvalidQueryError(
            {f"filter.{OR}": f"choices that are joined come to {alternatives:,} alternatives, too many: {advice}"}
        )


def _shortest(operators: dict[str, Any]) -> Any:
    """``"AU"`` for ``{"eq": "AU"}``: what one would write by hand."""
    return operators["eq"] if [*operators] == ["eq"] and not isinstance(operators["eq"], Mapping) else operators


def eq(value: Scalar | None) -> Condition:
    """Equal. None: missing, or null."""
    return Condition((("eq", value),))


def neq(value: Scalar | None) -> Condition:
    """Not equal: a missing property is not, either. None: there, and not null."""
    return Condition((("neq", value),))


def gt(value: str | float) -> Condition:
    """Greater; strings by their code points."""
    return Condition((("gt", value),))


def gte(value: str | float) -> Condition:
    """Greater or equal."""
    return Condition((("gte", value),))


def lt(value: str | float) -> Condition:
    """Less."""
    return Condition((("lt", value),))


def lte(value: str | float) -> Condition:
    """Less or equal."""
    return Condition((("lte", value),))


def exists(value: bool = True) -> Condition:
    """There, and not null; False: missing, or null."""
    return Condition((("exists", value),))


def starts_with(text: str) -> Condition:
    """A string that begins with ``text``."""
    return Condition((("startsWith", text),))


def ends_with(text: str) -> Condition:
    """A string that ends with ``text``."""
    return Condition((("endsWith", text),))


def contains(value: Scalar) -> Condition:
    """A string that contains ``value``, or an array that has it as an element."""
    return Condition((("contains", value),))


def is_in(values: Iterable[Scalar]) -> Condition:
    """One of ``values``, which are all strings, all numbers or all booleans. A string is no values, but one."""
    several = isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping)
    return Condition((("in", list(values) if several else values),))
