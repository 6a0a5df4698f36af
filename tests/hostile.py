"""Values that no application should log, and that some application will."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any, NoReturn


def _raise(*_: object) -> NoReturn:
    raise RuntimeError("hostile")


class RaisingText(str):
    """A str that refuses to be looked at in any way but its hash."""

    __slots__ = ()
    __str__ = __repr__ = __eq__ = __contains__ = encode = startswith = __format__ = __len__ = _raise  # type: ignore[assignment]
    __hash__ = str.__hash__


class RaisingDict(dict[str, Any]):
    """A dict that holds its items but does not tell them."""

    items = keys = values = __iter__ = __len__ = __getitem__ = __contains__ = __repr__ = _raise  # type: ignore[assignment]


class RaisingMapping(UserDict[str, Any]):
    """A mapping, not a dict, that cannot be read."""

    keys = items = __iter__ = _raise  # type: ignore[assignment]


class RaisingClass:
    """An object that has no type to ask for."""

    __class__ = property(_raise)  # type: ignore[assignment]


class RaisingZone(tzinfo):
    """A time zone that knows no offset."""

    utcoffset = _raise


class Opaque:
    """An object that cannot be shown, compared or hashed."""

    __str__ = __repr__ = __eq__ = __hash__ = __bool__ = _raise  # type: ignore[assignment]


class LyingText(str):
    """A str that says that it holds no dot."""

    __slots__ = ()

    def __contains__(self, _: object) -> bool:
        return False


class LyingDict(dict[str, Any]):
    """A dict that shows other items than it holds."""

    def items(self) -> Any:
        return [("fine", 1)]


class LyingList(list[Any]):
    """A list that shows other items than it holds."""

    def __iter__(self) -> Any:
        return iter(())


def nested(depth: int, innermost: object = 1) -> dict[str, Any]:
    """``innermost`` in ``depth`` dicts."""
    value = innermost
    for _ in range(depth):
        value = {"n": value}
    return value  # type: ignore[return-value]


def self_containing_dict() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def self_containing_list() -> list[Any]:
    """Holds itself twice, so that a walk which only counts depth visits 2**depth lists."""
    value: list[Any] = []
    value += [value, value]
    return value


def laughs() -> list[Any]:
    """A billion items in a few lists (shared substructure, no cycle)."""
    value: list[Any] = ["ha"]
    for _ in range(9):
        value = [value] * 10
    return value


def many_bad_names() -> dict[str, Any]:
    """40,000 violations, each with a path of 25 kB."""
    value: dict[str, Any] = {f"a.{at}": 1 for at in range(40_000)}
    for _ in range(98):
        value = {"n" * 255: value}
    return value


HOSTILE: dict[str, Callable[[], Any]] = {
    "a cycle": self_containing_dict,
    "a list with itself twice": self_containing_list,
    "a billion laughs": laughs,
    "depth 200,000": lambda: nested(200_000),
    "nan": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "10**5000": lambda: 10**5000,
    "a lone surrogate": lambda: "\ud800",
    "a lone surrogate in a name": lambda: {"\udfff": 1},
    "a lone surrogate that cannot be encoded": lambda: [RaisingText("\ud800")],
    "a tuple as name": lambda: {("a", "b"): 1},
    "an unprintable name": lambda: {"\x00\n.": 1},
    "a name of None": lambda: {None: 1},
    "a name that cannot be examined": lambda: {RaisingText("a.b"): 1},
    "a dict with other items": lambda: LyingDict({"a.b": 1}),
    "a list with other items": lambda: LyingList([float("nan")]),
    "a closed dict of nan": lambda: RaisingDict(a=float("nan")),
    "a name that lies": lambda: {LyingText("a.b"): 1},
    "an opaque object": Opaque,
    "an object without a class": RaisingClass,
    "a mapping that is no dict": lambda: UserDict(a=1),
    "a zone without offset": lambda: datetime(2026, 1, 1, tzinfo=RaisingZone()),
    "bytes": lambda: b"x",
    "a set": lambda: {1, 2},
    "an exception": lambda: ValueError("x"),
    "100 MB of text": lambda: "x" * 100_000_000,
    "100 MB of a subclass": lambda: type("Text", (str,), {})("x" * 100_000_000),
    "a name of 100 MB": lambda: {"x" * 100_000_000: 1},
    "a million names": lambda: {str(at): at for at in range(1_000_000)},
    "a million ordered names": lambda: OrderedDict.fromkeys(range(1_000_000)),
    "10 million items": lambda: [0] * 10_000_000,
    "a tuple of 10 million": lambda: (0,) * 10_000_000,
    "many bad names": many_bad_names,
}
"""What makes each; every one of them makes an event invalid when it is one of its values."""
