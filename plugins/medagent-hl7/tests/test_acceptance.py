"""What the channel itself objects to."""

from __future__ import annotations

import pytest

from medagent.config.model import Value
from medagent_hl7.acceptance import Acceptance
from medagent_hl7.message import Header
from medagent_hl7.settings import Hl7Settings


def body(control_id: str = "1", character_set: str = "", name: bytes = b"Muster", version: str = "2.5") -> bytes:
    msh = f"MSH|^~\\&|LAB||EHR||20260105||ADT^A01|{control_id}|P|{version}||||||{character_set}\r"
    return msh.encode() + b"PID|1||4711||" + name + b"\r"


def objection(data: bytes, **parameters: Value) -> tuple[int, int] | None:
    """Error code and field of MSH."""
    found = Acceptance(Hl7Settings.from_parameters(parameters)).objection(Header.parse(data), data)
    assert found is None or "Muster" not in found.text
    return None if found is None else (found.error_code, found.error_field)


def test_missing_control_id() -> None:
    assert objection(body("")) is None
    assert objection(body(""), missingControlId="reject") == (101, 10)
    assert objection(body("1"), missingControlId="reject") is None


@pytest.mark.parametrize("invalid_text", ["pass", "replace", "reject"])
@pytest.mark.parametrize(
    ("character_set", "name", "valid"),
    [
        ("", "Müller".encode(), True),
        ("", b"M\xfcller", False),
        ("8859/1", b"M\xfcller", True),
        ("ASCII", "Müller".encode(), False),
        ("UNICODE UTF-8", b"M\xfcller", False),
        ("CNS 11643-1992", b"Muller", True),
        ("CNS 11643-1992", b"\xa4\xfd", False),
        ("klingon", "Müller".encode(), True),
        ("klingon", b"M\xfcller", False),
    ],
)
def test_text_that_is_not_valid(invalid_text: str, character_set: str, name: bytes, valid: bool) -> None:
    expected = (102, 18) if invalid_text == "reject" and not valid else None
    assert objection(body("1", character_set, name), invalidText=invalid_text) == expected


@pytest.mark.parametrize("character_set", ["UNICODE UTF-16", "UNICODE UTF-32", "UNICODE"])
def test_declared_wide(character_set: str) -> None:
    assert objection(body("1", character_set, "Müller".encode())) is None
    assert objection(body("1", character_set, b"M\xfcller")) == (102, 18)
    assert objection(body("1", character_set, b"M\xfcller"), encoding="ISO-8859-1") is None
    text = body("1", character_set).decode().replace("Muster", "Łęcka")
    for wide in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        assert objection(text.encode(wide), invalidText="reject") is None


@pytest.mark.parametrize("version", ["", "1.0", "2.9", "x"])
def test_versions_and_types_are_the_servers_to_judge(version: str) -> None:
    assert objection(body(version=version)) is None
    assert objection(b"MSH|^~\\&|LAB") is None
