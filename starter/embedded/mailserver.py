"""The embedded mail server: SMTP in, IMAP out, everything in memory, no TLS.

    python -m starter.embedded.mailserver --dir DIR

Its first line of output is a JSON object with ports and credentials. Any user of ``demo.example``
exists, all with one password that is made on the first start and kept in DIR, so that accounts
that were added for it go on working after a restart. The mails do not survive one.

With ``--password-file FILE`` the password is the one in FILE, and nothing is kept or told. It
listens on loopback; ``--host`` is for a container, whose network is its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
from argparse import Namespace
from datetime import datetime
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from proxyprotocol.reader import ProxyProtocolReader
from pymap.backend.dict import Config, Identity, Login
from pymap.backend.dict.filter import FilterSet
from pymap.backend.dict.mailbox import MailboxSet
from pymap.imap import IMAPServer
from pymap.parsing.message import AppendMessage
from pymap.user import UserMetadata
from pysasl.creds.server import ServerCredentials
from pysasl.hashing import Cleartext

from starter.embedded.credentials import ARCHIVE, DOMAIN, HOST, SENT, MailServerFacts

_MAX_BYTES = 64 * 1024 * 1024


class _Config(Config):
    """pymap's in-memory backend without its demo data, TLS and look-ups of host names."""

    def __init__(self) -> None:
        super().__init__(
            Namespace(passlib_cfg=None, proxy_protocol=None),
            demo_data=False,
            demo_user="",
            demo_password="",
            host=HOST,
            port=0,
            tls_enabled=False,
            reject_dnsbl=False,
            # The one password is in memory anyway; hashing it would only slow every login down.
            hash_context=Cleartext(),
        )

    @property
    def greeting(self) -> bytes:
        return b"embedded mail server ready"


class _Mailboxes(Login):
    """Makes every user of the domain with the folders INBOX and Archive when first named."""

    def __init__(self, config: _Config, password: str) -> None:
        super().__init__(config)
        self._password = password
        self._sets: dict[str, MailboxSet] = {}

    async def of(self, address: str) -> MailboxSet:
        """Return the mailboxes of a user, whatever the case of the address."""
        key = address.lower()
        if key not in self._sets:
            mailboxes = self._sets[key] = MailboxSet()
            await mailboxes.add_mailbox(ARCHIVE)
            await mailboxes.add_mailbox(SENT)
        return self._sets[key]

    async def authenticate(self, credentials: ServerCredentials) -> Identity:
        name = credentials.authcid
        if _is_local(name) and name not in self.users_dict:
            self.users_dict[name] = UserMetadata(self.config, name, password=self._password)
            self.config.set_cache[name] = (await self.of(name), FilterSet())
        return await super().authenticate(credentials)


class _Delivery:
    """Handler of aiosmtpd: puts accepted mail into the inboxes of its recipients."""

    def __init__(self, mailboxes: _Mailboxes, password: str) -> None:
        self._mailboxes = mailboxes
        self._password = password.encode()

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        """Check a login."""
        genuine = (
            isinstance(data, LoginPassword)
            and _is_local(data.login.decode("utf-8", "replace"))
            and secrets.compare_digest(data.password, self._password)
        )
        return AuthResult(success=genuine, handled=False)

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if not _is_local(address):
            return f"550 5.7.1 this server delivers to {DOMAIN} only"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 recipient ok"

    async def handle_DATA(  # noqa: N802 (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        content = envelope.original_content or b""
        for address in envelope.rcpt_tos:
            inbox = await (await self._mailboxes.of(address)).get_mailbox("INBOX")
            await inbox.append(AppendMessage(content, datetime.now().astimezone()), recent=True)
        return f"250 2.6.0 delivered to {len(envelope.rcpt_tos)} mailbox(es)"


def _is_local(address: str) -> bool:
    local, at, domain = address.rpartition("@")
    return bool(local and at) and domain.lower() == DOMAIN


async def serve(
    directory: Path | None, host: str, smtp_port: int, imap_port: int, password: str
) -> None:
    """Serve until SIGTERM or SIGINT; without a ``directory`` nothing is kept or told."""
    config = _Config()
    config.apply_context()
    mailboxes = _Mailboxes(config, password)
    delivery = _Delivery(mailboxes, password)

    def session() -> SMTP:
        return SMTP(
            delivery,
            hostname=DOMAIN,
            ident="embedded mail server",
            data_size_limit=_MAX_BYTES,
            enable_SMTPUTF8=True,
            auth_required=True,
            auth_require_tls=False,  # loopback only
            authenticator=delivery.authenticate,
        )

    reader = ProxyProtocolReader(config.proxy_protocol)
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(session, host, smtp_port)
    imap = await asyncio.start_server(
        reader.get_callback(IMAPServer(mailboxes, config)), host, imap_port
    )
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    if directory is not None:
        facts = MailServerFacts(
            host=host,
            smtp_port=smtp.sockets[0].getsockname()[1],
            imap_port=imap.sockets[0].getsockname()[1],
            password=password,
        )
        facts.save(directory)
        sys.stdout.write(json.dumps(facts.model_dump()) + "\n")
    else:
        sys.stdout.write("mail server ready\n")
    sys.stdout.flush()
    await stop.wait()
    smtp.close()
    imap.close()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--dir", type=Path)
    where.add_argument("--password-file", type=Path)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--smtp-port", type=int, default=0)
    parser.add_argument("--imap-port", type=int, default=0)
    arguments = parser.parse_args()
    os.umask(0o077)
    if arguments.password_file:
        password = arguments.password_file.read_text().strip()
    else:
        known = MailServerFacts.load(arguments.dir)
        password = known.password if known else secrets.token_urlsafe(12)
    ports = arguments.smtp_port, arguments.imap_port
    asyncio.run(serve(arguments.dir, arguments.host, *ports, password))


if __name__ == "__main__":
    main()
