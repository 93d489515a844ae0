"""Sequence numbers put into messages and acknowledgments."""

from __future__ import annotations

import pytest

from medagent_hl7.framing import encode_frame
from medagent_hl7.numbering import has_content, with_expected_number, with_sequence_number


@pytest.mark.parametrize(
    ("text", "numbered"),
    [
        ("MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5\rPID|1", "MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5|42\rPID|1"),
        ("MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5|7||AL\rPID|1\r", "MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5|42||AL\rPID|1\r"),
        ("MSH#*~\\&#A\rPID#7", "MSH#*~\\&#A##########42\rPID#7"),
        ("MSH", "MSH"),
    ],
)
def test_sequence_number(text: str, numbered: str) -> None:
    assert with_sequence_number(text, 42) == numbered


@pytest.mark.parametrize(
    ("acknowledgment", "expected"),
    [
        (b"MSH|^~\\&|A\rMSA|AA|1\r", b"MSH|^~\\&|A\rMSA|AA|1||7\r"),
        (b"MSH|^~\\&|A\rMSA|AR|1|no|3|x\rERR|", b"MSH|^~\\&|A\rMSA|AR|1|no|7|x\rERR|"),
        (b"MSH#^~\\&#A\rMSA#AA#1", b"MSH#^~\\&#A\rMSA#AA#1##7"),
        (b"MSH|^~\\&|A\r", b"MSH|^~\\&|A\r"),
        (
            encode_frame(b"\x06") + encode_frame(b"MSH|\rMSA|AA|1\r"),
            encode_frame(b"\x06") + encode_frame(b"MSH|\rMSA|AA|1||7\r"),
        ),
    ],
)
def test_expected_number(acknowledgment: bytes, expected: bytes) -> None:
    assert with_expected_number(acknowledgment, 7) == expected


@pytest.mark.parametrize(
    ("others", "content"),
    [
        (b"", False),
        (b"\r", False),
        (b"\rEVN||\rPID|^^^||\r", False),
        (b"\r\nEVN|", False),
        (b"\rPID|1\r", True),
        (b"\nPID|||4", True),
    ],
)
def test_content(others: bytes, content: bool) -> None:
    assert has_content(b"MSH|^~\\&|A|B" + others) is content
