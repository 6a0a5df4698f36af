"""The errors: one hierarchy, messages that say what and where, and that survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from connect_logging import exceptions
from connect_logging._types import Violation
from connect_logging.exceptions import ConnectError, InvalidEventError, InvalidFilteredKeyError

ERRORS = [error for error in vars(exceptions).values() if isinstance(error, type) and issubclass(error, Exception)]


def test_every_error_is_a_connect_error_and_explained() -> None:
    assert len(ERRORS) == 10
    for error in ERRORS:
        assert issubclass(error, ConnectError)
        assert error.__doc__


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (exceptions.ConfigurationError, ValueError),
        (exceptions.DamagedSourceError, ValueError),
        (exceptions.InvalidEventError, ValueError),
        (exceptions.InvalidFilteredKeyError, ValueError),
        (exceptions.InvalidQueryError, ValueError),
        (exceptions.MissingExtraError, ImportError),
        (exceptions.ClosedError, RuntimeError),
    ],
)
def test_who_catches_the_builtin_catches_it(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, builtin)


def test_an_invalid_event_names_every_path_once() -> None:
    violations = [Violation("a.b", "dot", "no dot"), Violation("", "size", "too large"), Violation("a.b", "x", "bad")]
    error = InvalidEventError(violations)
    assert error.errors == {"a.b": "no dot; bad", "": "too large"}
    assert error.violations == tuple(violations)
    assert str(error) == "invalid event: a.b: no dot; bad; event: too large"


def test_an_invalid_event_survives_pickling() -> None:
    """As a future's exception does on its way out of a process pool."""
    error = InvalidEventError([Violation("a", "type", "bad")])
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.violations, copy.errors, str(copy)) == (
        InvalidEventError,
        error.violations,
        error.errors,
        str(error),
    )


def test_an_option_that_is_wrong_is_named_and_stands_apart_from_the_reason() -> None:
    error = pickle.loads(pickle.dumps(exceptions.ConfigurationError("must be a number, not 'x'", "timeout")))
    assert (str(error), error.option, error.reason) == (
        "timeout must be a number, not 'x'",
        "timeout",
        "must be a number, not 'x'",
    )
    assert (str(exceptions.ConfigurationError("no profile")), exceptions.ConfigurationError("").option) == (
        "no profile",
        None,
    )


def test_an_invalid_query_survives_pickling() -> None:
    error = exceptions.InvalidQueryError({"filter.price": "gt takes a string or a number", "limit": "too high"})
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.errors, str(copy)) == (error.errors, str(error))
    assert str(error) == "filter.price: gt takes a string or a number; limit: too high"


def test_a_refused_request_survives_pickling() -> None:
    """As it does on its way out of a process pool."""
    refused = exceptions.RequestError("HTTP 422: limit: too high", 422, {"limit": "too high"})
    copy = pickle.loads(pickle.dumps(refused))
    assert (str(copy), copy.http_status, copy.errors) == (str(refused), 422, {"limit": "too high"})
    unavailable = pickle.loads(pickle.dumps(exceptions.UnavailableError("HTTP 503: later", 503, 2.0)))
    assert (unavailable.http_status, unavailable.retry_after, unavailable.errors) == (503, 2.0, {})


def test_an_invalid_key_never_says_why() -> None:
    assert str(InvalidFilteredKeyError()) == "the filtered key is not valid for this master key"
    with pytest.raises(TypeError):
        InvalidFilteredKeyError("bad padding")  # type: ignore[call-arg]
