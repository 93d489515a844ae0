"""The text that is forwarded, and what is said about what cannot be read."""

from __future__ import annotations

import logging

import pytest

from medagent.config.model import Value
from medagent.listening import Notices
from medagent_hl7.message import Header
from medagent_hl7.reading import TextReader
from medagent_hl7.settings import Hl7Settings


def reader(**parameters: Value) -> TextReader:
    return TextReader(Hl7Settings.from_parameters(parameters), Notices(logging.getLogger("medagent.channel.lab"), "lab"))


def read(texts: TextReader, character_set: str, name: bytes, remote: str = "10.0.0.7:41022") -> str:
    body = f"MSH|^~\\&|LAB||EHR||20260105||ADT^A01|1|P|2.5||||||{character_set}\rPID|".encode() + name
    return texts.read(Header.parse(body), body, remote).rpartition("|")[2]


@pytest.mark.parametrize(
    ("invalid_text", "expected"),
    [("pass", "M\u00fcller"), ("replace", "M\ufffdller"), ("reject", "M\u00fcller")],
)
def test_invalid_text(invalid_text: str, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    texts = reader(invalidText=invalid_text)
    assert read(texts, "UNICODE UTF-8", b"M\xfcller") == expected
    assert caplog.messages == [
        "channel lab: message not valid in its character set: utf-8 expected, from 10.0.0.7:41022 (1 so far)"
    ]


def test_unknown_name_is_read_by_the_channel_with_one_warning_for_each_sender_and_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts = reader(encoding="CP1252")
    for character_set in ("klingon", "klingon", "Muster^Erika"):
        for remote in ("10.0.0.7:41022", "10.0.0.7:41023", "10.0.0.8:5"):
            assert read(texts, character_set, b"M\xfcller", remote) == "Müller"
    warning = "channel lab: unknown character set in MSH-18: read as cp1252, from "
    assert caplog.messages == [f"{warning}{sender}" for sender in ("10.0.0.7", "10.0.0.8") * 2]


@pytest.mark.parametrize("character_set", ["", "8859/1", "~ISO IR87", "UNICODE UTF-16"])
def test_known_names_are_no_warning(character_set: str, caplog: pytest.LogCaptureFixture) -> None:
    assert read(reader(), character_set, b"Muller") == "Muller"
    assert caplog.messages == []
