"""What a server says it can do in its reply to EHLO, and what that means for MAIL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from activities.mail.errors import server_name
from activities.ports import Endpoint, SmtpFailure
from models.delivery import Phase
from models.errors import ErrorType

_KEYWORD = re.compile(r"[A-Z0-9][A-Z0-9-]{0,49}")
_SIZE = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Extensions:
    """Extensions of a server (RFC 5321 §4.1.1.1); none after HELO.

    Attributes:
        capabilities: Keywords in upper case, and AUTH=NAME for each way to log in.
        mechanisms: Ways to log in, upper case, in the server's order.
        size_limit: Largest mail in bytes (RFC 1870); None: not known.
    """

    capabilities: frozenset[str] = frozenset()
    mechanisms: tuple[str, ...] = ()
    size_limit: int | None = None

    @classmethod
    def parse(cls, text: str) -> Extensions:
        r"""Read an EHLO reply, its lines separated by ``\n``; the first one is a greeting."""
        capabilities: set[str] = set()
        mechanisms: dict[str, None] = {}
        limit = 0
        for line in text.split("\n")[1:]:
            # "AUTH=LOGIN" is how servers older than RFC 2554 announce it.
            keyword, *parameters = line.upper().replace("AUTH=", "AUTH ", 1).split()[:50] or [""]
            if not _KEYWORD.fullmatch(keyword):
                continue
            capabilities.add(keyword)
            if keyword == "AUTH":
                mechanisms |= dict.fromkeys(filter(_KEYWORD.fullmatch, parameters))
            elif keyword == "SIZE" and parameters and _SIZE.fullmatch(parameters[0]):
                limit = int(parameters[0])
        capabilities |= {f"AUTH={name}" for name in mechanisms}
        # RFC 1870 §3: no number, or zero, is no limit.
        return cls(frozenset(capabilities), tuple(mechanisms), limit or None)

    def mail_parameters(
        self,
        endpoint: Endpoint,
        paths: Sequence[bytes],
        size: int,
        *,
        ascii_only: bool,
        ascii_header: bool,
    ) -> list[bytes]:
        """Return the parameters of MAIL for this envelope.

        Raises:
            SmtpFailure: The mail is larger than the server takes (RFC 1870 §6.1: do not even try),
                an address in envelope or header needs SMTPUTF8 (RFC 6531), or bytes above 127 in
                the body need 8BITMIME (RFC 6152), and the server lacks it.
        """
        parameters = []
        if "SIZE" in self.capabilities:
            if self.size_limit is not None and size > self.size_limit:
                raise SmtpFailure(
                    ErrorType.MESSAGE_TOO_LARGE,
                    f"{server_name(endpoint)}: the mail has {size} bytes, the server takes "
                    f"{self.size_limit} (5.3.4). Send a smaller mail.",
                    phase=Phase.MAIL,
                )
            parameters.append(b"SIZE=%d" % size)
        if not ascii_header or not all(path.isascii() for path in paths):
            self._require(
                endpoint, {"SMTPUTF8"}, "an address has a non-ASCII local part", "SMTPUTF8"
            )
            parameters.append(b"SMTPUTF8")
        if not ascii_only:  # RFC 6531 §3.1: who offers SMTPUTF8 offers 8BITMIME
            self._require(
                endpoint, {"8BITMIME", "SMTPUTF8"}, "the body has bytes above 127", "8BITMIME"
            )
            parameters.append(b"BODY=8BITMIME")
        return parameters

    def _require(self, endpoint: Endpoint, any_of: set[str], because: str, name: str) -> None:
        if not self.capabilities & any_of:
            raise SmtpFailure(
                ErrorType.CAPABILITY_MISSING,
                f"{server_name(endpoint)}: {because}, and the server offers no {name}. "
                "Use another address or server.",
                phase=Phase.MAIL,
            )
