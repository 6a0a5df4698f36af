"""Questions, close enough to the events that most find something; each is drawn, and made smaller, by hypothesis."""

from __future__ import annotations

from datetime import datetime
from random import Random
from typing import Any

from hypothesis import strategies as st

from .populating import CHANGES, COMMON, FEW, POOLS, STEPS, TEXTS, WILD, ZONE_OF, iso, make_events, make_moment


def mostly(these: st.SearchStrategy[Any], others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 4).flatmap(lambda number: these if number else others)


ANY_TEXT = st.sampled_from(TEXTS) | st.text(max_size=3)
ANY_NUMBER = st.sampled_from(WILD) | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e300, 1e300)
SCALARS = mostly(st.sampled_from(COMMON), ANY_TEXT | ANY_NUMBER | st.booleans() | st.none())
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "America/Sao_Paulo", "Pacific/Apia",
     "Asia/Kathmandu", "America/New_York", "Africa/Casablanca", "Europe/Amsterdam", 0, 10, -8, 5.75, -3.5, 14, 9.5]
)  # fmt: skip
SEEDS = st.integers(0, 2**32 - 1)


def moments(near: datetime) -> st.SearchStrategy[datetime]:
    return SEEDS.map(lambda seed: make_moment(Random(seed), near))


PATHS = mostly(
    st.sampled_from(["n", "t", "u", "tags", "tags", "w", "i", "neg", "d", "yes", "late", "o.x"]),
    st.sampled_from(["o", "o.y", "o.id", "or", "é 日", "missing", "n.a", "o.x.a", "tags.a"]),
)
GROUPS = st.sampled_from(
    ["u", "u", "t", "o.x", "n", "w", "o", "tags", "missing", "é 日", "i", "neg", "d", "yes", "late"]
)
ALIASES = st.sampled_from(["total", "a.b", "é", "COUNT", "'; --", '"', "x\x00", " ", "select", "interval"])
ANY_CASE = st.sampled_from([str, str.upper, str.title])


@st.composite
def named(draw: st.DrawFn, *names: str) -> str:
    return draw(ANY_CASE)(draw(st.sampled_from(names)))


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, Any]:
    """A path and what it must be, mostly something that it may be."""
    path = draw(PATHS)
    pool = mostly(st.sampled_from(POOLS.get(path, COMMON)), SCALARS)
    known = pool.filter(lambda each: each is not None)
    operands: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(("eq", "neq", "ne"), pool),
        **dict.fromkeys(("gt", "gte", "lt", "lte"), known.filter(lambda each: not isinstance(each, bool))),
        **dict.fromkeys(("startsWith", "endsWith", "endsWidth"), mostly(st.sampled_from(["a", "b", ""]), ANY_TEXT)),
        "exists": st.booleans(),
        "contains": mostly(st.sampled_from(COMMON), known).filter(lambda each: each is not None),
        "in": KINDS,
    }
    likely = LIKELY.get(path, list(operands))
    one = mostly(st.sampled_from(likely), st.sampled_from(list(operands)))
    chosen = draw(mostly(one.map(lambda name: [name]), st.lists(one, min_size=2, max_size=2)))
    plain = draw(st.integers(0, 5))
    return path, draw(pool | KINDS) if plain == 5 else {draw(ANY_CASE)(name): draw(operands[name]) for name in chosen}


ORDERINGS = ["gt", "gte", "lt", "lte", "eq", "neq", "in"]
LIKELY = {
    **dict.fromkeys(("n", "w", "i", "neg", "d"), ORDERINGS),
    "tags": ["contains", "exists"],
    "t": [*ORDERINGS, "contains", "contains", "startsWith"],
}
KINDS = st.lists(mostly(st.sampled_from(["a", "b", "c"]), ANY_TEXT), max_size=4) | st.lists(st.booleans(), max_size=2)
KINDS |= st.lists(mostly(st.sampled_from(FEW), ANY_NUMBER), max_size=4)
ONE = conditions().map(lambda one: {one[0]: one[1]})
ALTERNATIVES = st.recursive(
    mostly(ONE, st.lists(conditions(), max_size=2).map(dict)),
    lambda inner: st.builds(
        lambda either, also: {"or": either, **{name: value for name, value in also.items() if name != "or"}},
        st.lists(inner, min_size=1, max_size=3),
        st.lists(conditions(), max_size=1).map(dict),
    ),
    max_leaves=4,
)
FILTERS = mostly(ONE, ALTERNATIVES)


@st.composite
def selects(draw: st.DrawFn) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for alias in draw(st.lists(ALIASES, max_size=3, unique=True)):
        function = draw(st.sampled_from(["count", "sum", "avg", "min", "max", "distinct", "median", "percentile"]))
        target: Any = draw(PATHS)
        if function == "percentile":
            target = {"property": target, "p": draw(st.sampled_from([0, 25, 50, 75, 100, 95, 99.9, 1 / 3]))}
        name = draw(ANY_CASE)(function)
        chosen[alias] = name if function == "count" else {name: target}
    return chosen


