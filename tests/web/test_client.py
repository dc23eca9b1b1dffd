"""The client of the web against receivers that fail, hang, redirect, flood and trickle."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from activities.ports import WebReply
from activities.web.client import MAX_BODY_BYTES, AddrInfo, WebClient
from activities.web.guard import EgressGuard
from models.errors import ConnectorError, ErrorType
from tests.web.receiver import (
    LOOPBACK,
    Answer,
    Receiver,
    breaks,
    hangs,
    redirects,
    says,
    writes,
)
from tests.web.test_guard import NOT_PUBLIC
from tests.web.test_urls import SPELLINGS_OF_LOOPBACK
from tools.servers.ca import TestCA
from tools.servers.process import free_port

PATIENCE = timedelta(seconds=20)
IMPATIENCE = timedelta(seconds=0.5)
OK = b"HTTP/1.1 200 OK\r\n"


class Recorder:
    """Takes the place of the network: remembers where a socket would have connected to."""

    def __init__(self, *answers: str) -> None:
        self.resolved: list[str] = []
        self.connected: list[str] = []
        self._answers = answers

    async def resolve(self, host: str, port: int) -> list[AddrInfo]:
        self.resolved.append(host)
        if not self._answers:
            # As the system does, which also reads the old spellings of numbers.
            return list(await asyncio.get_running_loop().getaddrinfo(host, port, proto=6))
        return [
            (
                socket.AF_INET6 if ":" in answer else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (answer, port, 0, 0) if ":" in answer else (answer, port),
            )
            for answer in self._answers
        ]

    def open_socket(self, info: AddrInfo) -> socket.socket:
        self.connected.append(info[4][0])
        raise OSError(111, "nothing leaves this machine")

    def client(self, *allowed: str) -> WebClient:
        return WebClient(EgressGuard(allowed), resolve=self.resolve, open_socket=self.open_socket)


@pytest.fixture
async def client() -> AsyncIterator[WebClient]:
    """A client that may reach loopback, where the receivers are."""
    made = WebClient(EgressGuard(["127.0.0.0/8"]))
    yield made
    made.close()


async def post(
    client: WebClient, url: str, *, patience: timedelta = PATIENCE, body: bytes = b"{}"
) -> WebReply:
    return await client.post(url, body, {"Content-Type": "application/json"}, patience)


async def failure(client: WebClient, url: str, *, patience: timedelta = PATIENCE) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        await post(client, url, patience=patience)
    return caught.value


class TestGuard:
    @pytest.mark.parametrize("scheme", ["https", "http"])
    @pytest.mark.parametrize(
        "host",
        [
            *SPELLINGS_OF_LOOPBACK,
            *(f"[{a}]" if ":" in a else a for a in NOT_PUBLIC),
            "user@127.0.0.1",
            "a.example@127.0.0.1",
            "127.0.0.1#@a.example",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "[::ffff:127.0.0.1]",
            "[0:0:0:0:0:ffff:7f00:0001]",
            "[::1%25lo]",
        ],
    )
    async def test_no_spelling_of_a_private_host_is_connected_to(
        self, host: str, scheme: str
    ) -> None:
        recorder = Recorder()
        client = recorder.client()
        error = await failure(client, f"{scheme}://{host}/hook")
        client.close()
        assert error.type in (ErrorType.EGRESS_REFUSED, ErrorType.INVALID_INPUT)
        assert not error.temporary
        assert recorder.connected == []

    @pytest.mark.parametrize("peer", NOT_PUBLIC)
    async def test_no_name_for_one_either(self, peer: str) -> None:
        recorder = Recorder(peer)
        client = recorder.client()
        error = await failure(client, "https://a.example/hook")
        client.close()
        assert error.type is ErrorType.EGRESS_REFUSED
        assert (recorder.resolved, recorder.connected) == (["a.example"], [])

    async def test_one_private_address_among_public_ones_is_enough(self) -> None:
        recorder = Recorder("8.8.8.8", "2606:4700::1111", "10.0.0.1")
        client = recorder.client()
        assert (await failure(client, "https://a.example/")).type is ErrorType.EGRESS_REFUSED
        client.close()
        assert recorder.connected == []

    async def test_public_addresses_are_tried_one_after_the_other(self) -> None:
        recorder = Recorder("8.8.8.8", "2606:4700::1111")
        client = recorder.client()
        assert (await failure(client, "https://a.example/")).type is ErrorType.CONNECTION_FAILED
        client.close()
        assert sorted(recorder.connected) == ["2606:4700::1111", "8.8.8.8"]

    async def test_the_check_is_made_on_the_address_that_is_connected_to(self) -> None:
        """A name that is public when it is looked at and private when it is connected to."""
        recorder = Recorder("8.8.8.8")
        client = recorder.client()
        guarded: list[str] = []
        guard: Any = EgressGuard()

        class Rebinding:
            def check(self, url: Any, peer: str) -> None:
                guarded.append(peer)
                # What the first look lets through, the second sees as it is by then.
                guard.check(url, peer if len(guarded) == 1 else "127.0.0.1")

        client._guard = Rebinding()  # type: ignore[assignment]
        assert (await failure(client, "https://a.example/")).type is ErrorType.EGRESS_REFUSED
        client.close()
        assert len(guarded) == 2
        assert recorder.connected == []

    async def test_a_name_is_looked_up_for_each_request(self) -> None:
        recorder = Recorder("8.8.8.8")
        client = recorder.client()
        for _ in range(2):
            await failure(client, "https://a.example/")
        client.close()
        assert recorder.resolved == ["a.example"] * 2

    async def test_proxies_of_the_environment_are_not_used(
        self, client: WebClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with Receiver() as proxy, Receiver() as receiver:
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                for spelling in (name, name.upper()):
                    monkeypatch.setenv(spelling, f"http://{LOOPBACK}:{proxy.port}")
            assert (await post(client, receiver.url)).status == 204
            assert (proxy.connections, receiver.connections) == (0, 1)

    async def test_credentials_of_the_environment_are_not_sent(
        self, client: WebClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine {LOOPBACK} login canary password canary\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        async with Receiver() as receiver:
            await post(client, receiver.url)
            assert "authorization" not in receiver.requests[0].headers

    async def test_a_name_that_does_not_resolve(self) -> None:
        async def nowhere(_host: str, _port: int) -> list[AddrInfo]:
            raise socket.gaierror(socket.EAI_NONAME, "canary")

        client = WebClient(EgressGuard(), resolve=nowhere)
        error = await failure(client, "https://a.example/")
        client.close()
        assert error.type is ErrorType.HOST_NOT_FOUND
        assert "canary" not in str(error)


class TestRequest:
    async def test_what_is_sent(self, client: WebClient) -> None:
        async with Receiver() as receiver:
            reply = await post(client, receiver.url + "?a=%2f&b", body=b'{"x": "\xc3\xbc"}')
            (request,) = receiver.requests
        assert reply == WebReply(204)
        assert (request.method, request.target) == ("POST", "/hook?a=%2f&b")
        assert request.body == b'{"x": "\xc3\xbc"}'
        assert request.headers == {
            "host": f"{LOOPBACK}:{receiver.port}",
            "content-type": "application/json",
            "content-length": str(len(request.body)),
            "accept-encoding": "identity",
            "user-agent": "email-connector",
            "connection": "close",
        }

    @pytest.mark.parametrize("status", [200, 201, 204, 299, 304, 400, 404, 410, 429, 500, 503])
    async def test_a_status_is_a_reply(self, client: WebClient, status: int) -> None:
        async with Receiver([says(status)]) as receiver:
            assert (await post(client, receiver.url)).status == status

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("120", 120),
            (" 0 ", 0),
            ("99999999999999999999", 10**6),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Thu, 01 Jan 9998 00:00:00 GMT", 10**6),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("٣", None),
            ("Thu, 99 Jan 1970 00:00:00 GMT", None),
        ],
    )
    async def test_retry_after(self, client: WebClient, value: str, seconds: int | None) -> None:
        answer = writes(
            b"HTTP/1.1 503 X\r\nContent-Length: 0\r\nRetry-After: " + value.encode() + b"\r\n\r\n"
        )
        async with Receiver([answer]) as receiver:
            reply = await post(client, receiver.url)
        assert reply.retry_after == (None if seconds is None else timedelta(seconds=seconds))

    async def test_retry_after_a_date(self, client: WebClient) -> None:
        date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
        async with Receiver([says(429, f"Retry-After: {date}")]) as receiver:
            reply = await post(client, receiver.url)
        assert reply.retry_after
        assert timedelta(minutes=50) < reply.retry_after <= timedelta(hours=1)

    async def test_nothing_is_carried_from_one_request_to_the_next(self, client: WebClient) -> None:
        async with Receiver([says(200, "Set-Cookie: a=b")]) as receiver:
            for _ in range(2):
                await post(client, receiver.url)
            assert receiver.connections == 2
            assert all("cookie" not in r.headers for r in receiver.requests)


class TestTls:
    async def attempt(self, test_ca: TestCA, chain: Path, key: Path) -> WebReply | ErrorType:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        client = WebClient(EgressGuard(["127.0.0.0/8"]), ca_file=str(test_ca.ca_file))
        async with Receiver(tls=context) as receiver:
            try:
                return await post(client, receiver.url)
            except ConnectorError as error:
                assert receiver.requests == []
                return error.type
            finally:
                client.close()

    async def test_a_trusted_certificate(self, test_ca: TestCA) -> None:
        good = test_ca.issue()
        assert await self.attempt(test_ca, good.chain, good.key) == WebReply(204)

    async def test_others(self, test_ca: TestCA, tmp_path: Path) -> None:
        stranger = TestCA(tmp_path).issue()
        for bad in (test_ca.expired(), test_ca.wrong_host(), stranger):
            found = await self.attempt(test_ca, bad.chain, bad.key)
            assert found is ErrorType.CERTIFICATE_REJECTED

    async def test_a_server_without_tls(self, client: WebClient) -> None:
        async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 X\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(refuse, LOOPBACK, 0) as server:
            port = server.sockets[0].getsockname()[1]
            error = await failure(client, f"https://{LOOPBACK}:{port}/")
        assert error.type is ErrorType.PROTOCOL_VIOLATION


class TestRedirects:
    @pytest.mark.parametrize("status", [307, 308])
    async def test_one_that_keeps_the_post_is_followed(
        self, client: WebClient, status: int
    ) -> None:
        async with Receiver() as end, Receiver([redirects(status, end.url)]) as start:
            assert (await post(client, start.url, body=b"same")).status == 204
            (first,), (second,) = start.requests, end.requests
        assert (second.method, second.body) == ("POST", b"same")
        assert first.headers | {"host": ""} == second.headers | {"host": ""}

    async def test_a_relative_one(self, client: WebClient) -> None:
        async with Receiver([redirects(307, "/other?x"), says(204)]) as receiver:
            assert (await post(client, receiver.url)).status == 204
            assert [r.target for r in receiver.requests] == ["/hook", "/other?x"]

    @pytest.mark.parametrize("status", [301, 302, 303])
    async def test_one_that_drops_the_post_is_refused(self, client: WebClient, status: int) -> None:
        async with Receiver() as end, Receiver([redirects(status, end.url)]) as start:
            error = await failure(client, start.url)
            assert end.connections == 0
        assert error.type is ErrorType.REDIRECT_REFUSED
        assert str(status) in error.message

    async def test_three_at_most(self, client: WebClient) -> None:
        async with Receiver([redirects(307, "/hook")]) as receiver:
            error = await failure(client, receiver.url)
            assert len(receiver.requests) == 4
        assert error.type is ErrorType.REDIRECT_REFUSED

    async def test_never_from_https_to_http(self, test_ca: TestCA) -> None:
        good = test_ca.issue()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(good.chain, good.key)
        client = WebClient(EgressGuard(["127.0.0.0/8"]), ca_file=str(test_ca.ca_file))
        async with Receiver() as end, Receiver([redirects(307, end.url)], tls=context) as start:
            error = await failure(client, start.url)
            assert end.connections == 0
        client.close()
        assert error.type is ErrorType.REDIRECT_REFUSED

    @pytest.mark.parametrize(
        "location",
        [
            "http://169.254.169.254/latest/meta-data/",
            "https://169.254.169.254/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[fd00:ec2::254]/",
            "//169.254.169.254/",
            "http://10.0.0.1/",
            "http://[::1]/",
            *(
                f"http://{host}/"
                for host in SPELLINGS_OF_LOOPBACK
                if host.isascii() and host != "127.0.0.1"
            ),
            "http://user@10.0.0.1/",
            "file:///etc/passwd",
            "gopher://10.0.0.1/",
        ],
    )
    async def test_each_hop_is_guarded(self, location: str) -> None:
        """Only the receiver itself is listed; it sends us where we must not go."""
        connected: list[str] = []

        def open_socket(info: AddrInfo) -> socket.socket:
            connected.append(info[4][0])
            assert info[4][0] == LOOPBACK, "nothing leaves this machine"
            return socket.socket(info[0], info[1], info[2])

        client = WebClient(EgressGuard(["127.0.0.1"]), open_socket=open_socket)
        async with Receiver([redirects(307, location)]) as receiver:
            error = await failure(client, receiver.url)
            assert receiver.connections == 1
        client.close()
        assert error.type in (ErrorType.EGRESS_REFUSED, ErrorType.REDIRECT_REFUSED)
        assert connected == [LOOPBACK]

    @pytest.mark.parametrize("port", [0, 1])
    async def test_to_loopback_itself(self, port: int) -> None:
        """The receiver is reached by its listed name; 127.0.0.1 is not listed."""

        async def resolve(_host: str, port: int) -> list[AddrInfo]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port))]

        async with Receiver() as inner:
            target = f"http://127.0.0.1:{inner.port if port else 80}/"
            client = WebClient(EgressGuard(["receiver.example"]), resolve=resolve)
            async with Receiver([redirects(307, target)]) as receiver:
                error = await failure(client, f"http://receiver.example:{receiver.port}/")
                assert receiver.connections == 1
            client.close()
            assert inner.connections == 0
        assert error.type is ErrorType.EGRESS_REFUSED

    async def test_nowhere(self, client: WebClient) -> None:
        async with Receiver([says(307)]) as receiver:
            error = await failure(client, receiver.url)
        assert error.type is ErrorType.REDIRECT_REFUSED


class TestLimits:
    async def test_nobody_listens(self, client: WebClient) -> None:
        error = await failure(client, f"http://{LOOPBACK}:{free_port()}/")
        assert error.type is ErrorType.CONNECTION_FAILED
        assert error.temporary
        assert "ECONNREFUSED" in error.message

    @pytest.mark.parametrize(
        ("answer", "type"),
        [
            (hangs, ErrorType.CONNECTION_TIMED_OUT),
            (breaks, ErrorType.CONNECTION_LOST),
            (writes(), ErrorType.CONNECTION_LOST),
            (writes(b"HTTP/1.1 20"), ErrorType.CONNECTION_LOST),
            (writes(b"220 mail.example ESMTP\r\n"), ErrorType.PROTOCOL_VIOLATION),
            (writes(b"\x16\x03\x01\x02\x00\r\n\r\n"), ErrorType.PROTOCOL_VIOLATION),
            # Header by header, for ever.
            (writes(OK, b"X: y\r\n", forever=True, pause=0.05), ErrorType.CONNECTION_TIMED_OUT),
            # One line without an end, and lines without an end.
            (writes(OK, b"X: " + b"y" * 4096, forever=True), ErrorType.PROTOCOL_VIOLATION),
            (writes(OK, b"X: y\r\n" * 100, forever=True), ErrorType.PROTOCOL_VIOLATION),
            # Interim replies for ever.
            (
                writes(b"HTTP/1.1 102 X\r\n\r\n", forever=True, pause=0.01),
                ErrorType.CONNECTION_TIMED_OUT,
            ),
        ],
        ids=lambda value: value.value if isinstance(value, ErrorType) else "",
    )
    async def test_a_bad_receiver(self, client: WebClient, answer: Answer, type: ErrorType) -> None:
        async with Receiver([answer]) as receiver:
            error = await failure(client, receiver.url, patience=timedelta(seconds=2))
        assert error.type is type
        assert error.temporary

    async def test_a_gigabyte_is_not_read(self, client: WebClient) -> None:
        megabyte = b"x" * 2**20
        written = 0

        async def floods(
            _request: Any, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            nonlocal written
            writer.write(OK + b"Content-Length: 1073741824\r\n\r\n")
            for _ in range(1024):
                writer.write(megabyte)
                await writer.drain()
                written += len(megabyte)

        async with Receiver([floods]) as receiver:
            tracemalloc.start()
            try:
                assert (await post(client, receiver.url)).status == 200
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        # The receiver runs in this process as well; what it has written waits in its buffers.
        assert written < 16 * 2**20
        assert peak < 16 * 2**20

    async def test_nor_a_body_without_an_end(self, client: WebClient) -> None:
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        answer = writes(OK + b"Transfer-Encoding: chunked\r\n\r\n", chunk, forever=True)
        async with Receiver([answer]) as receiver:
            assert (await post(client, receiver.url)).status == 200

    async def test_a_bomb_is_not_unpacked(self, client: WebClient) -> None:
        bomb = gzip.compress(b"\0" * 2**26)
        assert len(bomb) < 2 * MAX_BODY_BYTES
        answer = says(200, "Content-Encoding: gzip", body=bomb)
        async with Receiver([answer]) as receiver:
            tracemalloc.start()
            try:
                assert (await post(client, receiver.url)).status == 200
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert peak < 2**23

    @pytest.mark.parametrize("pause", [0.05, 3600])
    async def test_a_trickling_body_does_not_undo_a_reply(
        self, client: WebClient, pause: float
    ) -> None:
        answer = writes(OK + b"Content-Length: 9999\r\n\r\n", b"x", forever=True, pause=pause)
        async with Receiver([answer]) as receiver:
            reply = await post(client, receiver.url, patience=IMPATIENCE)
        assert reply.status == 200

    async def test_a_name_server_that_hangs(self) -> None:
        async def silent(_host: str, _port: int) -> list[AddrInfo]:
            await asyncio.Event().wait()
            raise AssertionError

        client = WebClient(EgressGuard(), resolve=silent)
        error = await failure(client, "https://a.example/", patience=IMPATIENCE)
        client.close()
        assert error.type is ErrorType.CONNECTION_TIMED_OUT

    @pytest.mark.parametrize("canary", ["canary"])
    async def test_no_error_repeats_a_url(
        self, client: WebClient, canary: str, make_receiver: Callable[..., Receiver]
    ) -> None:
        for answer in (hangs, breaks, says(500), redirects(302, f"/{canary}"), writes(b"x\r\n")):
            async with make_receiver(answer) as receiver:
                url = f"{receiver.url}?token={canary}"
                try:
                    await post(client, url, patience=IMPATIENCE)
                except ConnectorError as error:
                    assert canary not in str(error)  # noqa: PT017
                    assert error.__cause__ is None  # noqa: PT017


@pytest.fixture
def make_receiver() -> Callable[..., Receiver]:
    return lambda *answers: Receiver(list(answers))
