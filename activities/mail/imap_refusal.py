"""NO and BAD of an IMAP server as errors of the contract: by response code, never by text.

Codes are those of RFC 9051 §7.1, RFC 5530 §3 and RFC 4469 §4.2; THROTTLED is no standard, but
what Exchange and Gmail say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from activities.mail.errors import server_name
from activities.ports import Endpoint
from models.errors import ConnectorError, ErrorType, bounded

_STATUS: Final = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH)(?: (.*))?$", re.IGNORECASE | re.DOTALL)
_CODE: Final = re.compile(rb"\[([A-Za-z0-9_.-]+)(?: ([^\]]*))?\] ?")
_MAX_TEXT: Final = 300

_LATER: Final = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "THROTTLED", "CORRUPTION"})
_GONE_WHILE_WE_WORKED: Final = "EXPUNGEISSUED"
_CREDENTIALS: Final = frozenset({"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED"})
_NO_FOLDER: Final = frozenset({"NONEXISTENT", "TRYCREATE"})
_ADVICE: Final = {
    ErrorType.SERVER_UNAVAILABLE: "Try again later.",
    ErrorType.SERVER_REFUSED: "It will be refused again unless something changes.",
    ErrorType.CREDENTIALS_REJECTED: "Check user name, password and login method; many providers "
    "want an app password or OAuth 2.0.",
    ErrorType.TLS_UNAVAILABLE: "The server wants TLS: use security 'tls' or 'starttls'.",
    ErrorType.MESSAGE_TOO_LARGE: "The server's limit must be raised, or the mail be smaller.",
    ErrorType.FOLDER_NOT_FOUND: "Create the folder, or correct its name.",
}


@dataclass(frozen=True, slots=True)
class Status:
    """A status response: ``NO [INUSE] Mailbox in use`` (RFC 9051 §7.1)."""

    word: str
    code: str | None = None
    data: bytes = b""
    text: str = ""

    @classmethod
    def parse(cls, line: bytes) -> Status | None:
        """Return the status in ``line``, which starts behind the tag, or None if it holds none."""
        status = _STATUS.match(line)
        if status is None:
            return None
        rest = status[2] or b""
        code = _CODE.match(rest)
        return cls(
            status[1].decode().upper(),
            code[1].decode().upper() if code else None,
            (code[2] or b"") if code else b"",
            bounded((rest[code.end() :] if code else rest).decode("utf-8", "replace"), _MAX_TEXT),
        )

    @property
    def gone(self) -> bool:
        """Some of the messages no longer exist; that is no failure of the command's idea."""
        return self.word == "NO" and self.code == _GONE_WHILE_WE_WORKED


class Refused(Exception):  # noqa: N818  # it never leaves the adapter, and NO is no error in itself
    """The server said NO or BAD to a command."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(status.word, status.code)


def refusal_type(status: Status) -> ErrorType:
    """Return what a NO or BAD means, outside of logging in.

    A NO without a code is taken for a passing trouble, as servers without RFC 5530 say it for all
    of theirs; a BAD is about the command itself, which will not change (RFC 9051 §7.1.3).
    """
    code = status.code
    if code in _LATER or code == _GONE_WHILE_WE_WORKED:
        return ErrorType.SERVER_UNAVAILABLE
    if code in _NO_FOLDER:
        return ErrorType.FOLDER_NOT_FOUND
    if code in _CREDENTIALS:
        return ErrorType.CREDENTIALS_REJECTED
    if code == "PRIVACYREQUIRED":
        return ErrorType.TLS_UNAVAILABLE
    if code == "TOOBIG":
        return ErrorType.MESSAGE_TOO_LARGE
    if code is None and status.word == "NO":
        return ErrorType.SERVER_UNAVAILABLE
    return ErrorType.SERVER_REFUSED


def login_refusal_type(status: Status) -> ErrorType:
    """Return what a NO or BAD to a login means; the password is wrong unless a code says other.

    OVERQUOTA is Gmail's word for an account that used up its bandwidth.
    """
    if status.code in _LATER or status.code == "OVERQUOTA":
        return ErrorType.SERVER_UNAVAILABLE
    if status.code == "PRIVACYREQUIRED":
        return ErrorType.TLS_UNAVAILABLE
    if status.word == "BAD" and status.code is None:
        return ErrorType.SERVER_REFUSED
    return ErrorType.CREDENTIALS_REJECTED


def refusal(
    endpoint: Endpoint,
    what: str,
    status: Status,
    type_: ErrorType | None = None,
    *,
    field: str | None = None,
    uid: int | None = None,
) -> ConnectorError:
    """Return the error for a NO or BAD to ``what``.

    Args:
        endpoint: The server that said it.
        what: What we asked for: "opening the folder".
        status: What it said.
        type_: The type, where the command knows better than ``refusal_type``.
        field: The input that it is about.
        uid: The message that it is about.
    """
    type_ = type_ or refusal_type(status)
    code = f" [{status.code}]" if status.code else ""
    where = f"{server_name(endpoint)}, {what}: {status.word}{code}"
    return ConnectorError(
        type_,
        f"{where} {status.text} | {_ADVICE[type_]}",
        field=field,
        detail={"status": status.word, "code": status.code, "uid": uid},
        explanation=f"{where} | {_ADVICE[type_]}",
    )
