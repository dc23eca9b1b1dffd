"""Dovecot: IMAP, POP3 and LMTP on loopback ports, every user welcome with one password."""

import os
import shutil
import subprocess
from pathlib import Path

from tools.servers.ca import Certificate
from tools.servers.maildir import MAIL_USER, MaildirStore
from tools.servers.process import LOOPBACK, ChildServer, ServerError, free_port, greets

_CONFIGURATION = """
protocols = imap pop3 lmtp
listen = {listen}
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
instance_name = email-connector
login_greeting = Test server ready.

ssl = yes
ssl_cert = <{chain}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_chars =
auth_failure_delay = 0
auth_cache_size = 0

mail_location = maildir:~/mail:LAYOUT=fs:INBOX=~/inbox:UTF-8
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
mail_max_userip_connections = 10000
default_vsz_limit = 1G
stats_writer_socket_path =
recipient_delimiter = +
lmtp_save_to_detail_mailbox = no
lda_mailbox_autocreate = no
postmaster_address = postmaster@mail.test
hostname = mail.test
submission_host =
{capability}

passdb {{
  driver = static
  args = nodelay=yes password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={root}/%Lu allow_all_users=yes
}}

namespace inbox {{
  inbox = yes
  separator = /
  mailbox Sent {{
    special_use = \\Sent
  }}
  mailbox Drafts {{
    special_use = \\Drafts
  }}
  mailbox Trash {{
    special_use = \\Trash
  }}
  mailbox Junk {{
    special_use = \\Junk
  }}
}}

service anvil {{
  # Mode 0 switches the growing delay after failed logins off.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  service_count = 0
  process_min_avail = 1
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service pop3-login {{
  service_count = 0
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 1024
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service auth {{
  inet_listener auth-smtp {{
    port = {auth}
  }}
}}
{extra}
"""


class Dovecot(ChildServer):
    """A Dovecot 2.3 with its own mail below `directory`; a context manager.

    Args:
        directory: a short path, since the server keeps unix sockets there; the mail user must
            be able to enter it.
        certificate: what the TLS ports and STARTTLS show.
        password: what every user logs in with.
        capabilities: replaces the IMAP capabilities announced after login, to test the tiers
            of servers that offer less.
        extra: more lines for the configuration.
    """

    name = "dovecot"

    def __init__(
        self,
        directory: Path,
        certificate: Certificate,
        *,
        password: str = "secret",  # noqa: S107  # of a server on loopback that holds test mail
        capabilities: str | None = None,
        extra: str = "",
    ) -> None:
        super().__init__(directory)
        self.host = "localhost"
        self.certificate = certificate
        self.password = password
        self.capabilities = capabilities
        self._extra = extra
        self.imap_port, self.imaps_port = free_port(), free_port()
        self.pop3_port, self.pop3s_port = free_port(), free_port()
        self.lmtp_port, self.auth_port = free_port(), free_port()
        self._store = MaildirStore(directory / "users")

    def maildir(self, user: str, folder: str = "INBOX") -> Path:
        """Return the maildir of a user's folder, whether or not it exists."""
        return self._store.path(user, folder)

    def create_folder(self, user: str, folder: str) -> Path:
        """Make a folder and return its maildir; no mail server does so by itself."""
        return self._store.create(user, folder)

    def deliver(self, user: str, raw: bytes, folder: str = "INBOX") -> str:
        """Put one mail straight into a folder, in order, and return its file name."""
        return self._store.deliver(user, raw, folder)

    def doveadm(self, *arguments: str) -> str:
        """Run an administration command against this server and return what it prints."""
        command = ["doveadm", "-c", str(self._configuration), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerError(f"doveadm {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    @property
    def _configuration(self) -> Path:
        return self.directory / "dovecot.conf"

    def _prepare(self) -> None:
        if os.geteuid() != 0:
            raise ServerError("Dovecot must be started by root")
        program = shutil.which("dovecot")
        if program is None:
            raise ServerError("Dovecot is not installed: python -m tools.servers install")
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        if not version.stdout.startswith("2.3."):
            raise ServerError(f"the configuration is for Dovecot 2.3, this is {version.stdout}")
        for name in ("run", "state"):
            (self.directory / name).mkdir(exist_ok=True)
        # Left over by a crash; the number in it may belong to another process by now.
        (self.directory / "run" / "master.pid").unlink(missing_ok=True)
        self._configuration.write_text(self._render())

    def _render(self) -> str:
        masked = self.capabilities
        return _CONFIGURATION.format(
            listen=LOOPBACK,
            directory=self.directory,
            chain=self.certificate.chain,
            key=self.certificate.key,
            uid=MAIL_USER,
            gid=self._store.gid,
            root=self._store.root,
            password=self.password,
            capability="" if masked is None else f"imap_capability = {masked}",
            imap=self.imap_port,
            imaps=self.imaps_port,
            pop3=self.pop3_port,
            pop3s=self.pop3s_port,
            lmtp=self.lmtp_port,
            auth=self.auth_port,
            extra=self._extra,
        )

    def _command(self) -> list[str]:
        return ["dovecot", "-F", "-c", str(self._configuration)]

    def _ready(self) -> bool:
        return (
            greets(self.imap_port, b"* OK")
            and greets(self.pop3_port, b"+OK")
            and greets(self.lmtp_port, b"220")
            and greets(self.auth_port, b"VERSION")
            and all(greets(port) for port in (self.imaps_port, self.pop3s_port))
        )
