"""Reading the MSH segment (and MSA) of an HL7 v2 message without building a tree (HL7 v2.5.1, chapter 2.15).

Fields are read as latin-1, in which every byte is one character, so that an echoed field holds the very bytes of the
sender. The data of a message has its own character set: see `medagent_hl7.charset`.
"""

from __future__ import annotations

import re

from medagent.errors import MedagentError

BOM = b"\xef\xbb\xbf"
_DEFAULT_ENCODING_CHARACTERS = "^~\\&"
_ANY_MSH = re.compile(rb"(?:^|[\r\n])(?:\xef\xbb\xbf)?[ \t\0]*MSH", re.IGNORECASE)
_SEARCHED_BYTES = 4096


class Hl7Error(MedagentError):
    """The message cannot be read as HL7 v2. The text holds nothing of the message's content."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        """Of table 0357, such as 100, segment sequence error."""


class Header:
    """The MSH segment of one message."""

    __slots__ = ("_fields", "encoding_characters", "field_separator")

    def __init__(self, fields: list[str], field_separator: str, encoding_characters: str) -> None:
        self._fields = fields
        self.field_separator = field_separator
        """MSH-1."""
        self.encoding_characters = encoding_characters
        """MSH-2 as sent: component, repetition, escape and subcomponent separator, and from 2.7 on truncation."""

    @classmethod
    def parse(cls, body: bytes) -> Header:
        """Read the MSH segment of `body`, which may begin with a byte order mark and end segments with CR, LF or both.

        Raises `Hl7Error` if `body` does not begin with a usable MSH segment.
        """
        begin = 3 if body.startswith(BOM) else 0
        if not body.startswith(b"MSH", begin):
            raise Hl7Error(100, "The message does not begin with MSH")
        end = body.find(b"\r", begin)
        line_feed = body.find(b"\n", begin, end) if end >= 0 else body.find(b"\n", begin)
        if line_feed >= 0:
            end = line_feed
        segment = (body[begin:end] if end >= 0 else body[begin:]).decode("latin-1")
        separator = segment[3:4]
        if not separator or separator.isalnum() or separator <= " ":
            raise Hl7Error(101, "MSH-1 is no field separator")
        fields = segment.split(separator)
        encoding_characters = fields[1]
        if not 1 <= len(encoding_characters) <= 5 or encoding_characters[0].isalnum():
            raise Hl7Error(101, "MSH-2 does not hold the encoding characters")
        return cls(fields, separator, encoding_characters)

    @classmethod
    def salvage(cls, body: bytes) -> Header | None:
        """Find a header to answer with in a body that is refused: also a padded or lower-case MSH, or one inside a batch.

        Only the first 4096 bytes are looked at.
        """
        found = _ANY_MSH.search(body, 0, _SEARCHED_BYTES)
        if found is None:
            return None
        try:
            return cls.parse(b"MSH" + body[found.end() : _SEARCHED_BYTES])
        except Hl7Error:
            return None

    def field(self, number: int) -> str:
        """MSH-`number` (from 3 on) as sent; "" if it is missing."""
        return self._fields[number - 1] if number <= len(self._fields) else ""

    def components(self, number: int) -> list[str]:
        """The components of the first repetition of MSH-`number`."""
        field = self.field(number)
        repetition = self.repetition_separator
        if repetition in field:
            field = field.split(repetition, 1)[0]
        return field.split(self.encoding_characters[0])

    def component(self, number: int, position: int) -> str:
        """Component `position` (from 1) of the first repetition of MSH-`number`; "" if it is missing."""
        components = self.components(number)
        return components[position - 1] if position <= len(components) else ""

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
        """MSH-13."""
        return self.field(13)

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
        return self.field(18).split(self.repetition_separator)


def msa(message: str | bytes) -> tuple[str, str] | None:
    """Acknowledgment code (MSA-1) and control ID of the acknowledged message (MSA-2); None if there is no MSA segment.

    Bytes are read as latin-1.
    """
    text = message.decode("latin-1") if isinstance(message, bytes) else message
    begin = text.find("MSH", 0, 6)
    if begin < 0:
        return None
    separator = text[begin + 3 : begin + 4]
    for line_end in "\r\n":
        found = text.find(f"{line_end}MSA{separator}")
        if found >= 0:
            segment = text[found + 1 :].split("\r", 1)[0].split("\n", 1)[0]
            _, code, control_id, *_ = [*segment.split(separator), ""]
            return code, control_id
    return None
