"""Reading headers and building acknowledgments, against two HL7 libraries that others wrote: `hl7` and `hl7apy`.

Over the samples of this plugin, and over public messages where they lie beside the checkout.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# neither library has types
from typing import Any

import pytest

from medagent.testing.shared import corpus
from medagent_hl7 import samples
from medagent_hl7.acknowledgment import build
from medagent_hl7.message import Header

NOW = "20260105101500+0100"
ECHOED = (3, 4, 5, 6, 11, 12)
TEXT = "No: 5 | 4 & ^"
CODES = ("AA", "AE", "AR", "CA", "CE", "CR")


def bodies() -> Iterator[tuple[str, bytes]]:
    for sample in samples.load():
        yield sample.name, sample.body
    folder = corpus() or Path("missing")
    for path in sorted(folder.glob("*.hl7")):
        yield path.name, path.read_bytes()


MESSAGES = dict(bodies())


def as_text(body: bytes) -> str:
    """What a library gets that knows no bytes, marks or line feeds: each byte a character."""
    return body.decode("latin-1").removeprefix("\xef\xbb\xbf").replace("\r\n", "\r").replace("\n", "\r")


def acknowledge(body: bytes, code: str) -> bytes:
    error_code = None if code.endswith("A") else 207
    return build(Header.parse(body), code, TEXT, now=NOW, control_id_of_ack="77", error_code=error_code)


def test_public_messages_are_among_them() -> None:
    if corpus() is None:
        pytest.skip("the public sample messages are not beside this checkout")
    assert len(MESSAGES) > 70


@pytest.mark.parametrize("name", MESSAGES)
def test_header_agrees_with_hl7(name: str) -> None:
    hl7 = pytest.importorskip("hl7")
    segment = hl7.parse(as_text(MESSAGES[name])).segment("MSH")
    header = Header.parse(MESSAGES[name])
    assert (header.field_separator, header.encoding_characters) == (str(segment(1)), str(segment(2)))
    count = len(str(segment).split(header.field_separator))
    assert count >= 12
    for number in range(3, count + 1):
        assert header.field(number) == str(segment(number)), number
    parts = [str(part) for part in segment(9)[0]]
    assert [header.message_type, header.trigger_event, header.message_structure][: len(parts)] == parts


@pytest.mark.parametrize("name", MESSAGES)
def test_acknowledgment_agrees_with_hl7(name: str) -> None:
    hl7 = pytest.importorskip("hl7")
    message = hl7.parse(as_text(MESSAGES[name]))
    for code in CODES:
        compare(hl7.parse(as_text(acknowledge(MESSAGES[name], code))), message.create_ack(code))


# the library's messages
def compare(ours: Any, theirs: Any) -> None:
    for number in (1, 2, *ECHOED):
        assert str(ours.segment("MSH")(number)) == str(theirs.segment("MSH")(number)), number
    # it writes ACK^A01^ACK whatever the version is
    message_type = str(ours.segment("MSH")(9))
    assert message_type in (str(theirs.segment("MSH")(9)), str(theirs.segment("MSH")(9)).removesuffix("^ACK"))
    for number in (1, 2):
        assert str(ours.segment("MSA")(number)) == str(theirs.segment("MSA")(number)), number
    assert len(ours.segments("MSA")[0]) == 4
    assert ours.unescape(str(ours.segment("MSA")(3))) == TEXT


def test_header_agrees_with_hl7apy() -> None:
    hl7apy = Hl7apy()
    compared = 0
    for name, body in MESSAGES.items():
        header = Header.parse(body)
        segments = hl7apy.segments(as_text(body), 1)
        if segments is not None:
            compared += 1
            for number in (*ECHOED, 9, 10):
                # it leaves out empty components at the end
                assert header.field(number).rstrip("^") == hl7apy.field(segments[0], number), (name, number)
    assert compared > len(MESSAGES) // 2


def test_acknowledgment_is_read_by_hl7apy() -> None:
    hl7apy = Hl7apy()
    compared = 0
    for name, body in MESSAGES.items():
        asked = Header.parse(body)
        for code in CODES:
            segments = hl7apy.segments(as_text(acknowledge(body, code)), 2)
            if segments is not None:
                compared += 1
                msh, msa = segments
                for number, echoed in ((3, 5), (4, 6), (5, 3), (6, 4), (11, 11)):
                    assert hl7apy.field(msh, number) == asked.field(echoed).rstrip("^"), (name, number)
                assert hl7apy.field(msh, 9).startswith("ACK")
                assert hl7apy.field(msh, 10) == "77"
                assert (hl7apy.field(msa, 1), hl7apy.field(msa, 2)) == (code, asked.control_id), name
    assert compared > len(MESSAGES) * len(CODES) // 2


class Hl7apy:
    """That library; skips the test where it is not installed."""

    def __init__(self) -> None:
        self._parser = pytest.importorskip("hl7apy.parser")
        self._errors = pytest.importorskip("hl7apy.exceptions").HL7apyException

    # the library's segments
    def segments(self, text: str, count: int) -> list[Any] | None:
        """The first segments of a message; None for one that it refuses, such as of a version that it does not know."""
        try:
            encoding_characters, _, version = self._parser.get_message_info(text)
            return [
                self._parser.parse_segment(segment, version, encoding_characters) for segment in text.split("\r", count)[:count]
            ]
        except self._errors:
            return None

    # as above
    def field(self, segment: Any, number: int) -> str:
        return str(getattr(segment, f"{segment.name}_{number}".lower()).to_er7())
