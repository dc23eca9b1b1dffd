"""What has to be said of a mail when a server fails: from the RFCs, written before any run.

Rules that many cells share:

LOST     RFC 5321 §3.8: a connection that closes or is reset is to be treated as a 451.
SILENT   RFC 5321 §4.5.3.2: each command has its timeout; §4.5.4.1: the mail stays queued.
LATER    RFC 5321 §4.2.1: 4yz is a transient refusal, the same command may succeed later.
NEVER    RFC 5321 §4.2.1: 5yz is a permanent refusal, the same command must not be repeated.
NONSENSE RFC 5321 §4.2: a client acts on the code alone. What has none grants nothing and refuses
         nothing for good.
DOUBT    RFC 1047, RFC 5321 §4.5.3.2.6: the server has the final dot and may have taken the mail.
         Treating that as a 451 (§3.8) is how mails come twice, so nobody may call it "not sent".
TAKEN    RFC 5321 §4.2.5, §6.1: with the 250 after the dot the server has taken the mail over.
CLEAR    RFC 3207 §4, §6: what comes in clear where TLS has to begin may be anybody's. It
         is no reply, whatever code it bears, and least of all one for good.

The error types are those of docs/errors.md. A refusal of a recipient, or of the mail after the
dot, is that recipient's result (its code) and for good no error besides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from models.delivery import Phase
from models.errors import ErrorType


class Label(StrEnum):
    """What the ledger says of a mail."""

    SENT = "sent"
    TEMPORARY = "temporary"
    """Not sent, and tried again."""
    PERMANENT = "permanent"
    """Not sent, and not tried again."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Expected:
    """What is right: the label, the type of the error and the server's code, if there are any."""

    label: Label
    why: str
    type: ErrorType | None = None
    code: int | None = None


def _temporary(why: str, type_: ErrorType, code: int | None = None) -> Expected:
    return Expected(Label.TEMPORARY, why, type_, code)


def _permanent(why: str, type_: ErrorType | None, code: int | None = None) -> Expected:
    return Expected(Label.PERMANENT, why, type_, code)


def _unknown(why: str, type_: ErrorType) -> Expected:
    return Expected(Label.UNKNOWN, why, type_)


def _sent(why: str) -> Expected:
    return Expected(Label.SENT, why)


_FAILED, _LOST = ErrorType.CONNECTION_FAILED, ErrorType.CONNECTION_LOST
_SILENT, _NONSENSE = ErrorType.CONNECTION_TIMED_OUT, ErrorType.PROTOCOL_VIOLATION
_LATER, _NEVER = ErrorType.SERVER_UNAVAILABLE, ErrorType.SERVER_REFUSED

