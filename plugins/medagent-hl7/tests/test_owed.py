"""Which acknowledgments a message calls for."""

from __future__ import annotations

import pytest

from medagent.types import RefusalKind
from medagent_hl7.message import Header
from medagent_hl7.owed import (
    NOTHING,
    AckCondition,
    Mode,
    Owed,
    OwedByMessage,
    is_acknowledgment,
    owed_by_channel,
    owed_by_conditions,
)

EVERY_ANSWER = ("AA", "AE", "AR", "CA", "CE", "CR", "")


def heard(owed: Owed) -> list[str]:
    """The codes of the server that the device hears."""
    return [code for code in EVERY_ANSWER if owed.answers and code not in owed.withheld]


def header(accept: str = "", application: str = "", message_type: str = "ADT^A01") -> Header:
    return Header.parse(f"MSH|^~\\&|LAB||EHR||20260105||{message_type}|1|P|2.5|||{accept}|{application}\r".encode())


def test_codes_of_the_channels_modes() -> None:
    modes = (Mode.ORIGINAL, Mode.ENHANCED, Mode.AA)
    owed = [owed_by_channel(mode, AckCondition.AL) for mode in modes]
    assert [each.on_commit for each in owed] == [None, "CA", "AA"]
    refusals = [each.on_refusal(kind) for each in owed for kind in RefusalKind]
    assert refusals == ["AE", "AR", "AR", "AR", "CE", "CR", "CR", "CR", "AE", "AR", "AR", "AR"]
    assert [each.answers for each in owed] == [True, True, False]


@pytest.mark.parametrize(
    ("level", "codes"),
    [
        (AckCondition.AL, ["AA", "AE", "AR", "CA", "CE", "CR", ""]),
        (AckCondition.NE, ["CA", "CE", "CR", ""]),
        (AckCondition.ER, ["AE", "AR", "CA", "CE", "CR", ""]),
        (AckCondition.SU, ["AA", "CA", "CE", "CR", ""]),
    ],
)
def test_app_level_ack_withholds_application_codes_only(level: AckCondition, codes: list[str]) -> None:
    assert heard(owed_by_channel(Mode.ENHANCED, level)) == codes
    assert heard(owed_by_channel(Mode.ORIGINAL, level)) == list(EVERY_ANSWER)
    assert heard(owed_by_channel(Mode.AA, level)) == []


@pytest.mark.parametrize(
    ("accept", "application", "on_commit", "on_error", "on_rejection"),
    [
        ("AL", "AL", "CA", "CE", "CR"),
        ("AL", "NE", "CA", "CE", "CR"),
        ("AL", "ER", "CA", "CE", "CR"),
        ("AL", "SU", "CA", "CE", "CR"),
        ("ER", "AL", None, "CE", "CR"),
        ("ER", "NE", None, "CE", "CR"),
        ("ER", "ER", None, "CE", "CR"),
        ("ER", "SU", None, "CE", "CR"),
        # the application acknowledgment tells of it instead
        ("SU", "AL", "CA", "AE", "AR"),
        ("SU", "ER", "CA", "AE", "AR"),
        ("NE", "AL", None, "AE", "AR"),
        ("NE", "ER", None, "AE", "AR"),
        ("SU", "NE", "CA", None, None),
        ("SU", "SU", "CA", None, None),
        ("NE", "NE", None, None, None),
        ("NE", "SU", None, None, None),
    ],
)
def test_every_pair_of_conditions(
    accept: str, application: str, on_commit: str | None, on_error: str | None, on_rejection: str | None
) -> None:
    owed = OwedByMessage(Mode.ENHANCED, AckCondition.NE)(header(accept, application))
    assert (owed.on_commit, owed.on_error, owed.on_rejection) == (on_commit, on_error, on_rejection)
    answers = {"AL": list(EVERY_ANSWER), "NE": [], "ER": ["AE", "AR", "CE", "CR"], "SU": ["AA", "CA", ""]}
    assert heard(owed) == answers[application]
    assert heard(owed_by_conditions(AckCondition(accept), AckCondition(application))) == answers[application]


