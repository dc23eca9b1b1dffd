r"""E-mail addresses as people type them: an addr-spec, a mailbox, a list.

Only what has one single reading is accepted. An address that two readers take differently reaches
somebody it was not meant for, so comments, folding, source routes, groups and encoded words are
refused although RFC 5322 knows some of them. Characters no one can see are refused as well.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from models.base import Payload
from models.domains import INVISIBLE, domain_to_ascii

MAX_ADDRESSES = 1000
MAX_NAME_CHARS = 2000
_MAX_LOCAL_OCTETS = 64
_MAX_ADDRESS_OCTETS = 254
_MAX_ITEM_CHARS = 2 * MAX_NAME_CHARS + 512

_ATEXT = r"A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u00a1-\U0010ffff"
_DOT_ATOM = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*")
_NOT_IN_LOCAL = re.compile(rf"[^{_ATEXT}.]")
# A quoted local part holds what real ones need: odd dots, single spaces, escaped quotes. With
# an @, a bracket or a separator inside, careless readers find another address in it
# (CVE-2025-13033); runs of spaces do not survive a header.
_QUOTED_LOCAL = re.compile(rf'[{_ATEXT}."\\]+(?: [{_ATEXT}."\\]+)*')
_QUOTED_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
# RFC 5321 §4.1.2: only ASCII may be escaped before the @, also with SMTPUTF8.
_QUOTED_LOCAL_FORM = re.compile(r'"(?:[^"\\]|\\[ -~])*"')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIALS = re.compile(r'[()<>\[\]:;@\\,"]')
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HIDDEN = re.compile(f"[{INVISIBLE}]")
_WHITE = re.compile(r"[ \t]+")
_MARK = re.compile(r'\\.|[",;]', re.DOTALL)


def ascii_domain(address: str) -> str:
    """Return the domain of a valid address with its international labels as A-labels (RFC 5891)."""
    return domain_to_ascii(address.rpartition("@")[2])


def wire_address(address: str) -> str:
    """Return a valid address as headers and the envelope carry it: the domain in ASCII."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain_to_ascii(domain)}"


def needs_smtputf8(addresses: Iterable[str]) -> bool:
    """Whether a local part is not ASCII, so that the server must offer SMTPUTF8 (RFC 6531)."""
    return not all(address.rpartition("@")[0].isascii() for address in addresses)


def _local_part(text: str) -> str:
    """Return the local part with the fewest quotes (RFC 5321 §4.1.2: one mailbox, one form)."""
    quoted = text
    if text.startswith('"'):
        content = _ESCAPED.sub(r"\1", text[1:-1])
        if not (_QUOTED_LOCAL_FORM.fullmatch(text) and _QUOTED_LOCAL.fullmatch(content)):
            raise ValueError("the quoted part before the @ holds a character that is not allowed")
        quoted = content if _DOT_ATOM.fullmatch(content) else _quote(content)
        text = content
    elif not _DOT_ATOM.fullmatch(text):
        if odd := _NOT_IN_LOCAL.search(text):
            raise ValueError(f"character U+{ord(odd[0]):04X} is not allowed before the @")
        raise ValueError("a dot before the @ must stand between other characters")
    if "?=" in text.partition("=?")[2]:
        # RFC 2047 §5 forbids encoded words here, yet readers decode them to other addresses.
        raise ValueError("an encoded word is not allowed before the @")
    if not text.isascii():
        _check_readable(text)
    if len(quoted.encode()) > _MAX_LOCAL_OCTETS:
        raise ValueError("the part before the @ is too long")
    return quoted


def _check_readable(text: str) -> None:
    for char in text:
        if not char.isascii() and (unicodedata.category(char)[0] in "CZ" or _HIDDEN.match(char)):
            raise ValueError(f"character U+{ord(char):04X} is not allowed before the @")
    # A full-width @ or dot becomes a real one where somebody normalises.
    for char in set(unicodedata.normalize("NFKC", text)) - set(text):
        if char.isascii() and not char.isalnum():
            raise ValueError("a look-alike of a special character is not allowed before the @")


def _quote(text: str) -> str:
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def _addr_spec(text: str) -> str:
    if len(text) > _MAX_ADDRESS_OCTETS:
        raise ValueError("the address is too long")
    text = unicodedata.normalize("NFC", text)
    local, at, domain = text.rpartition("@")
    if not at:
        raise ValueError("an @ is missing")
    address = f"{_local_part(local)}@{domain}"
    if len(wire_address(address).encode()) > _MAX_ADDRESS_OCTETS:
        raise ValueError("the address is too long")
    return address


def _display_name(text: str) -> str:
    # Runs of white space do not survive folding, so they are one space from the start.
    text = _WHITE.sub(" ", text).strip(" ")
    if len(text) > MAX_NAME_CHARS:
        raise ValueError("the display name is too long")
    if _CONTROLS.search(text):
        raise ValueError("the display name holds a control character or line break")
    return text


