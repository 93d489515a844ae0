"""Character sets: from MSH-18 (table 0211, and the names met in the field) to text and back.

Names from the network are looked up in a fixed table, never handed to `codecs.lookup`, which imports by name.
"""

from __future__ import annotations

import encodings.aliases
import enum
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
LONGEST_FIELD = 100
# table 0211 has it, Python has no codec: only what is ASCII in it can be read
_WITHOUT_CODEC = {"cns116431992", "cns11643", "euctw"}
_WIDE = {"unicode", *(f"{before}utf{bits}{end}" for before in ("unicode", "") for bits in (16, 32) for end in ("", "le", "be"))}
_JAPANESE = ("isoir87", "isoir159")
# text codecs of Python that are no character sets
_NO_CHARACTER_SETS = {"idna", "punycode", "raw_unicode_escape", "unicode_escape", "undefined", "utf_7"}


class InvalidText(enum.Enum):
    """What becomes of bytes that are not valid in the character set of their message: the `invalidText` parameter."""

    PASS = "pass"  # noqa: S105 no password
    """Read as UTF-8, else as Windows-1252, else as latin-1: no byte is lost."""
    REPLACE = "replace"
    """U+FFFD in their place."""
    REJECT = "reject"
    """The message is not accepted."""


class Unusable(enum.Enum):
    """A declared character set that messages are not read in."""

    UNKNOWN = "unknown"
    WIDE = "UTF-16 or UTF-32"


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
    """The codec of a message: its first bytes, else MSH-18 decide, without both the channel's `encoding`, a codec name.

    The first repetition of MSH-18 is the message's character set; an unusable one counts as none. Japanese sets that further
    repetitions name are reached by escape sequences in the data (ISO 2022), so the codec that knows them reads both.
    """
    if header.evident_codec is not None:
        return header.evident_codec
    found = declared(header)
    return found if isinstance(found, str) else encoding


def declared(header: Header) -> str | Unusable | None:
    """The codec that MSH-18 names, or why it names none that can be used; None if it is empty."""
    field = header.field(18)
    return _declared_by(field[:LONGEST_FIELD], header.repetition_separator) if field else None


@lru_cache(maxsize=256)
def _declared_by(field: str, repetition_separator: str) -> str | Unusable | None:
    first, *others = field.split(repetition_separator)
    name = _squeeze(first)
    if name in _WITHOUT_CODEC:
        return "ascii"
    if name in _WIDE:
        return Unusable.WIDE
    default = codec(first)
    if default is None and name:
        return Unusable.UNKNOWN
    if default in (None, "ascii"):
        for japanese in _JAPANESE:
            if any(_squeeze(other) == japanese for other in others):
                return _CODECS[japanese]
    return default


def decode(body: bytes, codec: str, invalid: InvalidText = InvalidText.PASS) -> tuple[str, bool]:
    """The text of `body`, and whether it was valid in `codec`. Nothing raises.

    What is not valid is replaced if `invalid` says so, else read leniently: `REJECT` is for messages not accepted yet (see
    `is_valid`). A byte order mark is removed; segments end with CR.
    """
    text, valid = read(body, codec, invalid)
    if text.startswith(("\ufeff", "\xef\xbb\xbf")):
        text = text[1:] if text[0] == "\ufeff" else text[3:]
    if "\n" in text:
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    return text, valid


def read(body: bytes, codec: str, invalid: InvalidText = InvalidText.PASS) -> tuple[str, bool]:
    """As `decode`, and nothing is removed or changed."""
    try:
        return body.decode(codec), True
    except UnicodeError:
        return body.decode(codec, errors="replace") if invalid is InvalidText.REPLACE else _decode_leniently(body), False


def is_valid(body: bytes, codec: str) -> bool:
    """Whether `body` can be read in `codec` without loss."""
    try:
        body.decode(codec)
    except UnicodeError:
        return False
    return True


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