TABLE: dict[tuple[str, str], Expected] = {
    # connect: TCP alone. "rst" is a port where nobody listens, "hang" a SYN without an answer.
    ("connect", "rst"): _temporary("RFC 9293 §3.5.2: refused; §4.5.4.1: queue it", _FAILED),
    ("connect", "fin"): _temporary("LOST, before a word", _LOST),
    ("connect", "hang"): _temporary("SILENT; RFC 1123 §5.3.1.1: queue it", _SILENT),
    ("connect", "4xx"): _temporary("LATER; 421 and a close, RFC 5321 §3.8", _LATER, 421),
    ("connect", "5xx"): _permanent("RFC 7504 §3: 521, this host never takes mail", _NEVER, 521),
    ("connect", "garbage"): _temporary("NONSENSE: the port is somebody else's for now", _NONSENSE),
    # banner: the connection stands, and stays after the greeting that refuses.
    ("banner", "rst"): _temporary("LOST", _LOST),
    ("banner", "fin"): _temporary("LOST", _LOST),
    ("banner", "hang"): _temporary("SILENT, §4.5.3.2.1", _SILENT),
    ("banner", "4xx"): _temporary("LATER; RFC 5321 §4.3.2 allows 421 to any command", _LATER, 421),
    ("banner", "5xx"): _permanent("NEVER; RFC 5321 §3.1: 554 formally refuses", _NEVER, 554),
    ("banner", "garbage"): _temporary("NONSENSE", _NONSENSE),
    ("ehlo", "rst"): _temporary("LOST", _LOST),
    ("ehlo", "fin"): _temporary("LOST", _LOST),
    ("ehlo", "hang"): _temporary("SILENT", _SILENT),
    ("ehlo", "4xx"): _temporary("LATER", _LATER, 421),
    ("ehlo", "5xx"): _permanent("NEVER, after HELO was refused too (RFC 5321 §3.2)", _NEVER, 550),
    ("ehlo", "garbage"): _temporary("NONSENSE", _NONSENSE),
    ("starttls", "rst"): _temporary("LOST", _LOST),
    ("starttls", "fin"): _temporary("LOST", _LOST),
    ("starttls", "hang"): _temporary("SILENT", _SILENT),
    ("starttls", "4xx"): _temporary("RFC 3207 §4: 454, TLS not available for now", _LATER, 454),
    ("starttls", "5xx"): _permanent(
        "RFC 3207 §4: 501; and the account's policy is that no mail goes without TLS",
        ErrorType.TLS_UNAVAILABLE,
        501,
    ),
    ("starttls", "garbage"): _temporary("NONSENSE", _NONSENSE),
    # tls: instead of the handshake, after the 220 or from the first byte.
    ("tls", "rst"): _temporary("LOST", _LOST),
    ("tls", "fin"): _temporary("LOST; RFC 8446 §6.1: an end without close_notify", _LOST),
    ("tls", "hang"): _temporary("SILENT", _SILENT),
    ("tls", "4xx"): _temporary("CLEAR", _NONSENSE),
    ("tls", "5xx"): _temporary("CLEAR", _NONSENSE),
    ("tls", "garbage"): _temporary("CLEAR", _NONSENSE),
    ("tls", "certificate"): _permanent(
        "RFC 7817 §3: another host's certificate; a person has to decide",
        ErrorType.CERTIFICATE_REJECTED,
    ),
    ("auth", "rst"): _temporary("LOST", _LOST),
    ("auth", "fin"): _temporary("LOST", _LOST),
    ("auth", "hang"): _temporary("SILENT", _SILENT),
    ("auth", "4xx"): _temporary("RFC 4954 §6: 454, a failure for now", _LATER, 454),
    ("auth", "5xx"): _permanent(
        "RFC 4954 §6: 535, the credentials are wrong", ErrorType.CREDENTIALS_REJECTED, 535
    ),
    ("auth", "garbage"): _temporary("NONSENSE", _NONSENSE),
    ("mail", "rst"): _temporary("LOST", _LOST),
    ("mail", "fin"): _temporary("LOST", _LOST),
    ("mail", "hang"): _temporary("SILENT, §4.5.3.2.2", _SILENT),
    ("mail", "4xx"): _temporary("LATER", _LATER, 451),
    ("mail", "5xx"): _permanent("NEVER; RFC 5321 §3.3", ErrorType.SENDER_REFUSED, 550),
    ("mail", "garbage"): _temporary("NONSENSE", _NONSENSE),
    ("rcpt", "rst"): _temporary("LOST", _LOST),
    ("rcpt", "fin"): _temporary("LOST", _LOST),
    ("rcpt", "hang"): _temporary("SILENT, §4.5.3.2.3", _SILENT),
    ("rcpt", "4xx"): _temporary("LATER; RFC 5321 §4.5.4.1, greylisting RFC 6647", _LATER, 451),
    ("rcpt", "5xx"): _permanent("NEVER; RFC 5321 §3.3: that recipient's refusal", None, 550),
    ("rcpt", "garbage"): _temporary("NONSENSE", _NONSENSE),
    ("data", "rst"): _temporary("LOST: no 354, no content", _LOST),
    ("data", "fin"): _temporary("LOST: no 354, no content", _LOST),
    ("data", "hang"): _temporary("SILENT, §4.5.3.2.4", _SILENT),
    ("data", "4xx"): _temporary("LATER; RFC 5321 §4.3.2: 451 to DATA", _LATER, 451),
    ("data", "5xx"): _permanent("NEVER; RFC 5321 §3.3: 554 to DATA", _NEVER, 554),
    ("data", "garbage"): _temporary("NONSENSE", _NONSENSE),
    # body: amidst the content. Without the end of data there is no mail (RFC 5321 §4.1.1.4).
    ("body", "rst"): _temporary("LOST; §4.1.1.4", _LOST),
    ("body", "fin"): _temporary("LOST; §4.1.1.4", _LOST),
    ("body", "hang"): _temporary("SILENT, §4.5.3.2.5: a block that is not taken", _SILENT),
    ("body", "4xx"): _temporary("LATER; §4.1.1.4", _LATER, 451),
    ("body", "5xx"): _permanent("NEVER; §4.1.1.4", _NEVER, 554),
    ("body", "garbage"): _temporary("NONSENSE; §4.1.1.4", _NONSENSE),
    # before_dot: the whole content, and the dot not yet written when the failure is heard of.
    ("before_dot", "rst"): _temporary("LOST; §4.1.1.4", _LOST),
    ("before_dot", "fin"): _temporary("LOST; §4.1.1.4", _LOST),
    ("before_dot", "hang"): _unknown("silence shows only after the dot: DOUBT", _SILENT),
    ("before_dot", "4xx"): _temporary("LATER; §4.1.1.4", _LATER, 451),
    ("before_dot", "5xx"): _permanent("NEVER; §4.1.1.4", _NEVER, 554),
    ("before_dot", "garbage"): _temporary("NONSENSE; §4.1.1.4", _NONSENSE),
    # after_dot: the server has the dot and has not taken the mail. The client cannot see that.
    ("after_dot", "rst"): _unknown("DOUBT", _LOST),
    ("after_dot", "fin"): _unknown("DOUBT", _LOST),
    ("after_dot", "hang"): _unknown("DOUBT", _SILENT),
    ("after_dot", "4xx"): _temporary("LATER: a verdict, so there is no doubt", _LATER, 451),
    ("after_dot", "5xx"): _permanent("NEVER: a verdict, so there is no doubt", None, 554),
    ("after_dot", "garbage"): _unknown("DOUBT: NONSENSE is no verdict", _NONSENSE),
    # reply: the server has taken the mail, and its 250 does not arrive; or it refuses.
    ("reply", "rst"): _unknown("DOUBT", _LOST),
    ("reply", "fin"): _unknown("DOUBT", _LOST),
    ("reply", "hang"): _unknown("DOUBT", _SILENT),
    ("reply", "4xx"): _temporary("LATER; RFC 5321 §4.2.5: the client keeps the mail", _LATER, 451),
    ("reply", "5xx"): _permanent("NEVER; RFC 5321 §4.2.5: the client keeps the mail", None, 554),
    ("reply", "garbage"): _unknown("DOUBT: NONSENSE is no verdict", _NONSENSE),
    ("quit", "rst"): _sent("TAKEN"),
    ("quit", "fin"): _sent("TAKEN"),
    ("quit", "hang"): _sent("TAKEN"),
    ("quit", "4xx"): _sent("TAKEN"),
    ("quit", "5xx"): _sent("TAKEN"),
    ("quit", "garbage"): _sent("TAKEN"),
}  # fmt: skip

