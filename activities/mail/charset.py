"""Text from octets whose charset label may be missing, wrong, unknown or a lie.

The ladder: the declared charset, read as the label is used in the wild (WHATWG Encoding Standard:
``iso-8859-1`` means windows-1252, ``gb2312`` means GB 18030), then UTF-8, then windows-1252, then
Latin-1, which accepts everything. Declared UTF-8 is believed: what does not fit becomes U+FFFD. No
rung can raise, and the result holds no lone surrogate, so it can always be stored as UTF-8.
"""

from __future__ import annotations

import codecs
from functools import lru_cache
from typing import Final

_MAX_LABEL: Final = 40

# What labels mean where mail is written, different from what Python's registry thinks.
_ALIASES: Final = {
    "usascii": "ascii",
    "ansix341968": "ascii",
    "iso88591": "cp1252",
    "latin1": "cp1252",
    "ansi": "cp1252",
    "default": "cp1252",
    "xansi": "cp1252",
    "iso885915": "iso8859-15",
    "iso88598i": "iso8859-8",
    "iso88598e": "iso8859-8",
    "iso88599": "cp1254",
    "iso885911": "cp874",
    "tis620": "cp874",
    "windows874": "cp874",
    "macintosh": "mac-roman",
    "xmacroman": "mac-roman",
    "xmaccyrillic": "mac-cyrillic",
    "gb2312": "gb18030",
    "gb231280": "gb18030",
    "xgbk": "gb18030",
    "gbk": "gb18030",
    "euccn": "gb18030",
    "cp936": "gb18030",
    "xeuccn": "gb18030",
    "big5": "big5hkscs",
    "xxbig5": "big5hkscs",
    "ksc56011987": "cp949",
    "ksc56011989": "cp949",
    "ksc5601": "cp949",
    "euckr": "cp949",
    "korean": "cp949",
    "windows949": "cp949",
    "shiftjis": "cp932",
    "sjis": "cp932",
    "xsjis": "cp932",
    "windows31j": "cp932",
    "csshiftjis": "cp932",
    "iso2022jp": "iso2022-jp-ext",
    "xeucjp": "euc-jp",
    "unicode11utf7": "utf-7",
    "unicode11utf8": "utf-8",
    "utf8mb4": "utf-8",
    "xutf8": "utf-8",
    "unicode": "utf-16",
    "ucs2": "utf-16",
}

# Codecs that may read mail. An allow-list, because the registry also holds decoders that are no
# charsets (base64, zip, rot13) and two that take quadratic time (idna, punycode).
_READABLE: Final = frozenset(
    [
        "ascii",
        "utf-8",
        "utf-8-sig",
        "utf-7",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-32",
        "utf-32-le",
        "utf-32-be",
        "cp437",
        "cp720",
        "cp737",
        "cp775",
        "cp850",
        "cp852",
        "cp855",
        "cp856",
        "cp857",
        "cp858",
        "cp860",
        "cp861",
        "cp862",
        "cp863",
        "cp864",
        "cp865",
        "cp866",
        "cp869",
        "cp874",
        "cp932",
        "cp949",
        "cp950",
        "cp1006",
        "cp1125",
        "cp1140",
        "cp1250",
        "cp1251",
        "cp1252",
        "cp1253",
        "cp1254",
        "cp1255",
        "cp1256",
        "cp1257",
        "cp1258",
        "iso8859-1",
        "iso8859-2",
        "iso8859-3",
        "iso8859-4",
        "iso8859-5",
        "iso8859-6",
        "iso8859-7",
        "iso8859-8",
        "iso8859-9",
        "iso8859-10",
        "iso8859-11",
        "iso8859-13",
        "iso8859-14",
        "iso8859-15",
        "iso8859-16",
        "koi8-r",
        "koi8-t",
        "koi8-u",
        "kz1048",
        "ptcp154",
        "hp-roman8",
        "mac-roman",
        "mac-cyrillic",
        "mac-greek",
        "mac-iceland",
        "mac-latin2",
        "mac-turkish",
        "big5",
        "big5hkscs",
        "gb2312",
        "gbk",
        "gb18030",
        "hz",
        "euc_jp",
        "euc_jis_2004",
        "euc_jisx0213",
        "euc_kr",
        "johab",
        "shift_jis",
        "shift_jis_2004",
        "shift_jisx0213",
        "iso2022_jp",
        "iso2022_jp_1",
        "iso2022_jp_2",
        "iso2022_jp_2004",
        "iso2022_jp_3",
        "iso2022_jp_ext",
        "iso2022_kr",
    ]
)

