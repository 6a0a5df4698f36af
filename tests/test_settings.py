"""Options: each refusal names the option, what it got and what it takes, and never the key."""

from __future__ import annotations

import copy
from typing import Any

import msgspec.structs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_logging._settings import (
    ENVIRONMENT,
    LARGEST,
    LONGEST,
    Connection,
    Triggers,
    number,
    refuse_unknown,
    waiting_time,
    whole_number,
)
from connect_logging.exceptions import ConfigurationError

CANARY = "canary-key-77f1"
GOOD = {"project_id": "shop", "api_key": CANARY, "base_url": "http://127.0.0.1:8010"}


def connection(environ: dict[str, str] | None = None, **options: Any) -> Connection:
    given_options = {"project_id": None, "api_key": None, "base_url": None, **options}
    return Connection.from_options(**given_options, environ=environ or {})


def refusal(**options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        connection(**{**GOOD, **options})
    return str(caught.value)


# Where they come from


def test_options_that_are_passed_are_used() -> None:
    assert connection(**GOOD) == Connection(**GOOD)


def test_options_that_are_not_come_from_the_environment() -> None:
    environ = {ENVIRONMENT[option]: value for option, value in GOOD.items()}
    assert environ == {
        "CONNECT_PROJECT_ID": "shop",
        "CONNECT_API_KEY": CANARY,
        "CONNECT_BASE_URL": "http://127.0.0.1:8010",
    }
    assert connection(environ) == Connection(**GOOD)


@pytest.mark.parametrize("option", GOOD)
@pytest.mark.parametrize("empty", [None, ""])
def test_each_is_looked_for_by_itself_and_what_is_passed_wins(option: str, empty: str | None) -> None:
    environ = dict.fromkeys(ENVIRONMENT.values(), "http://elsewhere")
    found = connection(environ, **{**GOOD, option: empty})
    assert found == msgspec.structs.replace(Connection(**GOOD), **{option: "http://elsewhere"})


@pytest.mark.parametrize("option", GOOD)
@pytest.mark.parametrize("environ", [{}, dict.fromkeys(ENVIRONMENT.values(), "")], ids=["unset", "empty"])
def test_one_that_is_nowhere_is_named_with_its_variable(option: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=f"^{option} is missing: pass it or set {ENVIRONMENT[option]} "):
        connection(environ, **{**GOOD, option: None})


def test_all_that_are_missing_are_named_at_once_with_where_they_are_to_be_had() -> None:
    with pytest.raises(ConfigurationError) as caught:
        connection({"CONNECT_PROJECT_ID": "shop"})
    assert str(caught.value) == (
        "api_key, base_url are missing: pass them or set CONNECT_API_KEY, CONNECT_BASE_URL"
        " (for a server of your own, 'connect-logging project keys --data DIR --env push' prints them)"
    )


@pytest.mark.parametrize("option", GOOD)
def test_one_from_the_environment_is_checked_as_well(option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{option} must be a str .*: character 2 is "):
        connection({ENVIRONMENT[option]: "a\nb"}, **{**GOOD, option: None})


# What they may be


@pytest.mark.parametrize("option", GOOD)
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (7, ", not int"),
        (b"bytes", ", not bytes"),
        (["a"], ", not list"),
        ("key with spaces", ": character 4 is ' '"),
        ("line\n", r": character 5 is '\n'"),
        ("\r\nX-Other: 1", r": character 1 is '\r'"),
        ("Zoë", r": character 3 is '\xeb'"),
        ("\ud800", r": character 1 is '\ud800'"),
        ("del\x7f", r": character 4 is '\x7f'"),
    ],
)
def test_what_no_header_can_hold_is_refused(option: str, value: Any, shown: str) -> None:
    kind = f"{option} must be a str of printable ASCII characters without spaces"
    assert refusal(**{option: value}) == kind + shown


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_all_printable_ascii_is_a_key(key: str) -> None:
    assert connection(**{**GOOD, "api_key": key}).api_key == key


HINT = "base_url must be like https://connect.example.com or http://127.0.0.1:8010"


@pytest.mark.parametrize(
    ("base_url", "why"),
    [
        ("localhost:8010", ": it has no http:// or https://"),
        ("connect.example.com", ": it has no http:// or https://"),
        ("//connect.example.com", ": it has no http:// or https://"),
        ("ftp://connect.example.com", ", not 'ftp://connect.example.com'"),
        ("http://", ", not 'http://'"),
        ("http:///path", ", not 'http:///path'"),
        ("http://:8010", ", not 'http://:8010'"),
        ("http://host:0", ", not 'http://host:0'"),
        ("http://host:65536", ", not 'http://host:65536'"),
        ("http://host:port", ", not 'http://host:port'"),
        ("http://[::1", ", not 'http://[::1'"),
        ("http://user@host", ": user names and passwords do not belong in it"),
        (f"ftp://user:{CANARY}@host", ": user names and passwords do not belong in it"),
        (f"http://user:{CANARY}@host:99999", ": user names and passwords do not belong in it"),
        (f"http://host/?api_key={CANARY}", ", without '?' and '#'"),
        (f"ftp://host/#{CANARY}", ", without '?' and '#'"),
        (CANARY, ": it has no http:// or https://"),
    ],
)
def test_a_wrong_address_is_told_with_an_example_of_a_right_one(base_url: str, why: str) -> None:
    message = refusal(base_url=base_url)
    assert message == HINT + why
    assert CANARY not in message


