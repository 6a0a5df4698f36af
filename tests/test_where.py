"""Conditions and their joining: what the JSON says is what the expression says."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from connect_logging._grammar.filters import parse_filters
from connect_logging._terms import OPERATORS
from connect_logging._where import (
    Condition,
    Filter,
    all_of,
    any_of,
    contains,
    ends_with,
    eq,
    exists,
    gt,
    gte,
    is_in,
    lt,
    lte,
    neq,
    starts_with,
)
from connect_logging.exceptions import InvalidQueryError


@pytest.mark.parametrize(
    ("condition", "operators"),
    [
        (neq("a"), {"neq": "a"}),
        (gt(1), {"gt": 1}),
        (gte(1.5), {"gte": 1.5}),
        (lt("b"), {"lt": "b"}),
        (lte(0), {"lte": 0}),
        (exists(), {"exists": True}),
        (exists(False), {"exists": False}),
        (starts_with("a"), {"startsWith": "a"}),
        (ends_with("a"), {"endsWith": "a"}),
        (contains(True), {"contains": True}),
        (is_in(n for n in range(3)), {"in": [0, 1, 2]}),
        (gt(5) & lte(10), {"gt": 5, "lte": 10}),
        (eq(1) & neq(2), {"eq": 1, "neq": 2}),
        (eq("AU"), "AU"),
        (eq(None), None),
        ("AU", "AU"),
        (None, None),
        (["a", "b"], {"in": ["a", "b"]}),
        (("a", "b"), {"in": ["a", "b"]}),
        ({"gt": 5}, {"gt": 5}),
        ({"eq": {"odd": 1}}, {"eq": {"odd": 1}}),
    ],
)
def test_a_condition_is_written_as_in_json(condition: Any, operators: Any) -> None:
    assert all_of({"customer.country": condition}).document == {"customer.country": operators}
    assert all_of(price=condition).document == {"price": operators}


def test_every_operator_can_be_reached() -> None:
    made = [eq(1), neq(1), gt(1), gte(1), lt(1), lte(1), exists(), starts_with(""), ends_with(""), contains("")]
    assert {name for each in [*made, is_in([])] for name, _ in each.tests} == set(OPERATORS.values())


def test_properties_and_filters_are_joined() -> None:
    base = all_of(country="AU")
    assert all_of(base, {"a.b": 1}, price=gt(5), tags=contains("x")).document == {
        "country": "AU",
        "a.b": 1,
        "price": {"gt": 5},
        "tags": {"contains": "x"},
    }
    assert (base & all_of(price=lt(9))).document == {"country": "AU", "price": {"lt": 9}}
    assert all_of().document == {}
    assert base.document == {"country": "AU"}


def test_alternatives_are_written_under_or() -> None:
    expected = {"or": [{"country": "AU"}, {"price": {"gt": 5}, "n": 1}]}
    assert any_of({"country": "AU"}, all_of(price=gt(5), n=1)).document == expected
    assert (all_of(country="AU") | all_of(price=gt(5), n=1)).document == expected
    assert any_of(country="AU").document == {"country": "AU"}
    assert any_of(country="AU", n=1).document == {"or": [{"country": "AU"}, {"n": 1}]}
    assert all_of({"or": [{"country": "AU"}, {"price": {"gt": 5}, "n": 1}]}).document == expected
    assert all_of({"or": [all_of(country="AU"), all_of(price=gt(5), n=1)]}).document == expected
    assert all_of(any_of(a=1, b=2), c=3).document == {"c": 3, "or": [{"a": 1}, {"b": 2}]}


def test_a_chain_of_alternatives_is_one_or() -> None:
    """However long it is: as alternatives of alternatives there is room for ten."""
    chain = reduce(or_, (all_of({f"p{n}": n}) for n in range(50)))
    assert chain.document == {"or": [{f"p{n}": n} for n in range(50)]}
    assert any_of(any_of(a=1, b=2), all_of(c=3)).document == {"or": [{"a": 1}, {"b": 2}, {"c": 3}]}
    kept = any_of(all_of(any_of(a=1, b=2), c=3), d=4).document
    assert kept == {"or": [{"c": 3, "or": [{"a": 1}, {"b": 2}]}, {"d": 4}]}
    both = all_of(any_of(a=1, b=2), any_of(c=3, d=4))
    assert any_of(both, e=5).document == {"or": [both.document, {"e": 5}]}


def test_alternatives_that_are_too_deep_are_refused_before_they_are_walked() -> None:
    document: dict[str, Any] = {"a": 1}
    expression = all_of(a=1)
    for _ in range(2_000):
        document = {"a": 1, "or": [{"b": 1}, document]}
        expression = any_of(all_of(b=1), expression & all_of(a=1))
    for make in (lambda: all_of(document), lambda: expression.document):
        with pytest.raises(InvalidQueryError, match="at most 10 or inside each other"):
            make()


def test_alternatives_are_nested_as_deep_as_the_grammar_has_them() -> None:
    document: dict[str, Any] = {"a": 1}
    for _ in range(10):
        document = {"a": 1, "or": [{"b": 1}, document]}
    assert all_of(document).document == document
    assert parse_filters(document)
    for read in (all_of, parse_filters):
        with pytest.raises(InvalidQueryError, match="at most 10 or inside each other"):
            read({"or": [{"b": 1}, document]})


def test_choices_that_come_to_too_many_alternatives_are_refused_at_once() -> None:
    """A hundred of two would be a document larger than any memory."""
    choices = [any_of(country="AU", price=gt(5)) for _ in range(100)]
    assert len(str(all_of(*choices[:4]).document)) < 2_000
    for number in (5, 100):
        with pytest.raises(InvalidQueryError, match=r"put the values of one property into a list"):
            all_of(*choices[:number]).document  # noqa: B018 - which raises


def test_what_the_grammar_has_one_place_for_is_put_into_an_alternative_of_its_own() -> None:
    assert all_of({"a": contains("x")}, a=contains("y")).document == {
        "a": {"contains": "x"},
        "or": [{"a": {"contains": "y"}}],
    }
    assert all_of(any_of(a=1, b=2, c=3), any_of(d=4, e=5)).document == {
        "or": [
            {"d": 4, "or": [{"a": 1}, {"b": 2}, {"c": 3}]},
            {"e": 5, "or": [{"a": 1}, {"b": 2}, {"c": 3}]},
        ]
    }


def test_a_property_may_be_called_or() -> None:
    assert all_of({"or": "x"}).document == {"or": "x"}
    assert all_of({"or": ["x", "y"]}).document == {"or": {"in": ["x", "y"]}}
    document = all_of({"or": gt(1)}, any_of(a=1, b=2)).document
    assert matches(document, {"or": 2, "a": 1})
    assert not matches(document, {"or": 1, "a": 1})
    assert not matches(document, {"or": 2, "a": 2})


@pytest.mark.parametrize(
    ("make", "field", "message"),
    [
        (lambda: any_of(), "filter.or", "one or more"),
        (lambda: all_of("country"), "filter", "a filter, or a dict"),
        (lambda: any_of(7), "filter", "not int"),
        (lambda: all_of({"or": [{"a": 1}, 7]}), "filter", "not int"),
        (lambda: all_of(price={}), "filter.price", "an operator is missing"),
        (lambda: all_of({"or": gt(1)}, {"or": gt(2)}).document, "filter.or", "each operator once"),
    ],
)
def test_what_is_no_filter_is_named(make: Any, field: str, message: str) -> None:
    with pytest.raises(InvalidQueryError, match=message) as caught:
        make()
    assert [*caught.value.errors] == [field]


def test_only_conditions_and_filters_are_joined() -> None:
    with pytest.raises(TypeError):
        gt(1) & 2  # type: ignore[operator]
    for join in (lambda: all_of() & {}, lambda: all_of() | 1):  # type: ignore[operator]
        with pytest.raises(TypeError):
            join()


# What an expression means, worked out beside what its document means


def matches(document: dict[str, Any], event: dict[str, Any]) -> bool:
    """The grammar, for the operators eq, neq, gt and lt over small numbers."""
    for name, wanted in document.items():
        if isinstance(wanted, list):
            met = any(matches(each, event) for each in wanted)
        else:
            operators = wanted if isinstance(wanted, dict) else {"eq": wanted}
            met = all(holds(event.get(name), operator, value) for operator, value in operators.items())
        if not met:
            return False
    return True


def holds(value: Any, operator: str, wanted: int) -> bool:
    if value is None:
        return operator == "neq"
    return bool({"eq": value == wanted, "neq": value != wanted, "gt": value > wanted, "lt": value < wanted}[operator])


def means(expression: Filter, event: dict[str, Any]) -> bool:
    return all(holds(event.get(path), operator, value) for path, operator, value in expression.tests) and all(
        any(means(each, event) for each in choice) for choice in expression.choices
    )


conditions = st.builds(lambda make, n: make(n), st.sampled_from([eq, neq, gt, lt]), st.integers(0, 3))
joined = conditions | st.builds(Condition.__and__, conditions, conditions)
names = st.sampled_from(["a", "b", "or"])
expressions = st.recursive(
    st.dictionaries(names, joined, min_size=1, max_size=3).map(all_of),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: any_of(*parts))
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: all_of(*parts))
    ),
    max_leaves=8,
)
events = st.dictionaries(names, st.integers(0, 3))


@settings(max_examples=100, deadline=None)
@given(expressions, st.lists(events, min_size=1, max_size=5))
def test_the_document_means_what_the_expression_means(expression: Filter, tried: list[dict[str, Any]]) -> None:
    try:
        document = expression.document
    except InvalidQueryError:  # a property called or, twice with one operator: the grammar has no place for that
        reject()
    for event in tried:
        assert matches(document, event) == means(expression, event)
    assert expression.document == document, "and can be written again"
