"""The one hierarchy of errors. Every message says what was wrong, where, and what to do; none holds a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ._types import Violation

NO_SERVER: Final = "the answer is not that of a Connect server: is base_url right?"
"""Of a RequestError."""


class ConnectError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigurationError(ConnectError, ValueError):
    """An option of a client, handler or server has a value that cannot work. Raised when it is set.

    ``option``: its name, where one is to blame alone; the message is that name and the ``reason``.
    """

    def __init__(self, reason: str, option: str | None = None) -> None:
        self.option = option
        self.reason = reason
        super().__init__(reason if option is None else f"{option} {reason}")


class InvalidEventError(ConnectError, ValueError):
    """An event breaks the rules in :mod:`connect_logging.rules` and was not sent.

    ``violations``: every broken rule, up to the first hundred.
    ``errors``: ``{path: message}``, for example ``{"customer.tp.x": "…"}``; several messages of one path
    are joined with ``"; "``. A path of ``""`` is the event as a whole.
    """

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        self.errors: dict[str, str] = {}
        for path, _, message in self.violations:
            earlier = self.errors.get(path)
            self.errors[path] = f"{earlier}; {message}" if earlier else message
        listed = "; ".join(f"{path or 'event'}: {message}" for path, message in self.errors.items())
        super().__init__(f"invalid event: {listed}")

    def __reduce__(self) -> tuple[type[InvalidEventError], tuple[Sequence[Violation]]]:
        return type(self), (self.violations,)


class InvalidQueryError(ConnectError, ValueError):
    """A query breaks the grammar, and was not sent.

    ``errors``: ``{field: description}``, at least one, for example ``{"filter.price": "gt takes …"}``; the fields have
    the names of the query's JSON.
    """

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{field}: {text}" for field, text in self.errors.items()))

    def __reduce__(self) -> tuple[type[InvalidQueryError], tuple[Mapping[str, str]]]:
        return type(self), (self.errors,)


class MissingExtraError(ConnectError, ImportError):
    """A library that only some need is not installed. The message says what to install."""


class ClosedError(ConnectError, RuntimeError):
    """The client was closed before this call. Make a new client, or push before closing."""


class RequestError(ConnectError):
    """The server did not do what it was asked for.

    ``http_status``: of its answer; None when there was none, or not all of it. ``errors``: what it said of each part
    of the request, ``{field: description}``; empty when it said one thing of the whole.
    """

    def __init__(
        self, message: str, http_status: int | None = None, errors: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.http_status = http_status
        self.errors = dict(errors)
        super().__init__(message)


class UnavailableError(RequestError):
    """No answer in time, or one that says "not now", after several tries. Another try later may work.

    ``retry_after``: seconds that the server asked to wait, or None.
    """

    def __init__(self, message: str, http_status: int | None = None, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message, http_status)


class DamagedSourceError(ConnectError, ValueError):
    """A gzipped file that was to be imported is damaged, or ends too early.

    What was read before that may be stored. Import it again when it is whole: no event is stored twice.
    """


class InvalidFilteredKeyError(ConnectError, ValueError):
    """A filtered key cannot be read with this master key.

    One type and one message for every cause, so that nobody can learn from it which part was wrong
    (a padding oracle).
    """

    def __init__(self) -> None:
        super().__init__("the filtered key is not valid for this master key")
