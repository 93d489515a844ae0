"""Reading MSH and MSA without a tree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.message import Header, Hl7Error, msa, with_msa_control_id

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


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_header_of_a_wide_message(codec: str, mark: str) -> None:
    header = Header.parse((mark + MESSAGE.decode().replace("NORTH", "ŁÓDŹ")).encode(codec))
    assert (header.evident_codec, header.wide_codec) == (codec, codec)
    assert header.control_id == "L-0001"
    assert header.sending_facility.encode("latin-1").decode("utf-8") == "ŁÓDŹ"


def test_what_the_first_bytes_show() -> None:
    assert Header.parse(MESSAGE).evident_codec is None
    marked = Header.parse(b"\xef\xbb\xbf" + MESSAGE)
    assert (marked.evident_codec, marked.wide_codec) == ("utf-8", None)


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
        ("PID|1\r".encode("utf-16"), 100),
        ("MSH|LAB\r".encode("utf-16"), 101),
        ("MSH|^~\\&|LAB\r".encode("utf-16-le") + b"\0", 102),
        ("MSH|^~\\&|LAB\r".encode("utf-16-be") + b"\xd8\0", 102),
        ("MSH|^~\\&|LAB\r".encode("utf-32-le") + b"\xff\xff\xff\xff", 102),
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
        "MSH|^~\\&|LAB||||||ADT^A01|17\r".encode("utf-16") + b"\0",
        ("MSH|^~\\&|LAB||||||ADT^A01|17\r" + "x" * 10_000).encode("utf-32-be") + b"\xff",
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
        ("MSH|^~\\&|EHR\rMSA\rMSA|CA|77\r", ("CA", "77")),
        ("MSH|^~\\&|EHR\rPID|MSA|AA|1\r", None),
        ("MSA|AA|1\r", None),
        ("Bot execution logs:\n", None),
    ],
)
def test_msa(message: str | bytes, expected: tuple[str, str] | None) -> None:
    assert msa(message) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"MSH|^~\\&|EHR\rMSA|AA|?|OK\rERR|1\r", b"MSH|^~\\&|EHR\rMSA|AA|\xe4|OK\rERR|1\r"),
        (b"MSH|^~\\&|EHR\nMSA|AA|?", b"MSH|^~\\&|EHR\nMSA|AA|\xe4"),
        (b"MSH|^~\\&|EHR\rMSA|AA\r", b"MSH|^~\\&|EHR\rMSA|AA\r"),
        (b"MSH|^~\\&|EHR\rPID|MSA|AA|?\r", b"MSH|^~\\&|EHR\rPID|MSA|AA|?\r"),
    ],
)
def test_replaces_the_control_id_of_the_acknowledged(message: bytes, expected: bytes) -> None:
    assert with_msa_control_id(message, "\xe4") == expected


def test_only_the_fields_of_a_header_are_kept() -> None:
    header = Header.parse(b"MSH|^~\\&|A|B|C|D|20260101||ADT^A01|M1|P|2.5" + b"|x" * 100_000)
    assert (header.control_id, header.field(25), header.field(26)) == ("M1", "x", "")


@pytest.mark.parametrize("acknowledgment", ["MSH\rMSA\rx", "MSH\nMSA\nx", "MSH", "MSH|^~\\&\rMSA|"])
def test_a_broken_acknowledgment_is_none(acknowledgment: str) -> None:
    assert msa(acknowledgment) in (None, ("", ""))


def test_a_header_without_encoding_characters_is_answered() -> None:
    header = Header.salvage(b"MSH||LAB|HOSP|EHR|HOSP|20260101||ADT^A01|M1|P|2.5\r")
    assert header is not None
    assert header.control_id == "M1"


def test_an_explicit_null_is_no_sequence_number() -> None:
    assert [Header.parse(b"MSH|^~\\&|||||||ADT|1|P|2.5|" + field).sequence_number for field in (b'""', b"7")] == ["", "7"]


def test_long_fields_are_not_taken_apart_to_the_end() -> None:
    header = Header.parse(b"MSH|^~\\&|||||||ADT^A01" + b"^" * 100_000 + b"|1|P|2.5||||||" + b"~" * 100_000)
    assert len(header.components(9)) == len(header.character_sets) == 25
    assert (header.message_type, header.trigger_event) == ("ADT", "A01")
    assert msa(b"MSH|^~\\&\rMSA|AA|7" + b"|" * 100_000) == ("AA", "7")
    assert with_msa_control_id(b"MSH|^~\\&\rMSA|AA|7|a|b|c", "8") == b"MSH|^~\\&\rMSA|AA|8|a|b|c"
