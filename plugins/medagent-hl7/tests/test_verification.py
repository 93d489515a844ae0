"""Links move with what is stored: forward when a message is handed over, back when it is refused."""

from __future__ import annotations

import logging

import pytest

from medagent.types import InboundMessage
from medagent_hl7.message import Header
from medagent_hl7.verification import Verification

LOG = logging.getLogger("medagent.channel.lab")


def refuse(header: Header, text: str, error_code: int, error_field: int) -> bytes:
    return f"\rMSA|CR|{header.control_id}|{text}".encode()


def acknowledge(header: Header) -> bytes:
    return f"\rMSA|AA|{header.control_id}|".encode()


def make(registers: dict[str, int] | None = None) -> Verification:
    return Verification(registers or {}, refuse=refuse, acknowledge=acknowledge, log=LOG, channel="lab")


def message(number: str, control_id: str | None = None, sender: str = "LAB") -> InboundMessage:
    body = f"MSH|^~\\&|{sender}|N|EHR|M|20260105||ADT^A01|{control_id or f'M{number}'}|P|2.5.1|{number}\rPID|1\r".encode()
    header = Header.parse(body)
    return InboundMessage(body, header.control_id, "10.0.0.7:1", "c1", header)


def numbers(handed_over: list[InboundMessage]) -> list[list[str]]:
    """Control IDs of what is committed together."""
    return [[part.control_id for part in each.parts or (each,)] for each in handed_over]


def kept(handed_over: list[InboundMessage]) -> dict[str, int]:
    """The registers that are on disk once all of it is, without the links' keys."""
    found = {}
    for each in handed_over:
        for part in each.parts or (each,):
            found |= {name.rpartition("-")[2]: value for name, value in part.registers}
    return found


def test_consecutive_numbers_of_a_link_are_committed_together() -> None:
    verification = make()
    accepted, refused = verification.screen([message("5"), message("6"), message("1", sender="PACS"), message("7")])
    assert numbers(accepted) == [["M5", "M6"], ["M1"], ["M7"]]
    assert refused == []


def test_a_refused_run_can_be_sent_again() -> None:
    verification = make()
    first, _ = verification.screen([message("5"), message("6")])
    verification.refused(first[0].parts)
    again, refused = verification.screen([message("5"), message("6"), message("7")])
    assert numbers(again) == [["M5", "M6", "M7"]]
    assert refused == []
    assert kept(again)["expected"] == 8


def test_a_frozen_link_is_kept_and_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    verification = make()
    accepted, [refused] = verification.screen([message("5", "SECRET"), message("9")])
    assert refused.endswith(b"|6")
    assert numbers(accepted) == [["SECRET"], [""]], "a note keeps what the link has become"
    assert kept(accepted)["frozen"] == 1
    assert list(verification.frozen().values()) == [6]
    assert "SECRET" not in caplog.text
    assert "10.0.0.7:1" in caplog.text
    registers = dict(register for each in accepted for register in each.registers)
    assert make(registers).frozen() == verification.frozen()


def test_a_release_that_cannot_be_kept_is_taken_back() -> None:
    verification = make()
    verification.screen([message("5"), message("9")])
    outcomes: list[bool] = []
    note = verification.release(20, "", outcomes.append)
    assert note is not None
    assert verification.frozen() == {}
    note.origin.done(False)  # type: ignore[attr-defined]  # a note of this plugin
    assert list(verification.frozen().values()) == [6]
    assert outcomes == [False]
    assert verification.release(20, "0123456789abcdef", outcomes.append) is None


def test_a_batch_takes_all_its_numbers_or_none() -> None:
    verification = make()
    assert verification.screen_batch([message("1"), message("2")]) is None
    position, expected, note = verification.screen_batch([message("3"), message("9")]) or pytest.fail("it was taken")
    assert (position, expected) == (1, 3)
    assert kept([note]) == {"expected": 3, "last": kept([note])["last"], "frozen": 1}
    start, _ = verification.screen([message("0")])
    assert kept(start)["expected"] == 3
    assert verification.screen_batch([message("3"), message("4")]) is None
