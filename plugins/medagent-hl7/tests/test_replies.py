"""The frames that answer a device."""

from __future__ import annotations

import pytest

from medagent.config.model import Value
from medagent.types import Answer, Refusal, RefusalKind
from medagent_hl7.framing import Frame, FrameDecoder
from medagent_hl7.message import Header, msa
from medagent_hl7.replies import Replies
from medagent_hl7.settings import Hl7Settings


def replies(**parameters: Value) -> Replies:
    return Replies(Hl7Settings.from_parameters(parameters))


def header(accept: str = "", application: str = "", message_type: str = "ADT^A01", control_id: bytes = b"1") -> Header:
    before = f"MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260105||{message_type}|".encode()
    return Header.parse(before + control_id + f"|P|2.5|||{accept}|{application}\r".encode())


def unframed(frame: bytes | None) -> bytes:
    assert frame is not None
    assert frame.startswith(b"\x0b")
    assert frame.endswith(b"\x1c\r")
    return frame[1:-2]


def server_answer(code: str = "AA", control_id: str = "1", own_control_id: str = "900") -> Answer:
    return Answer(True, f"MSH|^~\\&|EHR|MAIN|LAB|NORTH|20260105||ACK^A01|{own_control_id}|P|2.5\rMSA|{code}|{control_id}|OK\r")


def test_message_mode_decides_by_message() -> None:
    by_message = replies(ackMode="message", enhanced="true", appLevelAck="NE")
    assert msa(unframed(by_message.to_commit(header("AL", "NE")))) == ("CA", "1")
    assert by_message.to_commit(header("ER", "AL")) is None
    assert by_message.to_commit(header()) is None
    assert by_message.is_owed(header(), server_answer())
    assert not by_message.is_owed(header("AL", "NE"), server_answer())
    assert not by_message.is_owed(header("AL", "ER"), server_answer())
    assert by_message.is_owed(header("AL", "ER"), server_answer("AE"))
    assert by_message.is_owed(header("AL", "ER"), Answer(False, ""))
    assert not by_message.is_owed(header("AL", "SU"), Answer(False, ""))


def test_channel_mode_does_not_look_at_msh_15_and_16() -> None:
    by_channel = replies(enhanced="true")
    for accept in ("", "AL", "NE"):
        assert msa(unframed(by_channel.to_commit(header(accept, "NE")))) == ("CA", "1")
        assert by_channel.is_owed(header(accept, "NE"), server_answer())


@pytest.mark.parametrize(
    ("accept", "application", "codes"),
    [("AL", "AL", ["CE", "CR"]), ("NE", "AL", ["AE", "AR"]), ("NE", "NE", [None, None]), ("", "", ["AE", "AR"])],
)
def test_refusals_in_message_mode(accept: str, application: str, codes: list[str | None]) -> None:
    by_message = replies(ackMode="message")
    for kind, code in zip((RefusalKind.STORAGE, RefusalKind.UNACCEPTABLE), codes, strict=True):
        frame = by_message.to_refusal(header(accept, application), Refusal(kind, "The disk is full"))
        assert (None if frame is None else unframed(frame).split(b"|")[-1]) == (None if code is None else b"The disk is full\r")
        assert (None if frame is None else msa(unframed(frame))) == (None if code is None else (code, "1"))


@pytest.mark.parametrize(
    ("parameters", "error_code", "code"),
    [
        ({}, 100, "AR"),
        ({}, 101, "AE"),
        ({}, 102, "AR"),
        ({"enhanced": "aa"}, 101, "AE"),
        ({"enhanced": "true"}, 101, "CR"),
        ({"enhanced": "true"}, 102, "CR"),
        ({"ackMode": "message"}, 101, "AE"),
    ],
)
def test_unacceptable(parameters: dict[str, Value], error_code: int, code: str) -> None:
    body = unframed(replies(**parameters).to_unacceptable(header(), "No", error_code, 10))
    assert msa(body) == (code, "1")
    assert f"\rERR||MSH^1^10|{error_code}^".encode() in body


def test_used_control_id_has_its_own_error() -> None:
    body = unframed(replies(enhanced="true").to_refusal(header(), Refusal(RefusalKind.DUPLICATE, "Used")))
    assert msa(body) == ("CR", "1")
    assert b"\rERR||MSH^1^10|205^" in body


def test_acknowledgments_are_answered_by_a_commit_acknowledgment_at_most() -> None:
    ack = header("AL", "AL", "ACK^A01^ACK")
    for silent in (replies(), replies(enhanced="true"), replies(enhanced="aa")):
        assert not silent.takes(ack)
        assert silent.to_unacceptable(ack, "No", 100) is None
    by_message = replies(ackMode="message")
    assert by_message.takes(ack)
    assert not by_message.takes(header("", "AL", "ACK"))
    assert not by_message.takes(header("AL", "AL"))
    assert msa(unframed(by_message.to_commit(ack))) == ("CA", "1")
    assert msa(unframed(by_message.to_unacceptable(ack, "No", 100))) == ("CR", "1")
    assert by_message.to_unacceptable(header("", "AL", "ACK"), "No", 100) is None
    assert not by_message.is_owed(ack, server_answer())


@pytest.mark.parametrize(("own_control_id", "kept"), [("900", True), ("", False), ("1", False)])
def test_application_acknowledgment_is_a_message_of_its_own(own_control_id: str, kept: bool) -> None:
    answer = server_answer(own_control_id=own_control_id)
    for to_message in (header("AL", "AL"), header()):
        body = unframed(replies(ackMode="message").to_answer(to_message, answer))
        control_id = Header.parse(body).control_id
        assert (control_id == own_control_id) is kept
        assert 0 < len(control_id) <= 20
        assert msa(body) == ("AA", "1")
    assert unframed(replies().to_answer(header(), answer)) == answer.body.encode()


