"""HTTP requests to URLs of somebody else's: guarded, bounded in time, size and redirects."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from activities.mail.tls import client_context
from activities.ports import WebReply
from activities.web.guard import EgressGuard
from models.errors import ConnectorError, ErrorType
from models.web import WebAddress, follow, parse_url

MAX_REDIRECTS = 3
MAX_BODY_BYTES = 64 * 1024
_MAX_LINE_BYTES = 8 * 1024
_MAX_HEADERS = 100
_CONNECT_SECONDS = 10
_BODY_SECONDS = 2
_LOOKUPS = 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEPING_POST = frozenset({307, 308})

AddrInfo = tuple[Any, Any, int, str, tuple[Any, ...]]
Resolve = Callable[[str, int], Awaitable[list[AddrInfo]]]
OpenSocket = Callable[[AddrInfo], socket.socket]


class WebClient:
    """Posts to URLs. A connection is made for each request and never used again.

    Args:
        guard: Says which addresses may be connected to.
        ca_file: Trust anchors (PEM) beside the system's.
        resolve: Looks a host up; the system's resolver by default.
        open_socket: Makes the socket for an address that has passed the guard.
    """

    def __init__(
        self,
        guard: EgressGuard,
        *,
        ca_file: str | None = None,
        resolve: Resolve | None = None,
        open_socket: OpenSocket | None = None,
    ) -> None:
        self._guard = guard
        self._ca_file = ca_file
        self._resolve = resolve or self._look_up
        self._open_socket = open_socket or _open_socket
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="web-lookup")

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], patience: timedelta
    ) -> WebReply:
        """Post ``body`` and return the reply, after at most three redirects that keep the method.

        Args:
            url: Where to.
            body: What is sent, as it is.
            headers: Sent to every hop.
            patience: For all of it together.

        Raises:
            ConnectorError: There is no reply, or it may not be asked for.
        """
        try:
            address = parse_url(url)
        except ValueError as error:
            raise ConnectorError(ErrorType.INVALID_INPUT, str(error)) from None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience.total_seconds()
        tls = await asyncio.to_thread(client_context, True, self._ca_file)
        for _ in range(MAX_REDIRECTS + 1):
            reply, location = await self._request(address, body, headers, tls, deadline)
            if reply.status not in _REDIRECTS:
                return reply
            address = _next(address, reply.status, location)
        raise _misled(f"the server redirected more than {MAX_REDIRECTS} times")

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, host: str, port: int) -> list[AddrInfo]:
        # Not on the loop's few threads: slow name servers of somebody else's would keep the mail
        # servers' names waiting.
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        )
        return list(found)

    async def _request(
        self,
        address: WebAddress,
        body: bytes,
        headers: Mapping[str, str],
        tls: ssl.SSLContext,
        deadline: float,
    ) -> tuple[WebReply, str | None]:
        url = URL(str(address), encoded=True)
        if (url.raw_host, url.port) != (address.host, address.port):
            raise ConnectorError(ErrorType.INTERNAL, "two readers disagree about a URL")
        connector = aiohttp.TCPConnector(
            resolver=_GuardedResolver(self._guard, address, self._resolve),
            socket_factory=self._gate(address),
            ssl=tls,
            use_dns_cache=False,
            force_close=True,
            # One address after the other: an address that is refused ends the whole request.
            happy_eyeballs_delay=None,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS),
            trust_env=False,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_HEADERS,
            skip_auto_headers=("User-Agent", "Accept"),
        )
        sent = {"Accept-Encoding": "identity", "User-Agent": "email-connector", **headers}
        async with session:
            try:
                async with asyncio.timeout_at(deadline):
                    response = await session.post(
                        url, data=body, headers=sent, allow_redirects=False
                    )
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise _translated(error) from None
            try:
                await _read_some(response)
                return (
                    WebReply(response.status, _retry_after(response.headers.get("Retry-After"))),
                    response.headers.get("Location"),
                )
            finally:
                response.close()

    def _gate(self, address: WebAddress) -> OpenSocket:
        def open_checked(info: AddrInfo) -> socket.socket:
            self._guard.check(address, _without_zone(info[4][0]))
            return self._open_socket(info)

        return open_checked


class _GuardedResolver(AbstractResolver):
    """Looks a host up and refuses it when one of its addresses is refused.

    The gate of the socket would do; this one spares connections to a host's other addresses.
    """

    def __init__(self, guard: EgressGuard, address: WebAddress, resolve: Resolve) -> None:
        self._guard = guard
        self._address = address
        self._resolve = resolve

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the library's signature
    ) -> list[ResolveResult]:
        """Return the addresses of ``host``."""
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise ConnectorError(
                ErrorType.HOST_NOT_FOUND, "the name of the server's host does not resolve"
            ) from None
        for info in found:
            self._guard.check(self._address, _without_zone(info[4][0]))
        return [
            ResolveResult(
                hostname=host,
                host=info[4][0],
                port=port,
                family=info[0],
                proto=info[2],
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for info in found
        ]

    async def close(self) -> None:
        """Nothing is kept."""


def _open_socket(info: AddrInfo) -> socket.socket:
    return socket.socket(info[0], info[1], info[2])


def _without_zone(address: str) -> str:
    return address.partition("%")[0]


async def _read_some(response: aiohttp.ClientResponse) -> None:
    """Let the server finish a short reply; of a long or slow one nobody needs the rest."""
    left = MAX_BODY_BYTES
    with suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(_BODY_SECONDS):
            while left > 0 and (chunk := await response.content.read(left)):
                left -= len(chunk)


def _next(address: WebAddress, status: int, location: str | None) -> WebAddress:
    if status not in _KEEPING_POST:
        raise _misled(
            f"the server answered {status}, which would turn the request into a GET; give the "
            "URL it redirects to, or let it answer 307 or 308"
        )
    if location is None:
        raise _misled(f"the server answered {status} without a Location")
    try:
        target = follow(address, location)
    except ValueError as error:
        raise _misled(f"the server redirected to a URL that is refused: {error}") from None
    if address.secure and not target.secure:
        raise _misled("the server redirected from https to http")
    return target


def _misled(reason: str) -> ConnectorError:
    return ConnectorError(ErrorType.REDIRECT_REFUSED, reason)


def _retry_after(value: str | None) -> timedelta | None:
    """Read ``Retry-After`` (RFC 9110 §10.2.3): seconds or a date."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:12]), 10**6))
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return timedelta(seconds=min(max(seconds, 0), 10**6))


def _translated(error: Exception) -> ConnectorError:
    """Return what the library says as an error of ours; its own text may quote the URL."""
    if isinstance(error, TimeoutError):
        return ConnectorError(ErrorType.CONNECTION_TIMED_OUT, "the server did not answer in time")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return ConnectorError(
            ErrorType.CERTIFICATE_REJECTED,
            "the server's certificate is not trusted or names another host; correct it, or name "
            "its authority in EMAIL_CONNECTOR_CA_FILE",
        )
    if isinstance(error, aiohttp.ClientSSLError):
        return ConnectorError(ErrorType.PROTOCOL_VIOLATION, "the server does not speak TLS 1.2")
    if isinstance(error, aiohttp.ClientConnectorError):
        code = errno.errorcode.get(error.os_error.errno or 0, "unknown")
        return ConnectorError(
            ErrorType.CONNECTION_FAILED, f"the server cannot be connected to ({code})"
        )
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return ConnectorError(
            ErrorType.PROTOCOL_VIOLATION, "what the server answered is not HTTP/1.1"
        )
    return ConnectorError(
        ErrorType.CONNECTION_LOST, "the connection broke before the server had answered"
    )
