"""What all answers have in common: protective headers, typed errors, logs without secrets.

A link is a capability, so no path, query or header of a request is ever logged, also not when a
request is broken.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.web_request import BaseRequest

from models.errors import ConnectorError, ErrorType

_log = logging.getLogger(__name__)

KIND: Final = web.RequestKey("kind", str)
"""What was asked for, in one word, for the access log."""
PASSED_ON: Final = "ui"
"""Kind of an answer that is somebody else's and keeps its own headers."""

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_STATUS: Final = {
    ErrorType.CONTENT_NOT_FOUND: 404,
    ErrorType.STORE_UNAVAILABLE: 503,
    ErrorType.INVALID_INPUT: 400,
    ErrorType.PAYLOAD_UNREADABLE: 400,
    ErrorType.MESSAGE_TOO_LARGE: 413,
}
_RETRY_SECONDS: Final = "5"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem(status: int, type: str, message: str) -> web.Response:
    """Return an error as JSON."""
    return web.json_response({"error": {"type": type, "message": message}}, status=status)


@web.middleware
async def errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Turn every exception into an answer that says what the contract's error says."""
    try:
        return await handler(request)
    except ConnectorError as error:
        status = _STATUS.get(error.type, 500)
        if status >= 500:
            _log.error("a request failed: %s: %s", error.type, error.message)
        if status == 404:
            return _not_found()  # one answer for every reason
        answer = problem(status, error.type, error.message)
        if status == 503:
            answer.headers["Retry-After"] = _RETRY_SECONDS
        return answer
    except web.HTTPNotFound:
        return _not_found()
    except web.HTTPException as refusal:
        answer = problem(refusal.status, "RequestRefused", refusal.reason)
        if allowed := refusal.headers.get("Allow"):
            answer.headers["Allow"] = allowed
        return answer
    except Exception as error:  # noqa: BLE001 - its text may quote a mail
        _log.error("a request failed: unexpected %s", type(error).__name__)
        return problem(500, ErrorType.INTERNAL, "this is a bug; please report it")


def _not_found() -> web.Response:
    return problem(404, ErrorType.CONTENT_NOT_FOUND, "there is nothing here, or no longer")


def abort(request: web.Request) -> None:
    """Break the connection: what is cut short must not be taken for the whole."""
    if request.transport:
        request.transport.abort()


async def protect(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that every answer of ours has, unless it has its own."""
    if request.get(KIND) == PASSED_ON:
        return
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "email-connector"


class AccessLog(AbstractAccessLogger):
    """One line a request: what kind, how it ended. Never what exactly was asked for."""

    def log(self, request: BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line."""
        if request.get(KIND) == PASSED_ON:
            return  # a page of Temporal's UI is dozens of files
        self.logger.info(
            "%s %s %d %d bytes %.0f ms",
            request.method if request.method in ("GET", "HEAD", "POST", "OPTIONS") else "other",
            request.get(KIND, "-"),
            response.status,
            response.body_length,
            time * 1000,
        )


class _WithoutDetail(logging.Filter):
    """Cuts what the server says about broken requests: it quotes their lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        cause = record.exc_info[1] if record.exc_info else None
        record.msg, record.args = f"a broken request: {type(cause).__name__}", ()
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def server_log() -> logging.Logger:
    """Return the logger for aiohttp's own complaints."""
    log = logging.getLogger(f"{__name__}.server")
    if not log.filters:
        log.addFilter(_WithoutDetail())
    return log
