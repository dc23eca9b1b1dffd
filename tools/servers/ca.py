"""A certificate authority for tests, and the server certificates it signs."""

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

LOCAL_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Certificate:
    """A server certificate with its chain, and its private key, as PEM files."""

    chain: Path
    key: Path


class TestCA:
    """A certificate authority that nobody trusts unless told to.

    Args:
        directory: where `ca.pem` and the issued certificates are written.
    """

    # The name begins like a test class, which it is not.
    __test__ = False

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(self.ca_file)
        self._issued = 0

    def issue(
        self, *names: str, expires: datetime.datetime | None = None, label: str = "server"
    ) -> Certificate:
        """Issue a certificate for host names and addresses (default: localhost, 127.0.0.1)."""
        issued = self._ca.issue_cert(*(names or LOCAL_NAMES), not_after=expires)
        self._issued += 1
        chain = self.directory / f"{label}-{self._issued}.pem"
        key = self.directory / f"{label}-{self._issued}.key"
        key.touch(mode=0o600)
        issued.private_key_pem.write_to_path(key)
        chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        return Certificate(chain, key)

    def wrong_host(self) -> Certificate:
        """Issue a valid certificate for a host that no test server runs on."""
        return self.issue("mail.elsewhere.test", label="wrong-host")

    def expired(self) -> Certificate:
        """Issue a certificate for localhost that ended yesterday."""
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        return self.issue(expires=yesterday, label="expired")

    def client_context(self) -> ssl.SSLContext:
        """Return a client-side TLS context that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.ca_file))
