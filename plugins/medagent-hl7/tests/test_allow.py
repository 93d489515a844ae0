"""Who may connect and who may send."""

from __future__ import annotations

import pytest

from medagent.config.model import ChannelConfig
from medagent_hl7.allow import AllowedPeers, AllowedSenders, find_problems
from medagent_hl7.message import Header


def problems(**parameters: str) -> list[str]:
    return [str(problem) for problem in find_problems(ChannelConfig("lab", "mllp", "127.0.0.1", 1, "", parameters=parameters))]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.2.0.1", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("2001:db8::9", True),
        ("fe80::1%eth0", True),
        ("::1", False),
    ],
)
def test_peers(host: str, allowed: bool) -> None:
    peers = AllowedPeers.from_parameters({"allow": "10.1.0.0/16, 192.0.2.7,2001:db8::/32,fe80::/10"})
    assert peers is not None
    assert (host in peers) is allowed


def test_entry_that_is_no_network_lets_nobody_in() -> None:
    peers = AllowedPeers.from_parameters({"allow": "10.1.0.0/99"})
    assert peers is not None
    assert "10.1.0.1" not in peers
    [problem] = problems(allow="10.1.0.0/99,10.1.0.1")
    assert "10.1.0.0/99 is neither" in problem
    assert problem.endswith("using the other entries")


@pytest.mark.parametrize("listed", ["1.2.3", "localhost", ",", "10.1.0.0/99"])
def test_without_a_usable_entry_nobody_can_connect(listed: str) -> None:
    peers = AllowedPeers.from_parameters({"allow": listed})
    assert peers is not None
    assert "127.0.0.1" not in peers
    [problem] = problems(allow=listed)
    assert problem.endswith("using no entry: nobody can connect")


@pytest.mark.parametrize("listed", ["^", ",", "A^B^C", "^,^^"])
def test_without_a_usable_entry_nobody_can_send(listed: str) -> None:
    senders = AllowedSenders.from_parameters({"allowSender": listed})
    assert senders is not None
    nameless = Header.parse(b"MSH|^~\\&|||EHR||20260105||ADT^A01|1|P|2.5")
    assert nameless not in senders, "an entry without a name stands for nobody, not for those without one"
    assert all(problem.endswith("using no entry: nobody can send") for problem in problems(allowSender=listed))
    assert problems(allowSender=listed)


@pytest.mark.parametrize(
    ("application", "facility", "allowed"),
    [
        ("LAB", "NORTH", True),
        ("LAB^1.2.3^ISO", "NORTH", True),
        ("LAB", "SOUTH", False),
        ("lab", "NORTH", False),
        ("PACS", "ANY", True),
        ("ANY", "EAST", True),
        ("", "", False),
    ],
)
def test_senders(application: str, facility: str, allowed: bool) -> None:
    senders = AllowedSenders.from_parameters({"allowSender": "LAB^NORTH, PACS,^EAST"})
    assert senders is not None
    header = Header.parse(f"MSH|^~\\&|{application}|{facility}|EHR||20260105||ADT^A01|1|P|2.5".encode())
    assert (header in senders) is allowed


def test_everybody_by_default() -> None:
    assert AllowedPeers.from_parameters({}) is None
    assert AllowedSenders.from_parameters({}) is None
    assert problems() == []


@pytest.mark.parametrize(("entry", "count"), [("LAB^NORTH", 0), ("LAB", 0), ("^NORTH", 0), ("^", 1), ("A^B^C", 1)])
def test_sender_that_names_nobody(entry: str, count: int) -> None:
    assert len(problems(allowSender=entry)) == count
