"""Reading MSH and MSA without a tree."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.testing.shared import corpus
from medagent_hl7.message import Header, Hl7Error, msa

MESSAGE = (
    b"MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260105101500+0100||ORU^R01^ORU_R01|L-0001|P|2.5.1|7||AL|NE|DEU|UNICODE UTF-8~ISO IR87\r"
    b"PID|1||4711^^^MAIN||Muster^Erika\r"
)


def test_header_fields() -> None:
    header = Header.parse(MESSAGE)
    assert (header.sending_application, header.sending_facility) == ("LAB", "NORTH")
    assert (header.receiving_application, header.receiving_facility) == ("EHR", "MAIN")
    assert header.date_time == "20260105101500+0100"
    assert (header.message_type, header.trigger_event, header.message_structure) == ("ORU", "R01", "ORU_R01")
    assert (header.control_id, header.processing_id, header.version) == ("L-0001", "P", "2.5.1")
    assert header.sequence_number == "7"
    assert (header.accept_acknowledgment_type, header.application_acknowledgment_type) == ("AL", "NE")
    assert header.character_sets == ["UNICODE UTF-8", "ISO IR87"]
    assert header.field(25) == ""


@pytest.mark.parametrize("segment_end", [b"\r", b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_header_ends_with_its_segment(segment_end: bytes, mark: bytes) -> None:
    body = mark + MESSAGE.replace(b"\r", segment_end)
    header = Header.parse(body)
    assert header.control_id == "L-0001"
    assert header.character_sets == ["UNICODE UTF-8", "ISO IR87"]


def test_header_alone_without_segment_end() -> None:
    assert Header.parse(b"MSH|^~\\&|||||||ADT^A01|17").control_id == "17"


def test_other_delimiters() -> None:
    header = Header.parse(b"MSH#*:!?~#LAB##EHR##20260105##ADT*A01*ADT_A01#9:8#P#2.7*DEU\rPID#1\r")
    assert (header.message_type, header.trigger_event, header.version) == ("ADT", "A01", "2.7")
    assert header.encoding_characters == "*:!?~"
    assert (header.repetition_separator, header.escape_character, header.subcomponent_separator) == (":", "!", "?")
    assert header.control_id == "9:8"


def test_missing_encoding_characters_have_defaults() -> None:
    header = Header.parse(b"MSH|^|LAB\r")
    assert (header.repetition_separator, header.escape_character, header.subcomponent_separator) == ("~", "\\", "&")


@given(st.binary(min_size=1, max_size=20).filter(lambda data: not set(data) & set(b"|\r\n")))
def test_every_byte_of_control_id_survives(control_id: bytes) -> None:
    assert Header.parse(b"MSH|^~\\&|||||||ADT^A01|" + control_id + b"|P\r").control_id.encode("latin-1") == control_id


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 100),
        (b"PID|1\r", 100),
        (b"msh|^~\\&|LAB\r", 100),
        (b" MSH|^~\\&|LAB\r", 100),
        ("MSH|^~\\&|LAB\r".encode("utf-16"), 100),
        (b"MSH", 101),
        (b"MSH\r", 101),
        (b"MSHA^~\\&A\r", 101),
        (b"MSH|", 101),
        (b"MSH||LAB\r", 101),
        (b"MSH|LAB|x\r", 101),
        (b"MSH|^~\\&#^|x\r", 101),
    ],
)
def test_unusable_header_raises(body: bytes, code: int) -> None:
    with pytest.raises(Hl7Error) as caught:
        Header.parse(body)
    assert caught.value.code == code
    assert "LAB" not in str(caught.value)


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"MSH|^~\\&" + tail))
def test_any_bytes_are_a_header_or_an_error(body: bytes) -> None:
    try:
        header = Header.parse(body)
    except Hl7Error:
        Header.salvage(body)
    else:
        assert isinstance(header.message_type + header.version + header.field(18), str)


@pytest.mark.parametrize(
    "body",
    [
        b"  MSH|^~\\&|LAB||||||ADT^A01|17\r",
        b"msh|^~\\&|LAB||||||ADT^A01|17\r",
        b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\rMSH|^~\\&|LAB||||||ADT^A01|17\rPID|1\r",
        b"\xef\xbb\xbf\0MSH|^~\\&|LAB||||||ADT^A01|17\r",
    ],
)
def test_salvage_finds_a_header_to_answer(body: bytes) -> None:
    header = Header.salvage(body)
    assert header is not None
    assert header.control_id == "17"


@pytest.mark.parametrize("body", [b"", b"hello", b"PID|1|MSH|^~\\&\r", b"MSH", b"\rMSHLL\r", b"\n" * 100_000])
def test_salvage_without_header(body: bytes) -> None:
    assert Header.salvage(body) is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("MSH|^~\\&|EHR\rMSA|AA|L-0001|OK\r", ("AA", "L-0001")),
        (b"MSH|^~\\&|EHR\rMSA|AE|\xe4\r", ("AE", "\xe4")),
        (b"\xef\xbb\xbfMSH|^~\\&|EHR\nSFT|x\nMSA|CA|1\nERR|x\n", ("CA", "1")),
        ("\ufeffMSH#^~\\&#EHR\r\nMSA#AR#2\r\n", ("AR", "2")),
        ("MSH|^~\\&|EHR\rMSA|AA", ("AA", "")),
        ("MSH|^~\\&|EHR\rMSA|", ("", "")),
        ("MSH|^~\\&|EHR\rPID|MSA|AA|1\r", None),
        ("MSA|AA|1\r", None),
        ("Bot execution logs:\n", None),
    ],
)
def test_msa(message: str | bytes, expected: tuple[str, str] | None) -> None:
    assert msa(message) == expected


def test_header_agrees_with_the_hl7_package_on_public_samples() -> None:
    folder = corpus()
    if folder is None:
        pytest.skip("the public sample messages are not beside this checkout")
    hl7 = pytest.importorskip("hl7")
    paths = sorted(folder.glob("*.hl7"))
    assert paths
    for path in paths:
        _compare(hl7, path)


def _compare(hl7: ModuleType, path: Path) -> None:
    body = path.read_bytes()
    text = body.decode("latin-1").removeprefix("\xef\xbb\xbf").replace("\r\n", "\r").replace("\n", "\r")
    segment = hl7.parse(text).segment("MSH")
    header = Header.parse(body)
    last = len(str(segment).split(header.field_separator))
    for number in range(3, last + 1):
        assert header.field(number) == str(segment(number)), (path.name, number)
    types = [str(part) for part in segment(9)[0]] if last >= 9 else []
    assert [header.message_type, header.trigger_event][: len(types)] == types[:2], path.name
