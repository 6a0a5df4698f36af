"""Events, drawn from a seed: many, of every kind of value, and close to each other.

They are not drawn by hypothesis, of which an example holds no more than some hundred decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

TEXTS = ["", "a", "A", "b", "ab", "a b", "1", "true", "null", "%", "_", '"', "\\", "é", "e\u0301", "ß", "日", "😀"]
TEXTS += ["\x00", "a\x00b", "\n", "\u2028", "'", "--", "a!", "aa"]
WILD = [0, -0.0, 1, 1.0, 2**53 - 1, 2**53, 2**53 + 1, 2.0**53, 2**63 - 1, 2**64 - 1, -(2**63), 2.0**63, 1e19, 2e19]
WILD += [0.1, 0.2, 0.3, 1e-300, 5e-324, 1e300, -1e300, 1e16 + 2]
FEW = [0, 1, 2, 2.5, -1, 0.125, 1024]
"""Sums and means of these have no rounding, and so can be ordered by."""
COMMON = [0, 1, 2, 2.5, "a", "b", "ab", "1", True, False, None]
POOLS: Mapping[str, Sequence[Any]] = {
    "n": [*FEW, "a"],
    "w": WILD,
    "t": [*COMMON, *COMMON, *TEXTS],
    "u": ["a", "b", "c", None],
    "tags": COMMON,
    "o": COMMON,
    "o.x": COMMON,
    "o.y": [*COMMON, "c"],
    "or": COMMON,
    "é 日": COMMON,
    # Those whose values are of one type are read in another way.
    "i": [0, 1, 2, 3, 2**53, 2**53 + 1, 2**63, 2**64 - 1],
    "neg": [-1, -2, -3, -(2**53), -(2**53) - 1, -(2**63)],
    "d": [0.5, 1.0, 2.0, -1.0, -0.0, 2.5, 2.0**53, 2.0**63, 1e19, 2e19, 1e300],
    "yes": [True, False],
    "late": [0, 1, 2, "a", 2.5, -1, True],
}
"""By path, what an event may have there and a question asks for; now and then both have something else."""


LATE = ([0, 1, 2], [1, 2, "a", 2.5, -1, True])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


ZONE_OF = {
    at("2015-03-29T01:00:00Z"): "Europe/Berlin",
    at("2015-10-25T01:00:00Z"): "Europe/Berlin",
    at("2015-10-03T15:30:00Z"): "Australia/Lord_Howe",  # by half an hour
    at("2015-04-04T15:00:00Z"): "Australia/Lord_Howe",
    at("2006-10-29T02:31:00Z"): "America/St_Johns",  # a minute after midnight
    at("2007-04-01T03:31:00Z"): "America/St_Johns",
    at("2015-10-18T03:00:00Z"): "America/Sao_Paulo",  # at midnight
    at("2015-02-22T02:00:00Z"): "America/Sao_Paulo",
    at("2011-12-30T10:00:00Z"): "Pacific/Apia",  # over the date line
    at("1985-12-31T18:30:00Z"): "Asia/Kathmandu",  # by a quarter of an hour
    at("1937-06-30T23:40:28Z"): "Europe/Amsterdam",  # by seconds
    at("1970-01-01T00:00:00Z"): 14,
    at("1969-12-28T00:00:00Z"): "UTC",
    at("1900-01-01T00:00:00Z"): "America/New_York",
    at("2100-01-01T00:00:00Z"): "Europe/Berlin",
}
"""Changes of the clocks, and other moments that something may begin or end at."""
CHANGES = [*ZONE_OF]
STEPS = [timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=40), timedelta(days=800)]
TICK = timedelta(microseconds=1)


def make_events(seed: int, near: datetime) -> list[dict[str, Any]]:
    """Up to forty, or very few. All have the same seven properties, and some have others."""
    random = Random(seed)
    count = random.choice([0, 1, 2, *range(10, 41)])
    # What is known of the first half, with which questions begin, is not true of the second.
    return [{**_event(random, near), "late": random.choice(LATE[place >= count // 2])} for place in range(count)]


def make_moment(random: Random, near: datetime) -> datetime:
    """Around a change of clocks, mostly this one, often exactly a step from it or a microsecond before that."""
    change = near if random.random() < 0.85 else random.choice(CHANGES)
    aside = random.choice([timedelta(), timedelta(), -TICK, random.randrange(3 * 3_600_000_000) * TICK])
    moment = change + random.choice(STEPS) * random.randint(-3, 3)
    if random.random() < 0.3:  # midnight, somewhere
        moment = moment.replace(hour=random.choice([2, 3, 4, 5, 10, 13, 14, 22, 23]), minute=random.choice([0, 30]))
    return moment + aside


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _event(random: Random, near: datetime) -> dict[str, Any]:
    event: dict[str, Any] = {"timestamp": iso(make_moment(random, near))}
    for name in ("n", "t", "u", "w", "i", "d"):
        event[name] = _value(random, name)
    event["tags"] = _array(random) if random.random() < 0.7 else _value(random, "tags")
    for name in ("or", "é 日", "neg", "yes"):
        if random.random() < 0.5:
            event[name] = _value(random, name)
    if random.random() < 0.7:
        event["o"] = {"x": _value(random, "o.x"), "y": _array(random), "id": 7} if random.random() < 0.8 else 1
    return event


def _value(random: Random, name: str) -> Any:
    """Only some properties have values of more than one type, and only one is not for exact sums."""
    if name in ("t", "o.x", "or", "é 日") and random.random() < 0.2:
        return random.choice([_text(random), random.uniform(-1e300, 1e300), random.randrange(-(2**63), 2**64), ["a"]])
    if name == "w" and random.random() < 0.3:
        return random.choice([random.randrange(-(2**63), 2**64), random.uniform(-10, 10)])
    return random.choice(POOLS[name])


def _array(random: Random) -> list[Any]:
    other: list[Any] = [["a"], {"a": "a"}, 2**53, 2**53 + 1, 0.5, _text(random)]
    return [random.choice([*COMMON, *COMMON, *other]) for _ in range(random.randint(0, 4))]


def _text(random: Random) -> str:
    return "".join(random.choice("abAB 1%_é日😀\x00\n'\"\\") for _ in range(random.randint(0, 3)))
