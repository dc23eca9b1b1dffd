"""No value, wherever it comes from, puts a command of its own on the wire (CVE-2025-15366)."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from models.errors import ErrorType
from tests.imap_server import CAPABILITIES, ImapServer
from tests.mail.imap_hostile_kit import (
    connect,
    connected,
    fails_soon,
    server,
)
from tests.mail.imap_kit import error_of

__all__ = ["server"]


INJECTED = "A99 DELETE x"
STRINGS = [
    f"x\r\n{INJECTED}\r\n",
    f"x\n{INJECTED}\n",
    f"x\r{INJECTED}\r",
    f'x"\r\n{INJECTED}\r\n"',
    f"x\0\r\n{INJECTED}",
    f"\r\n{INJECTED}\r\n",
    f"x {{5+}}\r\n{INJECTED}\r\n",
    f"x {{200}}\r\n{INJECTED}\r\n",
    "x\0y",
    "x\x0b\x1f\x7f",
    'x" y',
    "x\\",
    "x {5+}",
    "{5}",
    f"x\x85{INJECTED}\u2028{INJECTED}",
    "x\ud800",
    "*%()[]",
    "",
]
BREAKERS = "\r\n\0"


def assert_nothing_injected(server: ImapServer) -> None:
    assert not any(line.lstrip().startswith(b"A99") for line in server.lines)
    assert not any(command.tag == b"A99" or command.name == "DELETE" for command in server.commands)


ARGUMENTS = {
    "open": lambda m, s: m.open(s, read_only=False),
    "examine": lambda m, s: m.open(s, read_only=True),
    "exists": lambda m, s: m.exists(s),
    "move": lambda m, s: m.move([1], s),
    "append folder": lambda m, s: m.append(s, b"Subject: x\r\n\r\n"),
    "search folder": lambda m, s: m.find_by_message_id(s, "<a@b>"),
    "search id": lambda m, s: m.find_by_message_id("INBOX", s),
    "search id in brackets": lambda m, s: m.find_by_message_id("INBOX", f"<{s}>"),
}


@pytest.mark.parametrize("copy", [False, True])
def test_no_argument_injects_a_command(copy: bool) -> None:
    capabilities = "IMAP4rev1 UIDPLUS" if copy else CAPABILITIES
    with ImapServer(capabilities=capabilities) as server:
        server.on("UID COPY", b"TAG OK [COPYUID 1 1 1] done\r\n")
        server.on("UID SEARCH", b"* SEARCH\r\nTAG OK done\r\n")
        for call in ARGUMENTS.values():
            for text in STRINGS:
                with connected(server) as mailbox:
                    error = error_of(call, mailbox, text)
                    if error is None:
                        assert not any(c in text.strip() for c in BREAKERS)
                    else:
                        assert error.type is ErrorType.INVALID_INPUT
                    # The connection is still good: nothing was half sent.
                    assert mailbox.open("INBOX", read_only=True).exists == 3
        assert_nothing_injected(server)


@pytest.mark.parametrize("capabilities", [CAPABILITIES, "IMAP4rev1"], ids=["PLAIN", "LOGIN"])
@pytest.mark.parametrize("what", ["username", "password"])
def test_no_credential_injects_a_command(capabilities: str, what: str) -> None:
    with ImapServer(capabilities=capabilities) as server:
        for text in STRINGS:
            changed = {what: SecretStr(text) if what == "password" else text}
            seen = len(server.lines)
            error = error_of(connect, server, **changed)
            if error is not None:
                assert error.type is ErrorType.INVALID_INPUT
                # Refused before anything was sent.
                assert len(server.lines) == seen
        assert_nothing_injected(server)


@pytest.mark.parametrize(
    "name",
    [
        b'"x&AA0ACg-A99 DELETE x&AA0ACg-"',
        b"{17}\r\nx\r\nA99 DELETE x\r\n",
        b'"x&AAA-y"',
        b'"x\\" {5+}"',
        b'"&broken"',
        b'"&AGE-"',
        b'"caf\xc3\xa9"',
        b'"x\\\\"',
        b"2024",
        b"NIL",
    ],
)
def test_no_name_from_the_server_injects_a_command(server: ImapServer, name: bytes) -> None:
    server.on("LIST", b'* LIST () "/" ' + name + b'\r\n* LIST () "/" INBOX\r\nTAG OK done\r\n')
    with connected(server) as mailbox:
        folders = mailbox.folders()
        assert folders[-1].name == "INBOX"
        for folder in folders:
            assert folder.name.isprintable()
            for call in ARGUMENTS.values():
                with connected(server) as other:
                    error = error_of(call, other, folder.name)
                    assert error is None or error.type in (
                        ErrorType.INVALID_INPUT,
                        ErrorType.FOLDER_NOT_FOUND,
                    )
    assert_nothing_injected(server)


@pytest.mark.parametrize("uids", [[0], [-1], [2**32]])
def test_uids_are_numbers_of_32_bits(server: ImapServer, uids: list[int]) -> None:
    with connected(server) as mailbox:
        for call in (mailbox.remove, mailbox.fetch, lambda u: mailbox.move(u, "Done")):
            with fails_soon(ErrorType.INVALID_INPUT):
                call(uids)
        assert mailbox.uids([(-5, 0), (2**32, 2**40)]) == []
