"""TLS as a client of mail servers (RFC 8314, RFC 9325)."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

from models.errors import ConnectorError, ErrorType


def client_context(check_identity: bool, ca_file: str | None) -> ssl.SSLContext:
    """Return the TLS settings for a connection; at least TLS 1.2 (RFC 8997, RFC 9325 §3.1.1).

    Reads files the first time: call it in a thread. Contexts are shared, so do not change them.

    Args:
        check_identity: Verify the certificate's chain and that it names the host (RFC 9525). When
            off, the connection is encrypted, but to whom is unknown.
        ca_file: PEM file with trust anchors beside the system's; read again when it changes.

    Raises:
        ConnectorError: ``ca_file`` cannot be read or holds no certificate.
    """
    if ca_file is None or not check_identity:
        return _context(check_identity, None, 0)
    try:
        return _context(check_identity, ca_file, Path(ca_file).stat().st_mtime_ns)
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        raise ConnectorError(
            ErrorType.ACCOUNT_INCOMPLETE,
            "The file with trusted certificates (ca_file) cannot be read as PEM; correct its path "
            "or its content.",
            field="ca_file",
        ) from exc


@lru_cache(maxsize=64)
def _context(check_identity: bool, ca_file: str | None, _changed_ns: int) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    if not check_identity:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
