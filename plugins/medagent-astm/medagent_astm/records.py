"""Messages of records (ASTM E1394, CLSI LIS02-A2): found in the texts of a transmission, read as far as a channel needs. Pure.

A message is a header record (H) and what follows, up to a terminator record (L); each record ends with CR.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ENDS = b"\r\n"
_END = re.compile(rb"[\r\n]")
_HEADER = b"Hh"
_FULL_HEADER = re.compile(r"H([!-/:-@\[-`{-~])[!-/:-@\[-`{-~]{3}(\1|[\r\n]|$)", re.IGNORECASE)
_TERMINATOR = b"Ll"
_SEPARATORS = range(0x21, 0x7F)
"""What may separate fields: a printable character that is neither letter nor digit."""
LONGEST_NAME = 200
"""Characters of a control ID that count: senders choose it."""


class Unusable(Exception):
    """What has come can never be accepted; the text says why, without content."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a header record says."""

    control_id: str
    """H-3; "" if there is none."""
    sender: str
    """H-5; "" if there is none."""


def is_message(data: bytes) -> bool:
    """Whether this begins with a header record."""
    return data[:1] in (b"H", b"h") and len(data) > 1 and data[1] in _SEPARATORS and not chr(data[1]).isalnum()


def is_complete_header(text: str) -> bool:
    """Whether a text begins with a header record and all four delimiters, such as `H|\\^&|`: no other text does."""
    return _FULL_HEADER.match(text) is not None


def read_header(message: bytes) -> Header:
    """Read the first record of a message; the character behind H separates its fields (H-2)."""
    record = message[: _end_of_record(message, 0)]
    fields = record.split(record[1:2], 5) if is_message(record) else []

    def field(number: int) -> str:
        # whatever the encoding is: other bytes are another name
        return fields[number - 1].decode("ascii", "backslashreplace").strip()[:LONGEST_NAME] if len(fields) >= number else ""

    return Header(control_id=field(3), sender=field(5))


def records(text: str) -> list[str]:
    """The records of a message, without what ends them."""
    return [record for record in text.replace("\n", "\r").split("\r") if record]


def _end_of_record(data: bytes | bytearray, start: int) -> int:
    """Where the record ends that begins at `start`: at the first CR or LF, or at the end of the data."""
    found = _END.search(data, start)
    return found.start() if found else len(data)


class Assembly:
    """Puts the texts of one transmission together, and finds the messages in them.

    What the last text has added can be taken back, for a text whose acknowledgment is refused and that comes again.
    """

    def __init__(self, longest: int, *, needs_terminator: bool = True) -> None:
        """`longest`: bytes of a message. Without `needs_terminator` the next header record ends a message too."""
        self._longest = longest
        self._needs_terminator = needs_terminator
        self._data = bytearray()
        """From the beginning of the message that is not complete."""
        self._scanned = 0
        """Where in `_data` the record begins that has not ended."""
        self._before = (0, 0)
        """The length of `_data` before the last text, and `_scanned`."""
        self._complete = 0
        """How much of `_data` the last text has completed."""
        self.dropped = 0
        """Messages that the last text has ended without an L record, by beginning another, and that are needed with one."""

    @property
    def held(self) -> int:
        """Bytes of messages that are not complete."""
        return len(self._data)

    def add(self, text: bytes, *, last: bool) -> list[bytes]:
        """A text, or a part of one if not `last`; gives the messages that it completes, in order.

        `confirm` or `take_back` must follow. Raises `Unusable`, with the text already taken back.
        """
        self._before = len(self._data), self._scanned
        self._complete = self.dropped = 0
        self._data += text
        if last and self._data and self._data[-1] not in _ENDS:
            # analysers that send one record a frame may leave out its CR
            self._data += b"\r"
        try:
            return self._find()
        except Unusable:
            self.take_back()
            raise

    def confirm(self) -> None:
        """What `add` gave is taken care of."""
        del self._data[: self._complete]
        self._scanned -= self._complete
        self._before, self._complete = (0, 0), 0

    def take_back(self) -> None:
        """Forget the last text: it comes again."""
        length, self._scanned = self._before
        del self._data[length:]
        self._complete = 0

    def left_over(self) -> bytes:
        """What the end of a transmission has left without its L record, or b""; the next one begins anew."""
        rest = bytes(self._data).strip(_ENDS)
        self._data.clear()
        self._scanned, self._before, self._complete = 0, (0, 0), 0
        return rest + b"\r" if rest else b""

    def _find(self) -> list[bytes]:
        data, messages, start, at = self._data, [], 0, self._scanned
        while True:
            if at == start:
                # between two messages
                while at < len(data) and data[at] in _ENDS:
                    at += 1
                start = at
                if len(data) - start > 1 and not is_message(bytes(data[start : start + 2])):
                    raise Unusable("it does not begin with a header record")
            # what came before the last text holds no end of the record that is open
            end = _end_of_record(data, max(at, self._before[0]))
            if end == len(data):
                break
            if data[at] in _HEADER and at > start and is_message(bytes(data[at : at + 2])):
                if self._needs_terminator:
                    self.dropped += 1
                else:
                    messages.append(bytes(data[start:at]))
                start = at
            elif data[at] in _TERMINATOR and (end == at + 1 or data[at + 1] == data[start + 1]):
                messages.append(bytes(data[start : end + 1]))
                start = end + 1
            at = end + 1
        if len(data) - start > self._longest or any(len(message) > self._longest for message in messages):
            raise Unusable(f"it is longer than {self._longest} bytes")
        self._complete, self._scanned = start, at
        return messages


def texts(message: str, encoding: str, *, by_record: bool) -> Sequence[bytes]:
    """The texts of a transmission with this message: one, or one for each record."""
    found = [f"{record}\r".encode(encoding, "replace") for record in records(message)]
    return found if by_record else [b"".join(found)]
