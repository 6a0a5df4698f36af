"""HTTP to one endpoint at addresses that were chosen before, in place of botocore's own way of sending.

Invariants: no name is resolved here, and no request leaves for another host than the endpoint's, whatever an answer
says (redirects, other regions); certificates are checked for the endpoint's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.exceptions import ConnectTimeoutError as PoolConnectTimeoutError
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import ReadTimeoutError as PoolReadTimeoutError
from urllib3.exceptions import SSLError as PoolSSLError

from .addresses import Endpoint

_TIMEOUT: Final = urllib3.Timeout(connect=10, read=30)
"""Seconds; read: for each part of an answer."""
_REDIRECTS: Final = (301, 302, 303, 307, 308)
"""Which botocore would follow in its own way, to an address that the answer says."""


class ElsewhereError(Exception):
    """S3 wants the request to be sent somewhere else, such as to another region."""


class PinnedSender:
    """Sends what botocore has signed for ``endpoint`` to the first of ``addresses`` that takes it.

    Made to be a handler of its event ``before-send``. Not to be shared between threads.
    """

    def __init__(self, endpoint: Endpoint, addresses: Sequence[str]) -> None:
        self._endpoint = endpoint
        self._addresses = [*addresses]
        self._pool = self._new_pool()

    def __call__(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """The answer to ``request``. Raises what botocore's own session would."""
        parts = urlsplit(request.url)
        if f"{parts.scheme}://{parts.netloc}" != self._endpoint.url:
            raise ElsewhereError
        headers = {**request.headers, "Host": parts.netloc}
        headers.pop("Expect", None)  # urllib3 does not wait for the answer to it
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            answer = self._pool.urlopen(
                request.method,
                target,
                body=request.body,
                headers=headers,
                redirect=False,
                retries=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
                timeout=_TIMEOUT,
            )
        except HTTPError as error:
            raise self._botocore_error(error, request.url) from error
        if answer.status in _REDIRECTS:
            answer.release_conn()
            raise ElsewhereError
        response = AWSResponse(request.url, answer.status, answer.headers, answer)
        if not request.stream_output:
            _ = response.content  # read, so that the connection can be used again
        return response

    def close(self) -> None:
        """Let go of connections."""
        self._pool.close()

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        endpoint, address = self._endpoint, self._addresses[0]
        if endpoint.scheme == "http":
            return urllib3.HTTPConnectionPool(address, endpoint.port)
        return urllib3.HTTPSConnectionPool(
            address, endpoint.port, server_hostname=endpoint.host, assert_hostname=endpoint.host
        )

    def _botocore_error(self, error: HTTPError, url: str) -> Any:
        """The error by which botocore decides whether to try again, then at the next address."""
        if isinstance(error, NewConnectionError | PoolConnectTimeoutError):
            self._addresses.append(self._addresses.pop(0))
            self._pool.close()
            self._pool = self._new_pool()
        match error:
            case NewConnectionError():
                return EndpointConnectionError(endpoint_url=url, error=error)
            case PoolConnectTimeoutError():
                return ConnectTimeoutError(endpoint_url=url, error=error)
            case PoolReadTimeoutError():
                return ReadTimeoutError(endpoint_url=url, error=error)
            case PoolSSLError():
                return SSLError(endpoint_url=url, error=error)
            case _:
                return ConnectionClosedError(endpoint_url=url, error=error)