PHASES: dict[str, frozenset[Phase]] = {
    "connect": frozenset({Phase.CONNECT, Phase.BANNER}),
    "banner": frozenset({Phase.BANNER}),
    "ehlo": frozenset({Phase.EHLO}),
    "starttls": frozenset({Phase.STARTTLS}),
    "tls": frozenset({Phase.STARTTLS, Phase.CONNECT}),
    "auth": frozenset({Phase.AUTH}),
    "mail": frozenset({Phase.MAIL}),
    "rcpt": frozenset({Phase.RCPT}),
    "data": frozenset({Phase.DATA}),
    "body": frozenset({Phase.BODY}),
    # Silence before the dot is waited for behind it.
    "before_dot": frozenset({Phase.BODY, Phase.DOT, Phase.REPLY}),
    # With a verdict it is done.
    "after_dot": frozenset({Phase.DOT, Phase.REPLY, Phase.DONE}),
    "reply": frozenset({Phase.DOT, Phase.REPLY, Phase.DONE}),
    "quit": frozenset({Phase.DONE}),
}
"""How far the ledger may say that a transaction got, by the stage at which the server failed."""

ON_A_TLS_PORT: dict[tuple[str, str], Expected] = {
    # Said before the handshake: in clear.
    ("connect", "4xx"): _temporary("CLEAR", _NONSENSE),
    ("connect", "5xx"): _temporary("CLEAR", _NONSENSE),
}
"""What differs where TLS begins with the first byte."""
