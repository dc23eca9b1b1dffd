"""Postfix: a submission server on loopback ports that delivers every mail to one LMTP port."""

import functools
import grp
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

from tools.servers.ca import Certificate
from tools.servers.process import LOOPBACK, ChildServer, ServerError, free_port, greets

_MAIN = """
compatibility_level = 3.6
config_directory = {directory}/etc
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/postfix.log
maillog_file_prefixes = {directory}
mail_owner = postfix
syslog_name = postfix
myhostname = mail.test
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
biff = no

# Every domain is ours and every mail goes to one LMTP port: nothing ever leaves this machine.
mydestination =
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:all
virtual_transport = lmtp:inet:{host}:{lmtp}
default_transport = error:5.1.2 no delivery to the outside
relay_transport = error:5.1.2 no delivery to the outside
local_transport = error:5.1.2 no local delivery
# An address whose transport is "error" is refused at once; one behind an alias bounces later.
virtual_alias_maps = inline:{{ @bounce.test=@gone.test }}
transport_maps = inline:{{ {{ gone.test = error:5.1.1 No such user here }} }}
alias_maps =
alias_database =
local_recipient_maps =

# Names are not looked up, since a machine without a resolver would wait for each of them.
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
lmtp_host_lookup = native

smtpd_relay_restrictions = {relay}
smtpd_recipient_restrictions =
  check_recipient_access inline:{{
    {{ reject.test = 550 5.1.1 No such user here }}
    {{ defer.test = 451 4.7.1 Greylisted, try again later }} }}
smtpd_sasl_auth_enable = {sasl}
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:{host}:{auth}
smtpd_tls_security_level = may
smtpd_tls_chain_files = {directory}/etc/server.pem
smtpd_forbid_bare_newline = normalize
smtpd_forbid_bare_newline_exclusions =
message_size_limit = {size}
mailbox_size_limit = 0

# A test makes in a second the errors and connections that a server sees in a day.
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 10000
smtpd_hard_error_limit = 10000
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
in_flow_delay = 0
minimal_backoff_time = 2s
maximal_backoff_time = 10s
queue_run_delay = 2s
{extra}
"""

_MASTER = """
{host}:{smtp} inet n - n - 200 smtpd
{host}:{smtps} inet n - n - 200 smtpd -o smtpd_tls_wrappermode=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


_QUEUE_FOLDERS = (
    "active",
    "bounce",
    "corrupt",
    "defer",
    "deferred",
    "flush",
    "hold",
    "incoming",
    "private",
    "saved",
    "trace",
)


class Postfix(ChildServer):
    """A Postfix of its own below `directory`; a context manager.

    It accepts every recipient, except that `@reject.test` is refused (550), `@defer.test` put off
    (451), and `@bounce.test` accepted and then returned to its sender.

    Args:
        directory: its queue, configuration and log; the user `postfix` must be able to enter it.
        certificate: what STARTTLS and the TLS port show.
        lmtp_port: where all mail is delivered to.
        auth_port: a Dovecot login service; AUTH is offered when it is given.
        require_auth: whether mail is taken only after a login.
        message_size_limit: the greatest mail it takes, in bytes.
        extra: more lines for main.cf.
    """

    name = "postfix"

    def __init__(
        self,
        directory: Path,
        certificate: Certificate,
        *,
        lmtp_port: int,
        auth_port: int | None = None,
        require_auth: bool = False,
        message_size_limit: int = 100 * 1024 * 1024,
        extra: str = "",
    ) -> None:
        super().__init__(directory)
        if require_auth and auth_port is None:
            raise ValueError("require_auth needs an auth_port")
        self.host = "localhost"
        self.certificate = certificate
        self.lmtp_port = lmtp_port
        self.auth_port = auth_port
        self.require_auth = require_auth
        self.message_size_limit = message_size_limit
        self._extra = extra
        self.smtp_port, self.smtps_port = free_port(), free_port()

    @property
    def configuration(self) -> Path:
        """The directory to give Postfix's commands with `-c`."""
        return self.directory / "etc"

    def queue(self) -> str:
        """Return what `postqueue -j` lists: one JSON object a line for each mail in the queue."""
        return self._run("postqueue", "-j")

    def flush(self) -> None:
        """Try to deliver everything in the queue now."""
        self._run("postqueue", "-f")

    def _prepare(self) -> None:
        if os.geteuid() != 0:
            raise ServerError("Postfix must be started by root")
        if shutil.which("postfix") is None:
            raise ServerError("Postfix is not installed: python -m tools.servers install")
        first = not self.configuration.exists()
        self.configuration.mkdir(exist_ok=True)
        master = _MASTER.format(host=LOOPBACK, smtp=self.smtp_port, smtps=self.smtps_port)
        for name, text in (("main.cf", self._main()), ("master.cf", master)):
            path = self.configuration / name
            path.write_text(text)
            # Every program waits until a file is two seconds old, in case it is being edited.
            os.utime(path, (time.time() - 60,) * 2)
        chain = self.configuration / "server.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(self.certificate.key.read_bytes() + self.certificate.chain.read_bytes())
        if first:
            self._make_folders()

    def _make_folders(self) -> None:
        # As `postfix check` would, which takes seconds for it.
        owner = pwd.getpwnam("postfix")
        queue = self.directory / "queue"
        queue.mkdir()
        for name in _QUEUE_FOLDERS:
            (queue / name).mkdir(mode=0o700)
            os.chown(queue / name, owner.pw_uid, 0)
        (queue / "pid").mkdir()
        for name, mode in (("public", 0o710), ("maildrop", 0o1730)):
            (queue / name).mkdir()
            os.chown(queue / name, owner.pw_uid, grp.getgrnam("postdrop").gr_gid)
            (queue / name).chmod(mode)
        (self.directory / "data").mkdir(mode=0o700)
        os.chown(self.directory / "data", owner.pw_uid, owner.pw_gid)

    def _main(self) -> str:
        return _MAIN.format(
            directory=self.directory,
            host=LOOPBACK,
            lmtp=self.lmtp_port,
            auth=self.auth_port or 0,
            sasl="no" if self.auth_port is None else "yes",
            relay=f"{'permit_sasl_authenticated' if self.require_auth else 'permit_mynetworks'}"
            ", reject",
            size=self.message_size_limit,
            extra=self._extra,
        )

    def _command(self) -> list[str]:
        # Not `postfix start-fg`: that leaves a shell between us and the master.
        return [f"{_daemon_directory()}/master", "-s", "-c", str(self.configuration)]

    def _ready(self) -> bool:
        return greets(self.smtp_port, b"220") and greets(self.smtps_port)

    def _run(self, program: str, *arguments: str) -> str:
        command = [program, "-c", str(self.configuration), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode != 0:
            raise ServerError(f"{' '.join(command)}: {done.stdout}{done.stderr}".strip())
        return done.stdout


@functools.cache
def _daemon_directory() -> str:
    command = ["postconf", "-d", "-h", "daemon_directory"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
