"""-ERR of a POP3 server as errors of the contract: by response code, never by text.

Codes are those of RFC 2449 §8, RFC 3206 §4 and RFC 6856 §5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from activities.mail.errors import server_name
from activities.ports import Endpoint
from models.errors import ConnectorError, ErrorType, bounded

_REPLY: Final = re.compile(rb"(\+OK|-ERR)(?: (.*))?", re.IGNORECASE | re.DOTALL)
_CODE: Final = re.compile(rb"\[([A-Za-z0-9_./-]{1,40})\] ?")
_MAX_TEXT: Final = 300
_ADVICE: Final = {
    ErrorType.SERVER_UNAVAILABLE: "Try again later.",
    ErrorType.SERVER_REFUSED: "It will be refused again unless something changes.",
    ErrorType.CREDENTIALS_REJECTED: "Check user name, password and login method; many providers "
    "want an app password or OAuth 2.0, or POP3 to be switched on. Some servers say the same while "
    "another program has the mailbox open.",
    ErrorType.MAILBOX_BUSY: "Another program has the mailbox open; POP3 lets in one at a time.",
    ErrorType.CAPABILITY_MISSING: "The server cannot do this; use IMAP.",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """A status line: ``-ERR [IN-USE] Do you have another session running?``."""

    ok: bool
    code: str | None = None
    text: str = ""

    @classmethod
    def parse(cls, line: bytes) -> Reply | None:
        """Return the reply in ``line``, or None if it holds none."""
        status = _REPLY.fullmatch(line)
        if status is None:
            return None
        rest = status[2] or b""
        code = _CODE.match(rest)
        return cls(
            status[1].upper() == b"+OK",
            code[1].decode().upper() if code else None,
            bounded((rest[code.end() :] if code else rest).decode("utf-8", "replace"), _MAX_TEXT),
        )

    def without(self, *secrets: str) -> Reply:
        """Return it without its text where that repeats what we sent."""
        if not any(bounded(secret) in self.text for secret in secrets):
            return self
        return Reply(self.ok, self.code)


def refusal_type(reply: Reply, otherwise: ErrorType = ErrorType.SERVER_UNAVAILABLE) -> ErrorType:
    """Return what a -ERR means; ``otherwise`` when it has no code that tells."""
    match reply.code:
        case "IN-USE":
            return ErrorType.MAILBOX_BUSY
        case "LOGIN-DELAY" | "SYS/TEMP":
            return ErrorType.SERVER_UNAVAILABLE
        case "SYS/PERM":
            return ErrorType.SERVER_REFUSED
        case "AUTH":
            return ErrorType.CREDENTIALS_REJECTED
        case _:
            return otherwise


def refusal(
    endpoint: Endpoint,
    what: str,
    reply: Reply,
    otherwise: ErrorType = ErrorType.SERVER_UNAVAILABLE,
    *,
    uid: int | None = None,
) -> ConnectorError:
    """Return the error for a -ERR to ``what``.

    Args:
        endpoint: The server that said it.
        what: What we asked for: "logging in".
        reply: What it said.
        otherwise: The type when it has no code that tells.
        uid: The mail that it is about.
    """
    type_ = refusal_type(reply, otherwise)
    code = f" [{reply.code}]" if reply.code else ""
    where = f"{server_name(endpoint)}, {what}: -ERR{code}"
    return ConnectorError(
        type_,
        f"{where} {reply.text} | {_ADVICE[type_]}",
        detail={"status": "-ERR", "code": reply.code, "uid": uid},
        explanation=f"{where} | {_ADVICE[type_]}",
    )
