"""Reading the MSH segment (and MSA) of an HL7 v2 message without building a tree (HL7 v2.5.1, chapter 2.15).

Fields are read as latin-1, in which every byte is one character, so that an echoed field holds the very bytes of the
sender. The data of a message has its own character set: see `medagent_hl7.charset`.
"""

from __future__ import annotations

import re

from medagent.errors import MedagentError

BOM = b"\xef\xbb\xbf"
_DEFAULT_ENCODING_CHARACTERS = "^~\\&"
# the longer marks first: one begins like another
_WIDE_MARKS = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_FURTHER_SEGMENT = re.compile(rb"\r[ \t\0]*[Mm][Ss][AaHh]")
_WIDE_CODECS = tuple(codec for _, codec in _WIDE_MARKS)
_ANY_MSH = re.compile(rb"(?:^|[\r\n])(?:\xef\xbb\xbf)?[ \t\0]*MSH", re.IGNORECASE)
SEARCHED_BYTES = 4096
"""How far into a body that is no message things are looked for."""
_MSA_CONTROL_ID = 2
_PADDING = "\ufeff\xef\xbb\xbf \t\r\n\0"
_ANY_MSA = re.compile(r"[\r\n][ \t\0]*MSA([^\w\s])([^\r\n]{0,20})", re.IGNORECASE)
_SECOND_MSA = re.compile(r"[^\r\n]*[\r\n]+[ \t\0]*MSA([^\w\s])([^\r\n]{0,20})", re.IGNORECASE)


def is_plain(body: bytes) -> bool:
    """Whether a body is one message for certain, without an MSA, as almost all are: one look at it for several questions."""
    return body.startswith(b"MSH") and b"\n" not in body and _FURTHER_SEGMENT.search(body) is None