def is_exact(wanted: Any) -> bool:
    """Whether a column has no rounding, so that rows are in one order and no other."""
    if isinstance(wanted, str):
        return True
    [(function, target)] = wanted.items()
    match function.lower():
        case "sum" | "avg" | "median":
            return bool(target == "n")
        case "percentile":
            return target["property"] == "n" and target["p"] % 25 == 0
    return True


@st.composite
def timeframes(draw: st.DrawFn, near: datetime) -> Any:
    which = draw(st.integers(0, 3))
    if which == 0:
        return draw(named(*RELATIVE))
    if which == 1:
        periods = draw(named("minutes", "hours", "days", "weeks", "months", "quarters", "years"))
        return {draw(st.sampled_from(["current", "previous"])): {periods: draw(st.integers(1, 40))}}
    exactly = st.builds(lambda step, count: near + step * count, st.sampled_from(STEPS), st.integers(-3, 3))
    start, end = sorted([draw(exactly | moments(near)), draw(exactly | moments(near))])
    offset = draw(st.sampled_from(["Z", "", "+00:00"]))
    bounds = {name: iso(moment).replace("Z", offset) for name, moment in (("start", start), ("end", end))}
    return draw(st.sampled_from([bounds, {"start": bounds["start"]}, {"end": bounds["end"]}, {**bounds, "end": None}]))


RELATIVE = [
    f"{which}_{unit}" for which in ("this", "last") for unit in ("minute", "hour", "week", "month", "quarter", "year")
]
RELATIVE += ["today", "yesterday"]


@st.composite
def filtered(draw: st.DrawFn) -> dict[str, Any]:
    """Which events match, seen by the values that they have."""
    return {"filter": draw(FILTERS), "groupBy": draw(st.sampled_from(["n", "t", "w", "i", "d", "u", "late"]))}


INTERVALS = ["daily", "daily", "hourly", "hourly", "weekly", "weekly", "minutely", "monthly", "quarterly", "yearly"]


@st.composite
def timed(draw: st.DrawFn, near: datetime) -> dict[str, Any]:
    """When events were."""
    query: dict[str, Any] = {}
    if draw(st.integers(0, 2)):
        query["interval"] = draw(named(*INTERVALS))
        query["nonEmpty"] = draw(st.booleans())
    if not query or draw(st.booleans()):
        query["timeframe"] = draw(timeframes(near))
    relative = isinstance(query.get("timeframe"), str) or {"current", "previous"} & set(query.get("timeframe") or ())
    if (relative or "interval" in query) and draw(st.integers(0, 2)):
        query["timezone"] = draw(mostly(st.just(ZONE_OF[near]), ZONES))
    return query


@st.composite
def grouped(draw: st.DrawFn) -> dict[str, Any]:
    """Rows, and their order."""
    groups = draw(st.lists(GROUPS, max_size=2))
    select = draw(selects())
    query: dict[str, Any] = {"groupBy": groups[0] if len(groups) == 1 and draw(st.booleans()) else groups}
    if select or draw(st.booleans()):
        query["select"] = select
    columns = [*dict.fromkeys(groups), *([each for each in select if is_exact(select[each])] if select else ["_count"])]
    if columns and draw(st.booleans()):
        order = st.sampled_from(columns)
        order |= st.builds(lambda name, way: {name: way}, st.sampled_from(columns), named("asc", "desc"))
        query["orderBy"] = draw(order | st.lists(order, max_size=3))
    if groups and draw(st.integers(0, 2)) == 0:
        query["limit"] = draw(st.integers(1, 5))
    return query


def queries(near: datetime = CHANGES[0]) -> st.SearchStrategy[dict[str, Any]]:
    """Valid ones: of one kind, and of all."""
    whole = st.builds(lambda one, two, three: {**one, **two, **three}, filtered(), timed(near), grouped())
    two = st.builds(lambda one, other: {**one, **other}, timed(near), grouped())
    return filtered() | timed(near) | grouped() | two | whole


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    near = draw(st.sampled_from(CHANGES))
    now = draw(mostly(moments(near), st.just(CHANGES[0])))
    if not 1960 < now.year < 2090 or now.year == 2011:  # a day that Apia had not counts as one of three
        now = CHANGES[0]
    return {
        "events": make_events(draw(SEEDS), near),
        "queries": draw(st.lists(queries(near), min_size=4, max_size=8)),
        "now": iso(now),
    }


CASES = cases()
"""What :func:`.asking.differ` takes."""

WORDS = ["select", "filter", "groupBy", "timeframe", "interval", "timezone", "nonEmpty", "orderBy", "limit"]
MORE_WORDS = ["or", "in", "eq", "gt", "contains", "exists", "sum", "percentile", "property", "p", "start", "end"]
MORE_WORDS += ["current", "days", "previous", "id", "timestamp", "a", "b.c", "t", "count", "asc"]
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
LEAVES |= st.sampled_from([*MORE_WORDS, "daily", "minutely", "today", "Europe/Berlin", "2015-01-01T00:00:00Z"])
DOCUMENTS = st.dictionaries(
    st.sampled_from(WORDS),
    st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(MORE_WORDS) | st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=5,
)
DOCUMENTS |= st.text(max_size=20)
"""Objects that look like queries, and now and then are; and texts that are none."""