# Decoders that let half a surrogate pair through.
_MAY_SPLIT_PAIRS: Final = frozenset({"utf-7"})
# Encodings in which plain ASCII octets are not themselves.
_NOT_ASCII: Final = frozenset(
    {"utf-7", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "cp1140"}
    | {name for name in _READABLE if name.startswith(("iso2022", "hz"))}
)
_WIDE: Final = frozenset(name for name in _READABLE if name.startswith(("utf-16", "utf-32")))


def codec_of(label: str) -> str | None:
    """The codec that a charset label stands for, or None for labels that name no charset."""
    return _codec_of(label) if len(label) <= _MAX_LABEL and label.isascii() else None


@lru_cache(maxsize=512)
def _codec_of(label: str) -> str | None:
    folded = "".join(c for c in label.lower() if c.isalnum())
    name = _ALIASES.get(folded)
    if name is None:
        name = label.strip().strip("'\"").lower()
    for candidate in (name, folded):
        try:
            found = codecs.lookup(candidate).name
        except (LookupError, ValueError):
            continue
        if found in _READABLE:
            # Python's own Latin-1 reads the C1 octets as controls; mail means windows-1252.
            return "cp1252" if found == "iso8859-1" else found
    return None


def decode(data: bytes, label: str | None = None) -> str:
    """Read ``data`` as the text it most likely is.

    Args:
        data: The octets, transfer encoding undone.
        label: The declared charset, if any.

    Returns:
        The text; octets that fit nowhere become U+FFFD. A leading byte-order mark is dropped.
    """
    codec = codec_of(label) if label else None
    if codec is None or codec not in _NOT_ASCII:
        if data.isascii():
            return data.decode("ascii")
    elif codec in _WIDE and b"\x00" not in data and data.isascii():
        # Declared as UTF-16 by programs that wrote the label but not the encoding.
        return data.decode("ascii")
    text = _declared(data, codec)
    if text is None:
        text = _guessed(data, codec)
    return text[1:] if text.startswith("\ufeff") else text


def _declared(data: bytes, codec: str | None) -> str | None:
    if codec is None or codec == "ascii":
        return None
    if codec == "utf-8":
        # The one label that is hardly ever wrong: damage is shown, not guessed away.
        return data.decode(codec, "replace")
    try:
        text = data.decode(codec)
    except (UnicodeError, ValueError):
        return None
    return _whole(text) if codec in _MAY_SPLIT_PAIRS else text


def _guessed(data: bytes, codec: str | None) -> str:
    """The rungs below the declared charset, which did not fit."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if codec is not None and codec not in ("ascii", "cp1252"):
        # Mostly right is better than wholly guessed: a cut or slightly damaged body.
        text = _whole(data.decode(codec, "replace"))
        damaged = text.count("\ufffd")
        foreign = len(text) - len(text.encode("ascii", "ignore"))
        if damaged <= max(1, foreign // 3):
            return text
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _whole(text: str) -> str:
    """``text`` without lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")


def decode_octets(text: str) -> str:
    """Read header text that holds undeclared 8-bit octets as surrogate escapes (PEP 383)."""
    if text.isascii():
        return text
    return decode(text.encode("utf-8", "surrogateescape"))
