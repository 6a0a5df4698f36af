"""From a request to the operation that answers it, and from what that raises to an answer. Plain ASGI, HTTP alone.

Invariant: a request gets one answer, whatever happens: an error that comes after it has begun is the caller's, and so
is one that nobody foresaw, once it has been answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from re import Pattern
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .answers import RefusedError, error_message
from .openapi import Operation
from .threads import let_go

_UNFORESEEN: Final = 500

_Methods: TypeAlias = dict[str, Operation]


class Routing:
    """``routes``: no path is that of two, but for the method. ``answer_error``: for what they raise.

    Leaves in the scope which ``route`` it was, also when that has another method, and what the path says.
    """

    def __init__(self, routes: Sequence[Operation], answer_error: Callable[[Exception], Response]) -> None:
        self.routes = routes
        self._answer_error = answer_error
        self._paths: dict[str, _Methods] = {}
        """Those that say nothing."""
        self._patterns: dict[Pattern[str], _Methods] = {}
        for each in routes:
            if each.param_convertors:
                methods = self._patterns.setdefault(each.path_regex, {})
            else:
                methods = self._paths.setdefault(each.path, {})
            methods.update(dict.fromkeys(each.methods or (), each))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, also what is cut off because the server stops: then the task of a request is cancelled."""
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            operation = self._find(scope)
            response = await operation.endpoint(Request(scope, receive))
            await response(scope, receive, send_and_note)
        except asyncio.CancelledError:  # nothing is left to be done in this task
            if not begun:
                await error_message(503, "the server is stopping")(scope, receive, send)
        except Exception as error:
            if not begun:
                answer = self._answer_error(error)
                await answer(scope, receive, send)
                if answer.status_code != _UNFORESEEN:
                    let_go(error)
                    return
            asyncio.get_running_loop().call_soon(let_go, error)  # once it is logged
            raise

    def _find(self, scope: Scope) -> Operation:
        """Raises RefusedError: 404 or 405."""
        path = scope["path"]
        methods = self._paths.get(path)
        if methods is None:
            for pattern, others in self._patterns.items():
                if match := pattern.match(path):
                    methods, scope["path_params"] = others, match.groupdict()
                    break
            else:
                raise RefusedError(404, "Not Found")
        scope["route"] = next(iter(methods.values()))
        operation = methods.get(scope["method"])
        if operation is None:
            raise RefusedError(405, "Method Not Allowed", {"Allow": ", ".join(sorted(methods))})
        return operation