@pytest.mark.parametrize(("parameters", "seen"), [({}, "\xe4"), ({"invalidText": "replace"}, "\ufffd")])
def test_control_id_that_is_not_ascii_comes_back_byte_for_byte(parameters: dict[str, Value], seen: str) -> None:
    body = unframed(replies(**parameters).to_answer(header(control_id=b"\xe4"), server_answer(control_id=seen)))
    assert body == server_answer().body.encode().replace(b"|AA|1|", b"|AA|\xe4|")


def test_short_message_type() -> None:
    parameters: dict[str, Value] = {"enhanced": "true", "ackMessageType": "short"}
    assert Header.parse(unframed(replies(**parameters).to_commit(header()))).field(9) == "ACK"


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-be"])
def test_a_wide_message_gets_wide_answers(codec: str) -> None:
    wide = Header.parse("MSH|^~\\&|LAB||EHR||20260105||ADT^A01|1Ω|P|2.5\r".encode(codec))
    by_channel = replies(enhanced="true")
    assert "\rMSA|CA|1Ω|Commit Accept\r" in unframed(by_channel.to_commit(wide)).decode(codec)
    answer = server_answer(control_id="1Ω")
    assert unframed(by_channel.to_answer(wide, answer)).decode(codec) == answer.body


def test_wide_answer_with_the_bytes_of_a_block_is_made_here() -> None:
    wide = Header.parse("MSH|^~\\&|LAB||EHR||20260105||ADT^A01|1|P|2.5\r".encode("utf-16-le"))
    # Oriya has 0x0B in each character
    answer = Answer(True, server_answer("AE").body.replace("OK", "\u0b13"))
    frame = replies().to_answer(wide, answer)
    assert frame.count(b"\x0b") == 1
    assert "\rMSA|AE|1|The server did not accept the message" in unframed(frame).decode("utf-16-le")


ANSWER = server_answer("%s").body


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR", "ae", " AE ", "??"])
@pytest.mark.parametrize("parameters", [{}, {"enhanced": "true"}, {"ackMode": "message"}])
@pytest.mark.parametrize(
    "dress",
    [
        "%s",
        "\n%s",
        "\r\n \ufeff%s",
        "\ufeff\n%s",
        "%s\x0b",
        "%s\x1c",
        "%sNTE|1||a\x1c\rb\r",
        "FHS|^~\\&\r%s",
        "> %s",
    ],
)
def test_a_negative_answer_never_turns_into_a_positive_one(code: str, parameters: dict[str, Value], dress: str) -> None:
    answer = Answer(True, dress.replace("%s", ANSWER.replace("%s", code)))
    frame = replies(**parameters).to_answer(header(), answer)
    [event] = FrameDecoder(100_000).feed(frame)
    assert isinstance(event, Frame)
    assert event.body.startswith(b"MSH|")
    found = msa(event.body)
    assert found is not None
    assert found[0].strip().upper() in (code.strip().upper(), "AE")
    assert found[1] == "1"


def test_only_negative_answers_count_as_negative_however_they_are_dressed() -> None:
    errors_only = replies(enhanced="true", appLevelAck="ER")
    for dress in ("\n%s", "%s\x0b", "\ufeff%s"):
        assert errors_only.is_owed(header(), Answer(True, dress % (ANSWER % "AR")))
        assert not errors_only.is_owed(header(), Answer(True, dress % (ANSWER % "AA")))
    assert not errors_only.is_owed(header(), Answer(True, "<html>"))


def test_an_answer_is_passed_on_unchanged_but_for_what_stands_before_it() -> None:
    body = (ANSWER % "AE").replace("OK", "OK \x1c text")
    assert unframed(replies().to_answer(header(), Answer(True, "\ufeff\r\n" + body))) == body.encode()


@pytest.mark.parametrize("body", ["", "OK", "MSH", "MSH|", "MSHA|^~", "MSH\r", "{}"])
@pytest.mark.parametrize("parameters", [{}, {"ackMode": "message"}])
def test_what_is_no_acknowledgment_gives_way_to_one_made_here(body: str, parameters: dict[str, Value]) -> None:
    assert msa(unframed(replies(**parameters).to_answer(header(), Answer(True, body)))) == ("AA", "1")


def test_a_header_that_cannot_be_read_costs_nothing_in_message_mode() -> None:
    by_message = replies(ackMode="message")
    assert msa(unframed(by_message.to_answer(header(), Answer(True, "MSH|A|\rMSA|AR|1")))) == ("AR", "1")
    assert msa(unframed(by_message.to_answer(header(), Answer(True, "MSH|A|\r")))) == ("AA", "1")


@pytest.mark.parametrize(
    ("parameters", "accept", "application", "owed"),
    [
        ({}, "", "", True),
        ({"enhanced": "true"}, "", "", True),
        ({"enhanced": "true", "appLevelAck": "SU"}, "", "", True),
        ({"enhanced": "true", "appLevelAck": "ER"}, "", "", False),
        ({"enhanced": "aa"}, "", "", False),
        ({"ackMode": "message"}, "", "", True),
        ({"ackMode": "message"}, "AL", "AL", True),
        ({"ackMode": "message"}, "AL", "ER", False),
        ({"ackMode": "message"}, "AL", "NE", False),
    ],
)
def test_a_message_kept_from_the_server_is_answered_as_if_it_had_taken_it(
    parameters: dict[str, Value], accept: str, application: str, owed: bool
) -> None:
    told, taken = replies(**parameters), Answer(True, "")
    assert told.is_owed(header(accept, application), taken) is owed
    answer = unframed(told.to_answer(header(accept, application), taken))
    assert msa(answer) == ("AA", "1")
    assert b"MSA|AA|1|OK" in answer