@pytest.mark.parametrize("missing", [AckCondition.NE, AckCondition.AL])
@pytest.mark.parametrize("given", ["AL", "NE", "ER", "SU"])
def test_one_of_the_pair_missing(given: str, missing: AckCondition) -> None:
    decide = OwedByMessage(Mode.ORIGINAL, missing)
    assert decide(header(given, "")) == decide(header(given, missing.value))
    assert decide(header("", given)) == decide(header(missing.value, given))


@pytest.mark.parametrize("empty", ["", '""', "XX", " "])
def test_neither_given_is_original_mode(empty: str) -> None:
    for mode, owed in ((Mode.ORIGINAL, Mode.ORIGINAL), (Mode.ENHANCED, Mode.ORIGINAL), (Mode.AA, Mode.AA)):
        assert OwedByMessage(mode, AckCondition.AL)(header(empty, empty)) == owed_by_channel(owed, AckCondition.AL)


def test_conditions_in_lower_case_and_padded() -> None:
    decide = OwedByMessage(Mode.ORIGINAL, AckCondition.NE)
    assert decide(header("al", " er ")) == decide(header("AL", "ER"))


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", NOTHING),
        ("NE", NOTHING),
        ("AL", owed_by_conditions(AckCondition.AL, AckCondition.NE)),
        ("ER", owed_by_conditions(AckCondition.ER, AckCondition.NE)),
        ("SU", owed_by_conditions(AckCondition.SU, AckCondition.NE)),
    ],
)
@pytest.mark.parametrize("application", ["", "AL", "ER"])
@pytest.mark.parametrize("missing", [AckCondition.NE, AckCondition.AL])
def test_an_acknowledgment_gets_the_commit_acknowledgment_that_it_asks_for(
    accept: str, expected: Owed, application: str, missing: AckCondition
) -> None:
    owed = OwedByMessage(Mode.ORIGINAL, missing)(header(accept, application, "ACK^A01"))
    assert (owed.on_commit, owed.on_error, owed.on_rejection) == (expected.on_commit, expected.on_error, expected.on_rejection)
    assert heard(owed) == []


@pytest.mark.parametrize(
    ("message_type", "tail", "expected"),
    [
        ("ACK", "", True),
        ("ACK^A01^ACK", "MSA|AA|1\r", True),
        ("ADT^A01", "MSA|CA|1\r", True),
        ("", "SFT|x\nMSA|CR|1\n", True),
        ("RSP^K22", "MSA|AA|1\r", False),
        ("ORR^O02", "MSA|AE|1\r", False),
        ("MDM^T02", "OBX|1|TX|MSA|CA|1\r", False),
        ("ack", "", True),
        ("ACK ^A01", "", True),
        ("", "MSA|AA|1\r", True),
        (" ", "MSA|AR|1\r", True),
        ("", "MSA|XX|1\r", False),
        ("", "PID|1\rMSA|AA|1\r", False),
        ("ORR^O02", " msa| ca |1\r", True),
        ("ORR^O02", "Msa|CA|1\r", True),
        ("ADT^A01", "NTE|1||" + "x" * 5000 + "\rMSA|CE|1\r", True),
        ("ADT^A01", "NTE|1||" + "x" * 5000 + "\nMSA|CE|1\n", True),
        ("ADT^A01", "NTE|1||" + "x" * 5000 + "\rMSA^CA^1\rMSA|CE|1\r", True),
        ("ADT^A01", "NTE|1||" + "x" * 5000 + "MSA|CE|1\r", False),
        ("ADT^A01", "", False),
    ],
)
def test_what_is_an_acknowledgment(message_type: str, tail: str, expected: bool) -> None:
    body = f"MSH|^~\\&|LAB||EHR||20260105||{message_type}|1|P|2.5\r{tail}".encode()
    assert is_acknowledgment(Header.parse(body), body) is expected
    for codec in ("utf-16-le", "utf-32-be"):
        wide = body.decode().encode(codec)
        assert is_acknowledgment(Header.parse(wide), wide) is expected
