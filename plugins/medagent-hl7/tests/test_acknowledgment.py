"""Acknowledgments: what is owed, and how it is written."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.types import RefusalKind
from medagent_hl7.acknowledgment import (
    AppLevelAck,
    Mode,
    build,
    code_on_commit,
    code_on_refusal,
    owed_on_answer,
    timestamp,
)
from medagent_hl7.message import Header, msa

NOW = "20260105101500+0100"


def acknowledge(msh: bytes, code: str = "CA", text: str = "Commit Accept", error_code: int | None = None) -> list[str]:
    body = build(Header.parse(msh), code, text, now=NOW, control_id_of_ack="77", error_code=error_code)
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
        "ERR###100*Segment sequence error*HL70357#E",
    ]


def test_error_segment_before_2_5() -> None:
    segments = acknowledge(b"MSH|^~\\&|LAB||||||ADT^A01|1|P|2.3\r", "AE", "No", 207)
    assert segments[2] == "ERR|^^^207&Application internal error&HL70357"


@given(
    st.binary(max_size=20).filter(lambda data: not set(data) & set(b"|\r\n")),
    st.text(st.sampled_from("Ab |^~\\&\r\n\x0b\x1cé€"), max_size=40),
)
def test_control_id_byte_for_byte_and_no_segment_from_text(control_id: bytes, text: str) -> None:
    header = Header.parse(b"MSH|^~\\&|||||||ADT^A01|" + control_id + b"|P|2.5\r")
    body = build(header, "AE", text, now=NOW, control_id_of_ack="77")
    assert msa(body) == ("AE", control_id.decode("latin-1"))
    assert body.count(b"\r") == 2
    assert not set(body.split(b"\r")[1].removeprefix(b"MSA|AE|" + control_id)) & set(b"\n\x0b\x1c")
    assert len(body.split(b"\r")[1].split(b"|")) == 4


def test_timestamp_has_offset() -> None:
    text = timestamp(1_767_604_500)
    assert re.fullmatch(r"\d{14}[+-]\d{4}", text)
    assert time.mktime(time.strptime(text[:14], "%Y%m%d%H%M%S")) == 1_767_604_500


def test_codes_by_mode() -> None:
    assert [code_on_commit(mode) for mode in (Mode.ORIGINAL, Mode.ENHANCED, Mode.AA)] == [None, "CA", "AA"]
    refusals = [code_on_refusal(mode, kind) for mode in (Mode.ORIGINAL, Mode.ENHANCED, Mode.AA) for kind in RefusalKind]
    assert refusals == ["AE", "AR", "CE", "CR", "AE", "AR"]


@pytest.mark.parametrize(
    ("level", "codes"),
    [
        (AppLevelAck.AL, ["AA", "AE", "AR", "CA", ""]),
        (AppLevelAck.NE, ["CA", ""]),
        (AppLevelAck.ER, ["AE", "AR", "CA", ""]),
        (AppLevelAck.SU, ["AA", "CA", ""]),
    ],
)
def test_filter_of_enhanced_mode(level: AppLevelAck, codes: list[str]) -> None:
    every = ["AA", "AE", "AR", "CA", ""]
    assert [code for code in every if owed_on_answer(Mode.ENHANCED, level, code)] == codes
    assert all(owed_on_answer(Mode.ORIGINAL, level, code) for code in every)
    assert not any(owed_on_answer(Mode.AA, level, code) for code in every)
