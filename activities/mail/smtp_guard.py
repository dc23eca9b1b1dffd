"""The last check of every value that becomes part of an SMTP command.

A CR or LF in an address starts a command of its own, a ``>`` or a space adds parameters to ours
(CVE-2025-7962). Libraries have let such values through or cut them silently, so nothing is sent
before this module has seen it, whatever checked it earlier.
"""

from __future__ import annotations

import re

from activities.ports import Endpoint, SmtpFailure
from models.delivery import Phase
from models.domains import domain_to_ascii
from models.errors import ErrorType

_MAX_PATH_OCTETS = 64 + 1 + 255  # RFC 5321 §4.5.3.1
_SEPARATORS = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
_CONTROL = re.compile(f"[{_SEPARATORS}]")
_UNSAFE = re.compile(rf"[\s{_SEPARATORS}<>]")
# Without the specials of RFC 5322 §3.2.3, ":" and "," above all: "@a,@b:c@d" is a source route.
_LOCAL = re.compile(r'[^()\[\]\\,;:@"]+|"(?:[^"\\]|\\.)*"')
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[A-Za-z0-9.:]+\]")


def check_endpoint(endpoint: Endpoint) -> None:
    """Refuse a host, user name or password that no server can be meant to get.

    User name and password travel in base64, so only what a server could trip over is refused:
    control characters (RFC 4616 §2 forbids NUL; RFC 4013 §2.3 the others).
    """
    if _UNSAFE.search(endpoint.host):
        raise _invalid("host", Phase.CONNECT)
    if endpoint.username is not None and _CONTROL.search(endpoint.username):
        raise _invalid("username", Phase.CONNECT)
    if endpoint.password is not None and _CONTROL.search(endpoint.password.get_secret_value()):
        raise _invalid("password", Phase.CONNECT)


def check_ehlo_name(name: str) -> None:
    """Refuse an EHLO argument that is no domain and no address literal (RFC 5321 §4.1.1.1)."""
    if len(name) > 255 or not _NAME.fullmatch(name):
        raise _invalid("ehlo_name", Phase.CONNECT)


def wire_path(address: str, field: str) -> bytes:
    """Return ``address`` as it stands between ``<`` and ``>``.

    A domain becomes A-labels by IDNA 2008 (RFC 5891), which every server takes; Python's own
    codec would turn ``straße`` into ``strasse``, another domain. A local part stays UTF-8: bytes
    above 127 in the result tell that the server must offer SMTPUTF8 (RFC 6531).
    """
    local, _, domain = address.rpartition("@")
    # Between quotation marks a space belongs to the address (RFC 5321 §4.1.2, qtextSMTP).
    visible = local.replace(" ", "") if local.startswith('"') else local
    if _UNSAFE.search(visible + domain) or not domain or not _LOCAL.fullmatch(local):
        raise _invalid(field, Phase.MAIL)
    try:
        domain = domain_to_ascii(domain)
    except ValueError:
        raise _invalid(field, Phase.MAIL) from None
    path = f"{local}@{domain}".encode()
    if len(path) > _MAX_PATH_OCTETS:
        raise _invalid(field, Phase.MAIL)
    return path


def _invalid(field: str, phase: Phase) -> SmtpFailure:
    return SmtpFailure(
        ErrorType.INVALID_INPUT,
        "the value cannot be used in SMTP: it has a control character, a space, an angle bracket "
        "or a form that no server accepts. Nothing was sent.",
        phase=phase,
        field=field,
    )