@pytest.mark.parametrize(
    ("base_url", "used"),
    [
        ("https://connect.example.com", "https://connect.example.com"),
        ("http://127.0.0.1:8010/", "http://127.0.0.1:8010"),
        ("http://[::1]:8010", "http://[::1]:8010"),
        ("HTTPS://Connect.Example.com", "HTTPS://Connect.Example.com"),
        ("https://example.com/connect//", "https://example.com/connect"),
        ("http://host:65535/a/b", "http://host:65535/a/b"),
    ],
)
def test_a_path_to_it_is_kept_and_a_slash_at_the_end_is_not(base_url: str, used: str) -> None:
    assert connection(**{**GOOD, "base_url": base_url}).base_url == used


@pytest.mark.parametrize("option", GOOD)
@pytest.mark.parametrize("value", [f"{CANARY}\n", f" {CANARY}", CANARY.encode(), {"key": CANARY}, f"é{CANARY}"])
def test_a_key_in_any_place_is_in_no_message(option: str, value: Any) -> None:
    assert CANARY not in refusal(**{option: value})


def test_the_key_is_in_no_repr() -> None:
    made = connection(**GOOD)
    assert repr(made) == "Connection(project_id='shop', base_url='http://127.0.0.1:8010')"
    assert CANARY not in f"{made} {made!r} {[made]} {copy.copy(made)}"


def test_options_do_not_change_once_they_are_checked() -> None:
    with pytest.raises(AttributeError):
        connection(**GOOD).base_url = "ftp://"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Triggers(1, 1, 1.0).events = 0  # type: ignore[misc]


# Numbers


@pytest.mark.parametrize("value", [0.5, 1, 1.5, 2.0, 3])
def test_a_number_within_the_bounds_is_itself(value: float) -> None:
    assert number("wait", value, least=0.5, most=3) is value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.4999, "0.4999"),
        (3.0001, "3.0001"),
        (-1, "-1"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (True, "True"),
        ("1", "'1'"),
        (None, "None"),
        ([1], "[1]"),
        (1j, "1j"),
        (10**5_000, "one of 16610 bits"),
        (-(10**5_000), "one of 16610 bits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_number_that_is_none_or_out_of_bounds_is_told_with_them(value: Any, shown: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        number("wait", value, least=0.5, most=3)
    assert str(caught.value) == f"wait must be a number between 0.5 and 3, not {shown}"


@pytest.mark.parametrize("value", [float("inf"), LONGEST + 1, 1e300])
def test_a_wait_longer_than_a_year_is_refused_as_no_lock_can_wait_so_long(value: float) -> None:
    with pytest.raises(ConfigurationError, match=r"^wait must be a number between 0 and 31,536,000, not "):
        number("wait", value, least=0)


@pytest.mark.parametrize("value", [1, 2, LARGEST])
def test_a_whole_number_within_the_bounds_is_itself(value: int) -> None:
    assert whole_number("count", value, least=1) is value


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (1.0, "1.0"), (True, "True"), ("1", "'1'"), (None, "None"), (10**5_000, "one of 16610 bits")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_whole_number_is_told_with_the_bounds(value: Any, shown: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        whole_number("count", value, least=1)
    assert str(caught.value) == f"count must be a whole number at least 1, not {shown}"


def test_a_whole_number_may_have_an_upper_bound() -> None:
    assert whole_number("count", 5_000, least=1, most=5_000) == 5_000
    with pytest.raises(ConfigurationError, match=r"^count must be a whole number between 1 and 5,000, not 5001\Z"):
        whole_number("count", 5_001, least=1, most=5_000)


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [
        (None, 5.0),
        (0, 0),
        (1.5, 1.5),
        (-0.1, 0),
        (float("inf"), LONGEST),
        (float("nan"), 0),
        (10**400, LONGEST),
        (-(10**400), 0),
    ],
)
def test_a_wait_is_as_long_as_is_said_but_neither_negative_nor_over_a_year(timeout: Any, seconds: float) -> None:
    assert waiting_time(timeout, 5.0) == seconds


@pytest.mark.parametrize("timeout", ["x", True, [1]])
def test_a_wait_that_is_no_number_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        waiting_time(timeout, 5.0)
    assert str(caught.value) == f"timeout must be a number of seconds, not {timeout!r}"


# Unknown options


@pytest.mark.parametrize(
    ("name", "hint"),
    [("flush_intervall", "did you mean 'flush_interval'?"), ("xyzzy", "its options are level, flush_interval")],
)
def test_an_unknown_option_is_told_with_the_one_that_may_be_meant(name: str, hint: str) -> None:
    known = ["level", "flush_interval"]
    refuse_unknown("Handler", known, known)
    with pytest.raises(ConfigurationError) as caught:
        refuse_unknown("Handler", ["level", name], known)
    assert str(caught.value) == f"Handler has no option {name!r}: {hint}"
