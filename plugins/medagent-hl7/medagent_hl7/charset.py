"""Character sets: from MSH-18 (table 0211, and the names met in the field) to text and back.

Names from the network are looked up in a fixed table, never handed to `codecs.lookup`, which imports by name.
"""

from __future__ import annotations

import encodings.aliases
import re
from functools import lru_cache

from medagent_hl7.message import Header

DEFAULT = "utf-8"
_FALLBACKS = ("utf-8", "cp1252")
_ALL_ASCII_HL7 = "MSH|^~\\&#"
_NOT_LETTERS_OR_DIGITS = re.compile(r"[^a-z0-9]+")


def _squeeze(name: str) -> str:
    """`ISO-8859-1`, `iso8859_1` and `ISO 8859/1` are one name."""
    return _NOT_LETTERS_OR_DIGITS.sub("", name.lower())


_CODECS = {_squeeze(name): codec for alias, codec in encodings.aliases.aliases.items() for name in (alias, codec)}
_CODECS |= {f"8859{part}": f"iso8859_{part}" for part in range(1, 17) if part != 12}
_CODECS |= {f"win{page}": f"cp{page}" for page in range(1250, 1259)}
_CODECS |= {
    # table 0211
    "isoir6": "ascii",
    "isoir14": "cp932",
    "isoir87": "iso2022_jp",
    "isoir159": "iso2022_jp_1",
    "gb180302000": "gb18030",
    "ksx1001": "euc_kr",
    "unicodeutf8": "utf-8",
    "utf8": "utf-8",
    # Shift_JIS and Big5 as they are used: with the vendors' additions
    "shiftjis": "cp932",
    "sjis": "cp932",
    "big5": "big5hkscs",
    "binary": "latin-1",
}
# what a cache may hold of a field from the network
_LONGEST_FIELD = 100
_JAPANESE = ("isoir87", "isoir159")
# text codecs of Python that are no character sets
_NO_CHARACTER_SETS = {"idna", "punycode", "raw_unicode_escape", "unicode_escape", "undefined", "utf_7"}


@lru_cache(maxsize=256)
def codec(name: str) -> str | None:
    """The Python codec of a character set by its name in table 0211, iconv or Python; None if there is no usable one.

    Usable is a codec that reads the delimiters as ASCII: MLLP cannot carry UTF-16 or UTF-32, whose characters may hold
    the bytes of its blocks.
    """
    found = _CODECS.get(_squeeze(name))
    if found is None or found in _NO_CHARACTER_SETS:
        return None
    try:
        usable = (
            _ALL_ASCII_HL7.encode(found) == _ALL_ASCII_HL7.encode() and _ALL_ASCII_HL7.encode().decode(found) == _ALL_ASCII_HL7
        )
    except (LookupError, UnicodeError):  # such as hex or zip, which are no text encodings
        return None
    return found if usable else None


def codec_of(header: Header, encoding: str) -> str:
    """The codec of a message: the first repetition of MSH-18 decides, without one the channel's `encoding`, a codec name.

    An unknown character set counts as none. Japanese sets that further repetitions name are reached by escape sequences in
    the data (ISO 2022), so the codec that knows them reads both.
    """
    field = header.field(18)
    return _codec_of_field(field[:_LONGEST_FIELD], header.repetition_separator, encoding) if field else encoding


@lru_cache(maxsize=256)
def _codec_of_field(field: str, repetition_separator: str, encoding: str) -> str:
    first, *others = field.split(repetition_separator)
    default = codec(first)
    if default in (None, "ascii"):
        for name in _JAPANESE:
            if any(_squeeze(other) == name for other in others):
                return _CODECS[name]
    return default or encoding


def decode(body: bytes, codec: str) -> tuple[str, bool]:
    """The text of `body`, and whether it was valid in `codec`.

    What is not is read as UTF-8, else as Windows-1252, else as latin-1, in which every byte is a character: nothing is
    dropped and nothing raises. A byte order mark is removed; segments end with CR.
    """
    valid = True
    try:
        text = body.decode(codec)
    except UnicodeError:
        valid = False
        text = _decode_leniently(body)
    if text.startswith(("\ufeff", "\xef\xbb\xbf")):
        text = text[1:] if text[0] == "\ufeff" else text[3:]
    if "\n" in text:
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    return text, valid


def _decode_leniently(body: bytes) -> str:
    for fallback in _FALLBACKS:
        try:
            return body.decode(fallback)
        except UnicodeError:
            continue
    return body.decode("latin-1")


def encode(text: str, codec: str) -> bytes:
    """The bytes of `text`; a character that `codec` does not have becomes a question mark."""
    return text.encode(codec, errors="replace")