AddrSpec = Annotated[
    str,
    AfterValidator(_addr_spec),
    WithJsonSchema({"type": "string", "format": "idn-email", "maxLength": _MAX_ADDRESS_OCTETS}),
]
"""``local@domain`` (RFC 5321 §4.1.2, RFC 6531 §3.3): a dot-atom or quoted local part, in UTF-8 if
need be, and a host name, an international name as typed, or an IP address in brackets."""

DisplayName = Annotated[
    str,
    AfterValidator(_display_name),
    WithJsonSchema({"type": "string", "maxLength": MAX_NAME_CHARS}),
]
"""The name beside an address; any text on one line."""


class Mailbox(Payload):
    """An address with the name it is shown under (RFC 5322 §3.4)."""

    name: DisplayName = ""
    address: AddrSpec


def parse_address_list(text: str) -> tuple[Mailbox, ...]:
    """Read ``a@b.example; Sales <c@d.example>, "Sales, North" <e@f.example>``.

    ``;`` and ``,`` separate, except inside quotation marks; empty items are skipped; of repeated
    addresses the first stays.

    Raises:
        ValueError: An item is no mailbox (named by its position), or there are too many.
    """
    found: list[Mailbox] = []
    for item in _items(text):
        if len(found) == MAX_ADDRESSES:
            raise ValueError(f"at most {MAX_ADDRESSES} addresses are allowed")
        found.append(_mailbox(item, position=len(found) + 1))
    return _distinct(tuple(found))


def format_address_list(mailboxes: Iterable[Mailbox]) -> str:
    """Return text that ``parse_address_list`` reads back to the same mailboxes."""
    return "; ".join(f"{_quote(m.name)} <{m.address}>" if m.name else m.address for m in mailboxes)


def _items(text: str) -> Iterator[str]:
    """Split at separators outside quotation marks, in one pass."""
    start, quoted = 0, False
    for mark in _MARK.finditer(text):
        if mark[0] == '"':
            quoted = not quoted
        elif mark[0] in ",;" and not quoted:
            if item := text[start : mark.start()].strip(" \t"):
                yield item
            start = mark.end()
    # An open quotation mark ends up in the last item, which is then no mailbox.
    if item := text[start:].strip(" \t"):
        yield item


def _mailbox(item: str, position: int) -> Mailbox:
    phrase, address = "", item
    if item.endswith(">") and "<" in item:
        phrase, _, address = item[:-1].rpartition("<")
        phrase = phrase.rstrip(" \t")
    try:
        if len(item) > _MAX_ITEM_CHARS:
            raise ValueError("the item is too long")
        # Mail programs copy a nameless mailbox as "a@b <a@b>".
        name = "" if phrase == address else _phrase(phrase)
        return Mailbox(name=_display_name(name), address=_addr_spec(address))
    except ValueError as error:
        raise ValueError(f"address {position}{_shown(address)}: {error}") from None


def _phrase(text: str) -> str:
    if _QUOTED_STRING.fullmatch(text):
        return _ESCAPED.sub(r"\1", text[1:-1])
    if _SPECIALS.search(text):
        raise ValueError("put the display name in quotation marks, the address in <>")
    return text


def _shown(address: str) -> str:
    # Anything that does not look like an address may be text nobody meant to see in a log.
    if "@" not in address or _WHITE.search(address):
        return ""
    return " (" + "".join(c for c in address if c.isprintable())[:80] + ")"


def _distinct(mailboxes: tuple[Mailbox, ...]) -> tuple[Mailbox, ...]:
    first: dict[tuple[str, str], Mailbox] = {}
    for mailbox in mailboxes:
        local = mailbox.address.rpartition("@")[0]
        first.setdefault((local, ascii_domain(mailbox.address).lower()), mailbox)
    return tuple(first.values())


def _one(value: object, position: int = 1) -> object:
    if not isinstance(value, str):
        return value
    items = list(itertools.islice(_items(value), 2))
    if len(items) != 1:
        raise ValueError(f"address {position}: give exactly one address")
    return _mailbox(items[0], position)


def _single(value: object) -> object:
    return _one(value)


def _several(value: object) -> object:
    if isinstance(value, str):
        return parse_address_list(value)
    if isinstance(value, list | tuple):
        return [_one(item, position) for position, item in enumerate(value, 1)]
    return value


OneAddress = Annotated[Mailbox, BeforeValidator(_single, json_schema_input_type=str | Mailbox)]
"""One mailbox, given as text or as ``{"name", "address"}``."""

AddressList = Annotated[
    tuple[Mailbox, ...],
    Field(max_length=MAX_ADDRESSES),
    BeforeValidator(_several, json_schema_input_type=str | list[str | Mailbox]),
    AfterValidator(_distinct),
]
"""Mailboxes, given as text (see ``parse_address_list``) or as an array of ``OneAddress``."""
