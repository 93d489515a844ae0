"""The bots of the embedded FHIR server."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.testing.bots import (
    HL7,
    BotError,
    BotRequest,
    acknowledge,
    acknowledgment,
    fail,
    identify,
    non_hl7,
    refuse,
    silent,
    slow,
)
from medagent.testing.ledger import sha256_of

MESSAGE = "MSH|^~\\&|MON|WARD7|HUB|CLINIC|20260301081500||ORU^R01|C-17|P|2.4\rOBX|1|NM|8867-4||61\r"


def request(body: str = MESSAGE, content_type: str | None = HL7) -> BotRequest:
    return BotRequest(agent_id="a1", channel="adt", body=body, content_type=content_type)


def test_an_acknowledgment_goes_back_to_the_sender_and_names_its_message() -> None:
    msh, msa = acknowledgment(MESSAGE, "AA").split("\r")
    fields = msh.split("|")
    assert fields[:6] == ["MSH", "^~\\&", "HUB", "CLINIC", "MON", "WARD7"]
    assert fields[8] == "ACK^R01"
    assert fields[10:] == ["P", "2.4"]
    assert msa == "MSA|AA|C-17|OK"


def test_an_answer_can_name_its_message_by_a_digest() -> None:
    answer = identify(request())
    assert isinstance(answer, str)
    assert answer.split("\r")[1] == f"MSA|AA|C-17|sha256:{sha256_of(MESSAGE.encode())}"


def test_each_acknowledgment_has_a_control_id_of_its_own() -> None:
    control_ids = {acknowledgment(MESSAGE, "AA").split("|")[9] for _ in range(50)}
    assert len(control_ids) == 50
    assert "C-17" not in control_ids


@pytest.mark.parametrize(
    ("message_type", "expected"), [("ADT^A01^ADT_A01", "ACK^A01^ACK"), ("ADT^A01", "ACK^A01"), ("ADT", "ACK"), ("", "ACK")]
)
def test_the_acknowledgments_type_follows_the_messages(message_type: str, expected: str) -> None:
    body = f"MSH|^~\\&|A|B|C|D|2026||{message_type}|1|P|2.5\r"
    assert acknowledgment(body, "AA").split("\r")[0].split("|")[8] == expected


def test_the_acknowledgment_uses_the_messages_delimiters() -> None:
    answer = acknowledgment("MSH#$~\\&#A#B#C#D#2026##ADT$A04#9#P#2.3\r", "AE")
    assert answer.startswith("MSH#$~\\&#C#D#A#B#")
    assert "#ACK$A04#" in answer
    assert answer.endswith("\rMSA#AE#9#Application Error")


@given(st.text().filter(lambda body: body[3:4] != "\r"))
def test_anything_can_be_acknowledged(body: str) -> None:
    answer = acknowledgment(body, "AA")
    assert answer.startswith("MSH")
    assert answer.rpartition("\r")[2].startswith("MSA")


async def test_what_each_bot_answers() -> None:
    assert str(acknowledge(request())).endswith("MSA|AA|C-17|OK")
    assert acknowledge(request("abc", "text/plain")) is None
    assert str(refuse("AR")(request())).endswith("MSA|AR|C-17|Application Reject")
    assert non_hl7(request()) == "just a string"
    with pytest.raises(BotError):
        fail(request())
    delayed = slow(0)(request())
    assert inspect.isawaitable(delayed)
    assert str(await delayed).endswith("MSA|AA|C-17|OK")
    assert silent(request()) not in ("", None)
