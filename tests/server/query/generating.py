"""Events and questions, drawn at random but close to each other, so that most questions find something."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

# Events

TEXTS = st.sampled_from(
    ["", "a", "A", "b", "ab", "a b", "1", "true", "null", "%", "_", '"', "\\", "é", "e\u0301", "ß", "日", "😀"]
)
TEXTS |= st.sampled_from(["\x00", "a\x00b", "\n", "\u2028", "'", "--", "a!", "aa"]) | st.text(max_size=3)
EXACT = st.integers(-20, 20) | st.integers(-(2**40), 2**40).map(lambda number: number / 8)
"""Sums and means of these have no rounding, and so can be ordered by."""
WILD = st.sampled_from(
    [0, -0.0, 1, 1.0, True, 2**53, 2**53 + 1, 2.0**53, 2**63 - 1, 2**64 - 1, -(2**63), 2.0**63, 1e19, 2e19]
)
WILD |= st.sampled_from([0.1, 0.2, 0.3, 1e-300, 5e-324, 1e300, -1e300, 1e16 + 2]) | st.integers(-(2**63), 2**64 - 1)
WILD |= st.floats(-1e300, 1e300)
FEW = st.sampled_from([0, 1, 2, 2.5, -1])
COMMON = st.sampled_from([0, 1, 2, 2.5, "a", "b", "ab", "1", True, False, None])
"""Most of what is drawn, as events and questions meet in these."""


def mostly(these: st.SearchStrategy[Any], others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 4).flatmap(lambda number: these if number else others)


SCALARS = mostly(COMMON, TEXTS | WILD | EXACT | st.booleans() | st.none())
NUMBERS = mostly(FEW, EXACT)
ARRAYS = st.lists(SCALARS | st.just(["a"]) | st.just({"a": "a"}), max_size=4)
INNER = st.fixed_dictionaries(
    {}, optional={"x": SCALARS, "y": st.sampled_from(["a", "b", 1, 2.5, None]) | ARRAYS, "id": st.just(7)}
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


CHANGES = [
    at("2015-03-29T01:00:00Z"), at("2015-10-25T01:00:00Z"),  # Europe
    at("2015-10-03T15:30:00Z"), at("2015-04-04T15:00:00Z"),  # Lord Howe, by half an hour
    at("2006-10-29T02:31:00Z"), at("2007-04-01T03:31:00Z"),  # St. John's, a minute after midnight
    at("2015-10-18T03:00:00Z"), at("2015-02-22T02:00:00Z"),  # Sao Paulo, at midnight
    at("2011-12-30T10:00:00Z"),  # Apia, over the date line
    at("1985-12-31T18:30:00Z"),  # Nepal, by a quarter of an hour
    at("1970-01-01T00:00:00Z"), at("1969-12-28T00:00:00Z"), at("1900-01-01T00:00:00Z"), at("2100-01-01T00:00:00Z"),
    at("1937-06-30T23:40:28Z"),  # Amsterdam, by seconds
]  # fmt: skip
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "America/Sao_Paulo", "Pacific/Apia",
     "Asia/Kathmandu", "America/New_York", "Africa/Casablanca", "Europe/Amsterdam", 0, 10, -8, 5.75, -3.5, 14, 9.5]
)  # fmt: skip
NEAR = st.sampled_from(
    [timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=40), timedelta(days=800)]
)


@st.composite
def moments(draw: st.DrawFn, near: datetime) -> datetime:
    """Around a change of clocks, mostly this one, at times exactly on it or a microsecond beside it."""
    change = near if draw(st.integers(0, 5)) else draw(st.sampled_from(CHANGES))
    moment = change + draw(NEAR) * draw(st.integers(-3, 3))
    return moment + draw(st.sampled_from([timedelta(), timedelta(microseconds=-1)]) | UP_TO_HOURS)


UP_TO_HOURS = st.timedeltas(timedelta(0), timedelta(hours=3))


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": mostly(NUMBERS, COMMON),
    "w": WILD,
    "t": SCALARS,
    "u": st.sampled_from(["a", "b", "c", None]),
    "tags": mostly(ARRAYS, SCALARS),
    "o": mostly(INNER, SCALARS),
    "or": SCALARS,
    "é 日": SCALARS,
    "ID": st.just(1),
    # Those whose values are of one type are read in another way.
    "i": mostly(st.integers(0, 3), st.sampled_from([2**53, 2**53 + 1, 2**63, 2**64 - 1])),
    "neg": mostly(st.integers(-3, -1), st.sampled_from([-(2**53), -(2**53) - 1, -(2**63)])),
    "d": mostly(
        st.sampled_from([0.5, 1.0, 2.0, -1.0, -0.0, 2.5]), st.sampled_from([2.0**53, 2.0**63, 1e19, 2e19, 1e300])
    ),
    "yes": st.booleans(),
}


def events(near: datetime) -> st.SearchStrategy[list[Any]]:
    always = {"timestamp": moments(near).map(iso)} | {name: VALUES[name] for name in ("n", "t", "u")}
    event = st.fixed_dictionaries(always, optional={name: VALUES[name] for name in VALUES if name not in always})
    return mostly(st.lists(event, min_size=8, max_size=25), st.lists(event, max_size=3))


# Questions

PATHS = mostly(
    st.sampled_from(["n", "t", "u", "tags", "w", "i", "neg", "d", "yes", "o.x"]),
    st.sampled_from(["o", "o.y", "o.id", "or", "é 日", "missing", "n.a", "o.x.a", "tags.a"]),
)
GROUPS = st.sampled_from(["u", "u", "t", "o.x", "n", "w", "o", "tags", "missing", "é 日", "i", "neg", "d", "yes"])
ALIASES = st.sampled_from(["total", "a.b", "é", "COUNT", "'; --", '"', "x\x00", " ", "select", "interval"])
ANY_CASE = st.sampled_from([str, str.upper, str.title])


@st.composite
def named(draw: st.DrawFn, *names: str) -> str:
    return draw(ANY_CASE)(draw(st.sampled_from(names)))


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, Any]:
    """A path and what it must be, mostly something that it may be."""
    path = draw(PATHS)
    pool = draw(mostly(st.just(VALUES.get(path, COMMON)), st.just(SCALARS))).filter(is_scalar)
    known = pool.filter(lambda each: each is not None)
    operands: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(("eq", "neq", "ne"), pool),
        **dict.fromkeys(("gt", "gte", "lt", "lte"), known.filter(lambda each: not isinstance(each, bool))),
        **dict.fromkeys(("startsWith", "endsWith", "endsWidth"), mostly(st.sampled_from(["a", "b", ""]), TEXTS)),
        "exists": st.booleans(),
        "contains": mostly(COMMON, known).filter(lambda each: each is not None),
        "in": KINDS,
    }
    likely = LIKELY.get(path, list(operands))
    chosen = draw(st.lists(mostly(st.sampled_from(likely), st.sampled_from(list(operands))), min_size=1, max_size=2))
    plain = draw(st.integers(0, 5))
    return path, draw(pool | KINDS) if plain == 5 else {draw(ANY_CASE)(name): draw(operands[name]) for name in chosen}


def is_scalar(value: Any) -> bool:
    return not isinstance(value, list | dict)


ORDERINGS = ["gt", "gte", "lt", "lte", "eq", "neq", "in"]
LIKELY = {
    **dict.fromkeys(("n", "w", "i", "neg", "d"), ORDERINGS),
    "tags": ["contains", "exists"],
    "t": [*ORDERINGS, "contains", "startsWith"],
}
KINDS = st.lists(mostly(st.sampled_from(["a", "b", "c"]), TEXTS), max_size=4) | st.lists(st.booleans(), max_size=2)
KINDS |= st.lists(mostly(FEW, WILD).filter(lambda each: not isinstance(each, bool)), max_size=4)
FILTERS = st.recursive(
    mostly(conditions().map(lambda one: dict([one])), st.lists(conditions(), max_size=2).map(dict)),
    lambda inner: st.builds(
        lambda either, also: {"or": either, **{name: value for name, value in also.items() if name != "or"}},
        st.lists(inner, min_size=1, max_size=3),
        st.lists(conditions(), max_size=1).map(dict),
    ),
    max_leaves=4,
)


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
    exactly = st.builds(lambda step, count: near + step * count, NEAR, st.integers(-3, 3))
    start, end = sorted([draw(exactly | moments(near)), draw(exactly | moments(near))])
    offset = draw(st.sampled_from(["Z", "", "+00:00"]))
    bounds = {name: iso(moment).replace("Z", offset) for name, moment in (("start", start), ("end", end))}
    return draw(st.sampled_from([bounds, {"start": bounds["start"]}, {"end": bounds["end"]}, {**bounds, "end": None}]))


RELATIVE = [
    f"{which}_{unit}" for which in ("this", "last") for unit in ("minute", "hour", "week", "month", "quarter", "year")
]
RELATIVE += ["today", "yesterday"]


@st.composite
def queries(draw: st.DrawFn, near: datetime = CHANGES[0]) -> dict[str, Any]:
    """A valid query; with what it leaves open, or not, at random."""
    query: dict[str, Any] = {}
    groups = draw(st.lists(GROUPS, max_size=2))
    select = draw(selects())
    if groups or draw(st.booleans()):
        query["groupBy"] = groups[0] if len(groups) == 1 and draw(st.booleans()) else groups
    if select or draw(st.booleans()):
        query["select"] = select
    if draw(st.integers(0, 3)):
        query["filter"] = draw(FILTERS)
    if draw(st.integers(0, 3)) == 3:
        query["timeframe"] = draw(timeframes(near))
    if draw(st.booleans()):
        query["interval"] = draw(named("minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "yearly"))
        query["nonEmpty"] = draw(st.booleans())
    relative = isinstance(query.get("timeframe"), str) or {"current", "previous"} & set(query.get("timeframe") or ())
    if (relative or "interval" in query) and draw(st.booleans()):
        query["timezone"] = draw(ZONES)
    columns = [
        *dict.fromkeys(groups),
        *(alias for alias, each in select.items() if is_exact(each)),
        *([] if select else ["_count"]),
    ]
    if columns and draw(st.booleans()):
        order = st.sampled_from(columns)
        order |= st.builds(lambda name, way: {name: way}, st.sampled_from(columns), named("asc", "desc"))
        query["orderBy"] = draw(order | st.lists(order, max_size=3))
    if groups and draw(st.integers(0, 3)) == 0:
        query["limit"] = draw(st.integers(1, 5))
    return query


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    near = draw(st.sampled_from(CHANGES))
    now = draw(
        moments(near).filter(lambda moment: 1960 < moment.year < 2090 and moment.year != 2011) | st.just(CHANGES[0])
    )
    return {
        "events": draw(events(near)),
        "queries": draw(st.lists(queries(near), min_size=6, max_size=14)),
        "now": iso(now),
    }


CASES = cases()
"""What :func:`.asking.differ` takes."""

WORDS = ["select", "filter", "groupBy", "timeframe", "interval", "timezone", "nonEmpty", "orderBy", "limit"]
MORE_WORDS = [
    "or",
    "in",
    "eq",
    "gt",
    "contains",
    "exists",
    "sum",
    "percentile",
    "property",
    "p",
    "start",
    "end",
    "current",
]
MORE_WORDS += ["days", "previous", "id", "timestamp", "a", "b.c", "t", "count", "asc"]
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
