"""Log records as analytics events that are never lost and never counted twice."""

from . import security
from ._mapping import EventFormatter
from .client import ConnectClient
from .exceptions import (
    ClosedError,
    ConfigurationError,
    ConnectError,
    DamagedSourceError,
    InvalidEventError,
    InvalidFilteredKeyError,
    InvalidQueryError,
    MissingExtraError,
    RequestError,
    UnavailableError,
)
from .handler import ConnectHandler
from .responses import Collection, ImportResult, PushBatchResponse, PushResponse, QueryResponse

__all__ = [
    "ClosedError",
    "Collection",
    "ConfigurationError",
    "ConnectClient",
    "ConnectError",
    "ConnectHandler",
    "DamagedSourceError",
    "EventFormatter",
    "ImportResult",
    "InvalidEventError",
    "InvalidFilteredKeyError",
    "InvalidQueryError",
    "MissingExtraError",
    "PushBatchResponse",
    "PushResponse",
    "QueryResponse",
    "RequestError",
    "UnavailableError",
    "security",
]