class Hl7Error(MedagentError):
    """The message cannot be read as HL7 v2. The text holds nothing of the message's content."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        """Of table 0357, such as 100, segment sequence error."""


_FIELDS_OF_MSH = 25
"""The last field of any version is MSH-25 (2.8 and later); MSH-1 is the separator itself."""
_LAST_ECHOED = 19
_MOST_PARTS = 25
"""More components or repetitions than any field of MSH has."""


class Header:
    """The MSH segment of one message."""

    __slots__ = ("_fields", "encoding_characters", "evident_codec", "field_separator")

    def __init__(
        self, fields: list[str], field_separator: str, encoding_characters: str, evident_codec: str | None = None
    ) -> None:
        self._fields = fields
        self.field_separator = field_separator
        """MSH-1."""
        self.encoding_characters = encoding_characters
        """MSH-2 as sent: component, repetition, escape and subcomponent separator, and from 2.7 on truncation."""
        self.evident_codec = evident_codec
        """What the first bytes show whatever MSH-18 says: `utf-8` by its byte order mark, UTF-16 or UTF-32; else None."""

    @classmethod
    def parse(cls, body: bytes) -> Header:
        """Read the MSH segment of `body`, which may begin with a byte order mark and end segments with CR, LF or both.

        The fields of a message in UTF-16 or UTF-32 hold its UTF-8. Raises `Hl7Error` if `body` does not begin with a usable
        MSH segment, or is not valid in these two.
        """
        begin = 3 if body.startswith(BOM) else 0
        if not body.startswith(b"MSH", begin):
            wide = _wide_codec(body)
            if wide is not None:
                return cls._parse_wide(body, wide, "strict")
            raise Hl7Error(100, "The message does not begin with MSH")
        end = body.find(b"\r", begin)
        line_feed = body.find(b"\n", begin, end) if end >= 0 else body.find(b"\n", begin)
        if line_feed >= 0:
            end = line_feed
        segment = (body[begin:end] if end >= 0 else body[begin:]).decode("latin-1")
        separator = segment[3:4]
        if not separator or separator.isalnum() or separator <= " ":
            raise Hl7Error(101, "MSH-1 is no field separator")
        # a whole message without line ends is one "segment": only the fields that a header has are kept
        fields = segment.split(separator, _FIELDS_OF_MSH)[:_FIELDS_OF_MSH]
        encoding_characters = fields[1]
        if not 1 <= len(encoding_characters) <= 5 or encoding_characters[0].isalnum():
            raise Hl7Error(101, "MSH-2 does not hold the encoding characters")
        return cls(fields, separator, encoding_characters, "utf-8" if begin else None)

    @classmethod
    def _parse_wide(cls, body: bytes, codec: str, errors: str) -> Header:
        try:
            text = body.decode(codec, errors)
        except UnicodeError:
            raise Hl7Error(102, f"The message is not valid {codec[:6].upper()}") from None
        header = cls.parse(text.removeprefix("\ufeff").encode("utf-8", errors="replace"))
        header.evident_codec = codec
        return header

    @classmethod
    def salvage(cls, body: bytes) -> Header | None:
        """Find a header to answer with in a body that is refused: also a padded or lower-case MSH, or one inside a batch.

        Only the first 4096 bytes are looked at.
        """
        found = _ANY_MSH.search(body, 0, SEARCHED_BYTES)
        wide = _wide_codec(body) if found is None else None
        try:
            if wide is not None:
                return cls._parse_wide(body[:SEARCHED_BYTES], wide, "replace")
            if found is None:
                return None
            head = body[found.end() : SEARCHED_BYTES]
            try:
                return cls.parse(b"MSH" + head)
            except Hl7Error:
                separator = head[:1]
                # the rest of the header can be good although MSH-2 is not
                _, _, rest = head[1:].partition(separator)
                return cls.parse(b"MSH" + separator + b"^~\\&" + separator + rest)
        except (Hl7Error, ValueError):
            return None

    @classmethod
    def of_echoed(cls, field_separator: str, encoding_characters: str, echoed: tuple[str, ...]) -> Header:
        """A header with these fields, as of `echoed`, and no others."""
        fields = ["MSH", encoding_characters, *echoed[:4], "", "", echoed[4], "", *echoed[5:7], "", "", "", "", *echoed[7:]]
        return cls(fields, field_separator, encoding_characters)

    def echoed(self) -> tuple[str, ...]:
        """The fields that an acknowledgment depends on: MSH-3 to MSH-6, MSH-9, MSH-11, MSH-12 and MSH-17 to MSH-19."""
        fields = self._fields
        if len(fields) < _LAST_ECHOED:
            fields = fields + [""] * (_LAST_ECHOED - len(fields))
        return (*fields[2:6], fields[8], fields[10], fields[11], *fields[16:_LAST_ECHOED])

    def field(self, number: int) -> str:
        """MSH-`number` (from 3 on) as sent; "" if it is missing."""
        return self._fields[number - 1] if number <= len(self._fields) else ""

    def components(self, number: int) -> list[str]:
        """The components of the first repetition of MSH-`number`, 25 at most."""
        field = self.field(number)
        repetition = self.repetition_separator
        if repetition in field:
            field = field.split(repetition, 1)[0]
        # bounded: a field may be as long as a message
        return field.split(self.encoding_characters[0], _MOST_PARTS)[:_MOST_PARTS]

    def component(self, number: int, position: int) -> str:
        """Component `position` (from 1) of the first repetition of MSH-`number`; "" if it is missing."""
        components = self.components(number)
        return components[position - 1] if position <= len(components) else ""

    @property
    def wide_codec(self) -> str | None:
        """The codec of a message in UTF-16 or UTF-32; None for one whose delimiters read as ASCII."""
        return self.evident_codec if self.evident_codec != "utf-8" else None

    @property
    def component_separator(self) -> str:
        return self.encoding_characters[0]

    @property
    def repetition_separator(self) -> str:
        return self._encoding_character(1)

    @property
    def escape_character(self) -> str:
        return self._encoding_character(2)

    @property
    def subcomponent_separator(self) -> str:
        return self._encoding_character(3)

    def _encoding_character(self, index: int) -> str:
        characters = self.encoding_characters
        return characters[index] if index < len(characters) else _DEFAULT_ENCODING_CHARACTERS[index]

    @property
    def sending_application(self) -> str:
        """MSH-3."""
        return self.field(3)

    @property
    def sending_facility(self) -> str:
        """MSH-4."""
        return self.field(4)

    @property
    def receiving_application(self) -> str:
        """MSH-5."""
        return self.field(5)

    @property
    def receiving_facility(self) -> str:
        """MSH-6."""
        return self.field(6)

    @property
    def date_time(self) -> str:
        """MSH-7."""
        return self.field(7)

    @property
    def message_type(self) -> str:
        """MSH-9.1, such as `ADT`."""
        return self.component(9, 1)

    @property
    def trigger_event(self) -> str:
        """MSH-9.2, such as `A01`."""
        return self.component(9, 2)

    @property
    def message_structure(self) -> str:
        """MSH-9.3, such as `ADT_A01`."""
        return self.component(9, 3)

    @property
    def control_id(self) -> str:
        """MSH-10, byte for byte."""
        return self.field(10)

    @property
    def processing_id(self) -> str:
        """MSH-11."""
        return self.field(11)

    @property
    def version(self) -> str:
        """MSH-12.1, such as `2.5.1`."""
        return self.component(12, 1)

    @property
    def sequence_number(self) -> str:
        """MSH-13; "" also for the explicit null."""
        number = self.field(13)
        return "" if number == '""' else number

    @property
    def accept_acknowledgment_type(self) -> str:
        """MSH-15."""
        return self.field(15)

    @property
    def application_acknowledgment_type(self) -> str:
        """MSH-16."""
        return self.field(16)

    @property
    def character_sets(self) -> list[str]:
        """The repetitions of MSH-18; the first is the message's default."""
        return self.field(18).split(self.repetition_separator, _MOST_PARTS)[:_MOST_PARTS]


