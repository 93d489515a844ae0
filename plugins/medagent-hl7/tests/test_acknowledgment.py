"""How acknowledgments are written."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.acknowledgment import _frame_of, build, timestamp
from medagent_hl7.batch import split
from medagent_hl7.batch_answers import Outline
from medagent_hl7.batch_answers import build as build_batch
from medagent_hl7.framing import Frame, FrameDecoder, encode_frame
from medagent_hl7.message import Header, msa

NOW = "20260105101500+0100"


def acknowledge(
    msh: bytes,
    code: str = "CA",
    text: str = "Commit Accept",
    error_code: int | None = None,
    error_field: int | None = None,
    *,
    short_type: bool = False,
) -> list[str]:
    body = build(
        Header.parse(msh),
        code,
        text,
        now=NOW,
        control_id_of_ack="77",
        error_code=error_code,
        error_field=error_field,
        short_type=short_type,
    )
    assert body.endswith(b"\r")
    return body.decode("latin-1").removesuffix("\r").split("\r")


def test_header_is_turned_round() -> None:
    segments = acknowledge(b"MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260101||ADT^A01^ADT_A01|L-1|T|2.5.1|||AL|NE||8859/1\rPID|1\r")
    assert segments == [
        "MSH|^~\\&|EHR|MAIN|LAB|NORTH|20260105101500+0100||ACK^A01^ACK|77|T|2.5.1||||||8859/1",
        "MSA|CA|L-1|Commit Accept",
    ]


@pytest.mark.parametrize(
    ("message_type", "version", "expected"),
    [
        ("ADT^A01", "2.3.1", "ACK^A01"),
        ("ADT^A01", "2.4", "ACK^A01^ACK"),
        ("ADT^A01", "2.10", "ACK^A01^ACK"),
        ("ADT^A01", "", "ACK^A01^ACK"),
        ("ADT^A01", "two", "ACK^A01"),
        ("ADT^A01^ADT_A01", "2.3", "ACK^A01^ACK"),
        ("ADT", "2.5", "ACK"),
        ("", "2.5", "ACK"),
    ],
)
def test_message_type_of_acknowledgment(message_type: str, version: str, expected: str) -> None:
    msh, _ = acknowledge(f"MSH|^~\\&|||||||{message_type}|1|P|{version}\r".encode())
    assert msh.split("|")[8] == expected


def test_missing_fields_have_defaults() -> None:
    assert acknowledge(b"MSH|^~\\&|LAB") == ["MSH|^~\\&|||LAB||20260105101500+0100||ACK|77|P|2.5", "MSA|CA||Commit Accept"]


def test_delimiters_of_the_sender() -> None:
    segments = acknowledge(b"MSH#*:!?#LAB##EHR##2026##ADT*A01*ADT_A01#1#P#2.7*DEU\r", "AR", "Too long: 5 # 4", 100)
    assert segments == [
        "MSH#*:!?#EHR##LAB##20260105101500+0100##ACK*A01*ACK#77#P#2.7*DEU",
        "MSA#AR#1#Too long!R! 5 !F! 4",
        "ERR###100*Segment sequence error*HL70357#E####Too long!R! 5 !F! 4",
    ]


def test_truncation_character_of_the_sender() -> None:
    msh, msa_segment = acknowledge(b"MSH|^~\\&#|LAB||||||ADT^A01|1|P|2.7\r", "AA", "5 # 4")
    assert msh.startswith("MSH|^~\\&#|||LAB|")
    assert msa_segment == "MSA|AA|1|5 \\P\\ 4"
    assert acknowledge(b"MSH|^~\\&|LAB||||||ADT^A01|1|P|2.5\r", "AA", "5 # 4")[1] == "MSA|AA|1|5 # 4"


@pytest.mark.parametrize(
    ("version", "field", "segment"),
    [
        ("2.3", None, "ERR|^^^101&Required field missing&HL70357"),
        ("2.4", 10, "ERR|MSH^1^10^101&Required field missing&HL70357"),
        ("2.5", None, "ERR|||101^Required field missing^HL70357|E||||No"),
        ("2.5.1", 10, "ERR||MSH^1^10|101^Required field missing^HL70357|E||||No"),
        ("", 10, "ERR||MSH^1^10|101^Required field missing^HL70357|E||||No"),
    ],
)
def test_error_segment_by_version(version: str, field: int | None, segment: str) -> None:
    msh = f"MSH|^~\\&|LAB||||||ADT^A01|1|P|{version}\r".encode()
    assert acknowledge(msh, "AE", "No", 101, field)[2] == segment


@pytest.mark.parametrize("code", [100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207])
def test_every_error_of_table_0357_has_its_name(code: int) -> None:
    segment = acknowledge(b"MSH|^~\\&|LAB", "AR", "No", code)[2]
    assert re.fullmatch(rf"ERR\|\|\|{code}\^[A-Z][a-z ]+\^HL70357\|E\|\|\|\|No", segment)


@pytest.mark.parametrize(
    ("tail", "echoed"),
    [
        ("", ""),
        ("|||||DEU", "|||||DEU"),
        ("|||AL|AL||8859/1~ISO IR87", "||||||8859/1~ISO IR87"),
        ("|7||AL|NE|DEU|8859/1|de^German|ISO 2022-1994", "|||||DEU|8859/1|de^German"),
        ("|||||||de", "|||||||de"),
    ],
)
def test_country_character_set_and_language_are_echoed(tail: str, echoed: str) -> None:
    msh, _ = acknowledge(f"MSH|^~\\&|LAB||||||ADT^A01|1|P|2.5{tail}\r".encode())
    assert msh == f"MSH|^~\\&|||LAB||{NOW}||ACK^A01^ACK|77|P|2.5{echoed}"


def test_short_message_type() -> None:
    msh, _ = acknowledge(b"MSH|^~\\&|LAB||||||ADT^A01^ADT_A01|1|P|2.5\r", short_type=True)
    assert msh.split("|")[8] == "ACK"


def test_text_in_the_senders_character_set() -> None:
    header = Header.parse(b"MSH|^~\\&|LAB||||||ADT^A01|\xfc|P|2.5||||||8859/1\r")
    body = build(header, "AE", "Größe | €", now=NOW, control_id_of_ack="77", codec="iso8859_1")
    assert body.split(b"\r")[1] == b"MSA|AE|\xfc|Gr\xf6\xdfe \\F\\ ?"


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_acknowledgment_of_a_wide_message_is_wide(codec: str) -> None:
    header = Header.parse("\ufeffMSH|^~\\&|ŁÓDŹ||EHR||||ADT^A01|1Ω|P|2.5\rPID|1\r".encode(codec))
    body = build(header, "AR", "Größe", now=NOW, control_id_of_ack="77").decode(codec)
    assert body == f"MSH|^~\\&|EHR||ŁÓDŹ||{NOW}||ACK^A01^ACK|77|P|2.5\rMSA|AR|1Ω|Größe\r"


@given(
    st.binary(max_size=20).filter(lambda data: not set(data) & set(b"|\r\n")),
    st.text(st.sampled_from("Ab |^~\\&\r\n\x0b\x1cé€"), max_size=40),
)
def test_control_id_but_for_control_characters_and_no_segment_from_text(control_id: bytes, text: str) -> None:
    header = Header.parse(b"MSH|^~\\&|||||||ADT^A01|" + control_id + b"|P|2.5\r")
    body = build(header, "AE", text, now=NOW, control_id_of_ack="77")
    control_id = bytes(byte for byte in control_id if byte >= ord(" ") or byte in b"\x0e\x0f\x1b")
    assert msa(body) == ("AE", control_id.decode("latin-1"))
    assert body.count(b"\r") == 2
    assert not set(body.split(b"\r")[1].removeprefix(b"MSA|AE|" + control_id)) & set(b"\n\x0b\x1c")
    assert len(body.split(b"\r")[1].split(b"|")) == 4


def test_timestamp_has_offset() -> None:
    text = timestamp(1_767_604_500)
    assert re.fullmatch(r"\d{14}[+-]\d{4}", text)
    assert time.mktime(time.strptime(text[:14], "%Y%m%d%H%M%S")) == 1_767_604_500


FIELDS = st.lists(st.binary(max_size=6).filter(lambda data: not set(data) & set(b"|\r\n")), min_size=18, max_size=18)


@given(FIELDS, st.sampled_from(["", "No"]), st.sampled_from([None, 101]))
def test_whatever_the_fields_hold_it_is_one_frame(fields: list[bytes], text: str, error_code: int | None) -> None:
    header = Header.parse(b"MSH|^~\\&|" + b"|".join(fields) + b"\nPID|1\r")
    body = build(header, "AE", text, now=NOW, control_id_of_ack="77", error_code=error_code)
    assert_one_frame(body, "AE")


@given(st.lists(st.text(st.sampled_from("Ab\x0b\x1c\u0b13\u130b\u1c0d\u0d1c\U00010b1c"), max_size=4), min_size=18, max_size=18))
def test_so_is_a_wide_one(fields: list[str]) -> None:
    for codec in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        header = Header.parse(("MSH|^~\\&|" + "|".join(fields) + "\rPID|1\r").encode(codec))
        body = build(header, "CA", "", now=NOW, control_id_of_ack="77")
        assert_one_frame(body, "CA", codec)


@given(FIELDS)
def test_so_is_a_batch_of_them(fields: list[bytes]) -> None:
    body = b"FHS|^~\\&|" + b"|".join(fields) + b"\nBHS|^~\\&|" + b"|".join(reversed(fields)) + b"\nMSH|^~\\&|LAB\r"
    frame = encode_frame(build(Header.parse(b"MSH|^~\\&|LAB"), "CA", "", now=NOW, control_id_of_ack="77"))
    [event] = FrameDecoder(100_000).feed(build_batch(Outline.of(split(body)), {0: frame}))
    assert isinstance(event, Frame)
    assert [segment[:3] for segment in event.body.split(b"\r")[:-1]] == [b"FHS", b"BHS", b"MSH", b"MSA", b"BTS", b"FTS"]


def assert_one_frame(body: bytes, code: str, codec: str = "latin-1") -> None:
    [event] = FrameDecoder(100_000).feed(encode_frame(body))
    assert event == Frame(body)
    found = msa(body.decode(codec))
    assert found is not None
    assert found[0] == code


def test_only_short_headers_are_remembered() -> None:
    """A field may be as long as a message, and hold what nobody should keep."""
    _frame_of.cache_clear()
    for size in (10, 5000):
        header = Header.parse(b"MSH|^~\\&|" + b"A" * size + b"|B|C|D|20260105||ADT^A01|1|P|2.5\r")
        made = build(header, "AA", "OK", now="20260105", control_id_of_ack="7")
        assert b"|" + b"A" * size + b"|" in made
    assert _frame_of.cache_info().currsize == 1


@pytest.mark.parametrize(
    "header",
    [
        b"MSH|^~\\&|A|B|C|D|20260105||ADT^A01|1|P|2.5\x0bPID|1||4711||DOE^JOHN||19700101|M",
        b"MSH|^~\\&||||||||||||||||DOE^JOHN",
    ],
)
def test_what_may_be_a_patients_is_not_remembered(header: bytes) -> None:
    _frame_of.cache_clear()
    build(Header.parse(header + b"\r"), "AA", "OK", now="20260105", control_id_of_ack="7")
    assert _frame_of.cache_info().currsize == 0
