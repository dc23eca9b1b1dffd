"""An envelope as commands: what is asked of this server, and who cannot be named to it at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from activities.mail import smtp_dsn
from activities.mail.smtp_extensions import Extensions
from activities.mail.smtp_guard import wire_path
from activities.ports import DsnRequest, Endpoint, Reply

_TOO_MANY = frozenset({None, "5.5.3"})
_NEEDS_SMTPUTF8 = Reply(  # RFC 6531 §3.5
    553,
    "not asked: the address has a non-ASCII local part, and the server offers no SMTPUTF8",
    "5.6.7",
)


@dataclass(frozen=True, slots=True)
class EnvelopeCommands:
    """MAIL, RCPT for each address, and the answer for those that this server cannot be told."""

    mail: bytes
    rcpts: Mapping[str, bytes]
    unreachable: Mapping[str, Reply]


def envelope_commands(
    endpoint: Endpoint,
    extensions: Extensions,
    sender: str,
    recipients: Sequence[str],
    size: int,
    *,
    ascii_only: bool,
    ascii_header: bool,
    dsn: DsnRequest | None,
) -> EnvelopeCommands:
    """Return the commands for an envelope; the arguments are those of ``SmtpSession.envelope``.

    Raises:
        SmtpFailure: An address is unfit, the mail is too large, or the server lacks what the mail
            as a whole needs.
    """
    reverse_path = wire_path(sender, "sender") if sender else b""
    paths = {
        address: wire_path(address, f"recipients[{index}]")
        for index, address in enumerate(recipients)
    }
    unreachable: dict[str, Reply] = {}
    if ascii_header and reverse_path.isascii() and "SMTPUTF8" not in extensions.capabilities:
        # The mail itself needs nothing: one blind copy to an international address must not keep
        # it from everybody else.
        unreachable = {
            address: _NEEDS_SMTPUTF8 for address in paths if not paths[address].isascii()
        }
        if len(unreachable) == len(paths):
            unreachable = {}  # nobody else: the failure names what is missing
    paths = {address: path for address, path in paths.items() if address not in unreachable}
    parameters = extensions.mail_parameters(
        endpoint,
        [reverse_path, *paths.values()],
        size,
        ascii_only=ascii_only,
        ascii_header=ascii_header,
    )
    if dsn is None or "DSN" not in extensions.capabilities:
        extra = dict.fromkeys(paths, b"")
    else:
        parameters += smtp_dsn.mail_parameters(dsn)
        extra = {
            address: b"".join(b" " + word for word in smtp_dsn.rcpt_parameters(dsn, path))
            for address, path in paths.items()
        }
    return EnvelopeCommands(
        mail=b" ".join([b"MAIL FROM:<" + reverse_path + b">", *parameters]),
        rcpts={a: b"RCPT TO:<" + path + b">" + extra[a] for a, path in paths.items()},
        unreachable=unreachable,
    )


def rcpt_verdict(reply: Reply, accepted: int) -> Reply:
    """Return what a reply to RCPT means when ``accepted`` recipients came before it.

    Older servers refuse those beyond their limit for one mail with 552, which is to be read as 452:
    they take them in the next one (RFC 5321 §4.5.3.1.10).
    """
    if reply.code == 552 and accepted and reply.enhanced_code in _TOO_MANY:
        return replace(reply, code=452, enhanced_code="4.5.3")
    return reply