def _wide_codec(body: bytes) -> str | None:
    """The codec of a body in UTF-16 or UTF-32 that begins with a byte order mark, MSH or both."""
    for mark, codec in _WIDE_MARKS:
        if body.startswith(mark):
            return codec
    return next((codec for codec in _WIDE_CODECS if body.startswith("MSH".encode(codec))), None)


def msa(message: str | bytes) -> tuple[str, str] | None:
    """Acknowledgment code (MSA-1) and control ID of the acknowledged message (MSA-2); None if there is no MSA segment.

    Bytes are read as latin-1.
    """
    codec = "latin-1" if isinstance(message, bytes) else "utf-8"
    data = message if isinstance(message, bytes) else message.encode(codec, "surrogatepass")
    found = _find_msa(data)
    if found is None:
        return None
    begin, end = found
    segment = data[begin:end].decode(codec, "surrogatepass")
    _, code, control_id, *_ = [*segment.split(segment[3], _MSA_CONTROL_ID + 1), ""]
    return code, control_id


def msa_code(message: str | bytes, *, second: bool = False) -> str | None:
    """MSA-1 of the first MSA segment, read leniently: padded, in any case, after whatever; None if there is no MSA segment.

    `second`: only of one that follows the first segment. For questions where an acknowledgment may not be overlooked.
    """
    text = message.decode("latin-1") if isinstance(message, bytes) else message
    found = _SECOND_MSA.match(text.lstrip(_PADDING)) if second else _ANY_MSA.search(text)
    return None if found is None else found[2].split(found[1], 1)[0].strip().upper()


def with_msa_control_id(message: bytes, control_id: str) -> bytes:
    """Replace MSA-2 by `control_id`, each character a byte, and keep every other byte; unchanged without an MSA-2."""
    found = _find_msa(message)
    if found is None:
        return message
    begin, end = found
    separator = message[begin + 3 : begin + 4]
    fields = message[begin:end].split(separator, _MSA_CONTROL_ID + 1)
    if len(fields) <= _MSA_CONTROL_ID:
        return message
    fields[_MSA_CONTROL_ID] = control_id.encode("latin-1")
    return message[:begin] + separator.join(fields) + message[end:]


def _find_msa(message: bytes) -> tuple[int, int] | None:
    """Where the MSA segment begins and ends, its line end not included."""
    msh = message.find(b"MSH", 0, 6)
    if msh < 0:
        return None
    separator = message[msh + 3 : msh + 4]
    if not separator or separator in b"\r\n":
        return None
    for line_end in (b"\r", b"\n"):
        # a single byte is found many times as fast as a text, and few messages have line feeds
        begin = message.find(line_end + b"MSA" + separator) + 1 if line_end in message else 0
        if begin:
            ends = (message.find(b"\r", begin), message.find(b"\n", begin))
            return begin, min((end for end in ends if end >= 0), default=len(message))
    return None
