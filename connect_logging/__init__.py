"""Log records as analytics events that are never lost and never counted twice."""

from . import security
from ._mapping import EventFormatter
from .client import ConnectClient
from .exceptions import (
    ClosedError,
    ConfigurationError,
    ConnectError,
    InvalidEventError,
    InvalidFilteredKeyError,
    RequestError,
    UnavailableError,
)
from .handler import ConnectHandler
from .responses import PushBatchResponse, PushResponse

__all__ = [
    "ClosedError",
    "ConfigurationError",
    "ConnectClient",
    "ConnectError",
    "ConnectHandler",
    "EventFormatter",
    "InvalidEventError",
    "InvalidFilteredKeyError",
    "PushBatchResponse",
    "PushResponse",
    "RequestError",
    "UnavailableError",
    "security",
]
