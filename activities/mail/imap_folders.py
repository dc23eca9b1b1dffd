"""LIST: which folders there are, and what they are for (RFC 9051 §6.3.9, RFC 6154)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from activities.mail.imap_guard import GuardedClient
from activities.mail.imap_text import decoded_folder_name, quoted
from models.errors import bounded
from models.mailbox import FolderInfo

_NOT_SELECTABLE: Final = frozenset({"\\noselect", "\\nonexistent"})
_USES: Final = ("All", "Archive", "Drafts", "Flagged", "Important", "Junk", "Sent", "Trash")
"""RFC 6154 §2, and Important of RFC 8457."""
_SPECIAL_USE: Final = {f"\\{use.lower()}": f"\\{use}" for use in _USES}


def listed(client: GuardedClient, *, special_use: bool) -> list[FolderInfo]:
    r"""Return all folders.

    Args:
        client: The session.
        special_use: Ask for the attributes of RFC 6154; servers may leave them out otherwise.
    """
    options = ("RETURN", "(SPECIAL-USE)") if special_use else ()
    client.engine.ask("LIST", '""', '"*"', *options)
    return [_info(name, flags) for name, flags in _rows(client, client.engine.answers("LIST"))]


def is_selectable(client: GuardedClient, name: str) -> bool:
    """Whether the folder ``name``, in modified UTF-7, is there to be selected."""
    client.engine.ask("LIST", '""', quoted(name))
    wanted = _canonical(name.encode("ascii"))
    # The name may hold wildcards, so the answer may name more than it.
    return any(
        _canonical(found) == wanted and not _NOT_SELECTABLE & flags
        for found, flags in _rows(client, client.engine.answers("LIST"))
    )


def _rows(client: GuardedClient, answers: list[Any]) -> Iterator[tuple[bytes, frozenset[str]]]:
    for flags, _delimiter, name in client._proc_folder_list(answers):
        if name is not None:
            # IMAPClient takes an unquoted 2024 for a number and makes it a str.
            raw = name if isinstance(name, bytes) else str(name).encode()
            yield raw, frozenset(flag.decode("ascii", "replace").lower() for flag in flags)


def _info(name: bytes, flags: frozenset[str]) -> FolderInfo:
    text = decoded_folder_name(name)
    use = next((_SPECIAL_USE[flag] for flag in sorted(flags) if flag in _SPECIAL_USE), None)
    if text is None:
        return FolderInfo(name=bounded(name.decode("utf-8", "replace")), selectable=False)
    return FolderInfo(name=text, selectable=not _NOT_SELECTABLE & flags, special_use=use)


def _canonical(name: bytes) -> bytes:
    return b"INBOX" if name.upper() == b"INBOX" else name
