"""Conditions and times on the command line, as the documents that they become."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner

from connect_logging._choosing import Choice, choice_options, read_condition
from connect_logging._terms import OPERATORS, PERIODS, RELATIVE_TIMEFRAMES
from connect_logging.query import Export


@click.command()
@choice_options
def chosen(choice: Choice) -> None:
    click.echo(json.dumps(choice.apply(Export.begin(None, "c")).document))  # type: ignore[arg-type]  # nobody is asked


def document(*options: str) -> dict[str, Any]:
    result = CliRunner().invoke(chosen, options)
    assert result.exit_code == 0, result.output
    read: dict[str, Any] = json.loads(result.stdout)
    return read


def refused(*options: str) -> str:
    result = CliRunner().invoke(chosen, options)
    assert result.exit_code == 2, result.output
    return result.stderr


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("country=AU", {"country": "AU"}),
        ("customer.country=AU", {"customer.country": "AU"}),
        ("n=5", {"n": 5}),
        ("n=-2.5", {"n": -2.5}),
        ("paid=true", {"paid": True}),
        ("coupon=null", {"coupon": None}),
        ('zip="0123"', {"zip": "0123"}),
        ("zip=0123", {"zip": "0123"}),
        ('object={"a":1}', {"object": '{"a":1}'}),
        ("empty=", {"empty": ""}),
        ("formula=a=b", {"formula": "a=b"}),
        ("url=https://example.com", {"url": "https://example.com"}),
        ("time=10:30", {"time": "10:30"}),
        ("url=eq:net:x", {"url": "net:x"}),
        ("price=gt:5", {"price": {"gt": 5}}),
        ("price=GT:5", {"price": {"gt": 5}}),
        ("name=startsWith:a:b", {"name": {"startsWith": "a:b"}}),
        ("phone=startsWith:49", {"phone": {"startsWith": "49"}}),
        ("phone=endsWith:49", {"phone": {"endsWith": "49"}}),
        ('phone=endsWith:"49"', {"phone": {"endsWith": "49"}}),
        ("n=contains:49", {"n": {"contains": 49}}),
        (f"deep={'[' * 20_000}", {"deep": "[" * 20_000}),
        (f"deep=in:{'[' * 20_000},a", {"deep": {"in": ["[" * 20_000, "a"]}}),
        ("coupon=exists:false", {"coupon": {"exists": False}}),
        ("country=in:AU,NZ", {"country": {"in": ["AU", "NZ"]}}),
        ("n=in:1,2", {"n": {"in": [1, 2]}}),
        ("zip=in:01234,90210", {"zip": {"in": ["01234", "90210"]}}),
        ("status=NaN", {"status": "NaN"}),
        ("status=-Infinity", {"status": "-Infinity"}),
        ("card=12345678901234567890123", {"card": "12345678901234567890123"}),
        ("card=-12345678901234567890123", {"card": "-12345678901234567890123"}),
        ("state=in", {"state": "in"}),
        ("word=start", {"word": "start"}),
        ("room=gt5:a", {"room": "gt5:a"}),
    ],
)
def test_a_condition_is_read(text: str, wanted: dict[str, Any]) -> None:
    assert read_condition(text).document == wanted


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_can_be_said(operator: str) -> None:
    value = "true" if operator == "exists" else "a"
    [found] = read_condition(f"p={operator}:{value}").document.values()
    assert found == "a" or [*found] == [OPERATORS[operator]]


@pytest.mark.parametrize("text", ["price", "price>5", "=5", ""])
def test_what_is_no_condition_is_told_with_what_is(text: str) -> None:
    assert "write country=AU" in refused("--where", text)


def test_values_of_several_kinds_are_refused() -> None:
    assert "in takes an array of strings, of numbers or of booleans" in refused("--where", "paid=in:true,later")


def test_an_operator_that_is_misspelt_is_no_text() -> None:
    error = refused("--where", "price=gtt:5")
    assert "unknown operator 'gtt'" in error
    assert "did you mean gt? For the text itself write price=eq:gtt:5" in error


def test_all_conditions_narrow_and_of_any_of_one_must_hold() -> None:
    assert document("--where", "price=gt:5", "--where", "price=lt:9") == {"filter": {"price": {"gt": 5, "lt": 9}}}
    found = document("--where", "price=gt:5", "--any-of", "country=AU", "--any-of", "country=NZ")
    assert found == {"filter": {"price": {"gt": 5}, "or": [{"country": "AU"}, {"country": "NZ"}]}}
    assert document() == {}


@pytest.mark.parametrize("name", RELATIVE_TIMEFRAMES)
def test_every_relative_timeframe_can_be_said(name: str) -> None:
    assert document("--timeframe", name.upper()) == {"timeframe": name}


@pytest.mark.parametrize("period", PERIODS)
def test_periods_can_be_counted(period: str) -> None:
    assert document("--timeframe", f"last_3_{period}") == {"timeframe": {"previous": {period: 3}}}
    assert document("--timeframe", f"current 1 {period.removesuffix('s')}") == {"timeframe": {"current": {period: 1}}}


def test_times_and_zones() -> None:
    assert document("--start", "2026-03-01", "--end", "2026-03-02T08:30+10:00") == {
        "timeframe": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-01T22:30:00Z"}
    }
    assert document("--end", "2026-03-01") == {"timeframe": {"end": "2026-03-01T00:00:00Z"}}
    assert document("--timeframe", "today", "--timezone", "Australia/Brisbane")["timezone"] == "Australia/Brisbane"
    assert document("--timeframe", "today", "--timezone", "-3.5")["timezone"] == -3.5


def test_mistakes_in_times_are_told() -> None:
    assert "this_month" in refused("--timeframe", "thismonth")
    assert "this_month" in refused("--timeframe", "last_3_days_2")
    assert "minutes, hours" in refused("--timeframe", "last_3_fortnights")
    assert "2026-03-01" in refused("--start", "yesterday")
    assert "leave out" in refused("--timeframe", "today", "--end", "2026-03-01")
