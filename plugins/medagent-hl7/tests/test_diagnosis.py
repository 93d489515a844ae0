"""What bytes look like, without their content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.diagnosis import kind_of, outline


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x16\x03\x01\x02\x00", "TLS"),
        (b"GET / HTTP/1.1", "HTTP"),
        (b"MSH|^~\\&|LAB", "HL7 without a start block"),
        (b"FHS|^~\\&|LAB", "HL7 without a start block"),
        (b"hello\tworld", "text"),
        (b"\xff\x00", "binary"),
        ("Grüße".encode(), "binary"),
    ],
)
def test_kind(data: bytes, kind: str) -> None:
    assert kind_of(data) == kind


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"MSH|^~\\&|LAB\r", "begins with MSH, ends with CR"),
        (b"\xef\xbb\xbfMSH|\n", "begins with MSH, ends with LF"),
        (b"BHS|\x1c", "begins with BHS, ends with the end block, whose carriage return is missing"),
        (b"\x16\x03\x01", "begins with TLS, ends inside a segment"),
    ],
)
def test_outline(data: bytes, words: str) -> None:
    assert outline(data) == words


@given(st.binary())
def test_words_hold_nothing_of_the_content(data: bytes) -> None:
    assert outline(b"MSH|" + data + b"x") == "begins with MSH, ends inside a segment"
