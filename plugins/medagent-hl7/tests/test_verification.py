"""What is decided about a numbered message where it is known what is committed."""

from __future__ import annotations

import logging

import pytest

from medagent.listening import Notices
from medagent.types import Decision, InboundMessage, Refusal, RefusalKind, State
from medagent_hl7.message import Header
from medagent_hl7.origin import Note, tracked_of
from medagent_hl7.sequence import LINKS, MOST_LINKS
from medagent_hl7.verification import Verification

STORAGE = Refusal(RefusalKind.STORAGE, "no space")


def message(number: str, sender: str = "LAB", segments: str = "PID|1\r") -> InboundMessage:
    body = f"MSH|^~\\&|{sender}|N|EHR|M|20260105||ADT^A01|SECRET{number}|P|2.5.1|{number}\r{segments}".encode()
    header = Header.parse(body)
    return InboundMessage(body, header.control_id, "10.0.0.7:1", "c1", header)


class Site:
    """A channel's verification, and registers that move as a store moves them."""

    def __init__(self) -> None:
        self.registers: dict[str, int] = {}
        notices = Notices(logging.getLogger("medagent.channel.lab"), "lab")
        self.verification = Verification(self.registers, notices=notices, channel="lab")

    def decide(self, handed_over: InboundMessage, twin: State | None = None) -> Decision:
        assert handed_over.admission is not None
        decision = handed_over.admission(handed_over, self.registers, twin)
        self.registers |= dict(decision.registers)
        return decision

    def receive(self, *messages: InboundMessage) -> list[RefusalKind | None]:
        kinds = []
        for each in messages:
            handed_over = self.verification.prepare(each)
            refusal = self.decide(handed_over).refusal
            kinds.append(None if refusal is None else refusal.kind)
            if refusal is None:
                self.verification.committed([handed_over])
            else:
                self.verification.refused([handed_over], refusal)
        return kinds

    def fail(self, *messages: InboundMessage) -> None:
        """The store cannot be written."""
        for each in messages:
            self.verification.refused([self.verification.prepare(each)], STORAGE)


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_message_without_a_number_is_nobodys_matter(site: Site) -> None:
    for number in ("", " ", '""'):
        plain = message(number)
        assert site.verification.prepare(plain) is plain
        assert plain.admission is None
        assert isinstance(plain.origin, Header)


def test_a_gap_freezes_the_link_and_is_named_in_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    assert site.receive(message("5"), message("7"), message("6")) == [None, RefusalKind.SEQUENCE, RefusalKind.SEQUENCE]
    [(key, expected)] = site.verification.frozen().items()
    assert expected == 6
    assert f"link frozen: {key}: sequence number 6 is expected, 7 came" in caplog.text
    assert "10.0.0.7:1" in caplog.text
    assert "SECRET" not in caplog.text
    assert site.receive(message("0"), message("6")) == [None, None]
    assert site.verification.frozen() == {}


def test_frozen_links_are_logged_at_a_limited_rate(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(50):
        site.receive(message("1", f"S{number}"), message("9", f"S{number}"))
    assert len(site.verification.frozen()) == 50
    assert caplog.text.count("link frozen") == 1


def test_refused_messages_make_no_links(site: Site) -> None:
    kinds = site.receive(*(message(number, sender) for sender in ("A", "B") for number in ("abc", "-7", "0", "-1")))
    assert kinds == [RefusalKind.SEQUENCE, RefusalKind.SEQUENCE, None, None] * 2
    assert site.registers == {}


def test_there_is_an_end_to_links(site: Site) -> None:
    site.receive(message("1", "KNOWN"))
    site.registers[LINKS] = MOST_LINKS
    refusal = site.decide(site.verification.prepare(message("1", "NEW"))).refusal
    assert refusal is not None
    assert refusal.kind is RefusalKind.UNACCEPTABLE
    assert str(MOST_LINKS) in refusal.reason
    assert site.receive(message("2", "KNOWN")) == [None]


def test_later_numbers_wait_for_one_that_could_not_be_stored(site: Site) -> None:
    site.receive(message("4"))
    site.fail(message("5"))
    assert site.receive(message("6"), message("7")) == [RefusalKind.STORAGE] * 2
    assert site.receive(message("5"), message("7"), message("6"), message("7")) == [None, RefusalKind.STORAGE, None, None]
    assert site.receive(message("9")) == [RefusalKind.SEQUENCE], "a real gap"


def test_a_link_begins_with_the_number_that_could_not_be_stored(site: Site) -> None:
    site.fail(message("5"), message("6"))
    assert site.receive(message("7"), message("5"), message("6"), message("7")) == [RefusalKind.STORAGE, None, None, None]


@pytest.mark.parametrize(("start", "next_number"), [("0", "5"), ("-1", "80")])
def test_a_sender_that_starts_again_has_nothing_to_wait_for(site: Site, start: str, next_number: str) -> None:
    site.receive(message("4"))
    site.fail(message("5"))
    assert site.receive(message(start, segments=""), message(next_number)) == [None, None]
    assert site.receive(message("99")) == [RefusalKind.SEQUENCE]


def test_what_only_asks_for_the_number_is_a_note(site: Site) -> None:
    site.receive(message("4"))
    note = site.verification.prepare(message("0", segments="\r"))
    assert note.body is None
    assert site.decide(note).registers == ()
    tracked = tracked_of(note)
    assert tracked is not None
    assert tracked.expected == 5


def test_a_stored_message_says_where_the_link_stands(site: Site) -> None:
    site.receive(message("4"), message("9"))
    again = site.verification.prepare(message("0"))
    assert site.decide(again, State.PROCESSED) == Decision()
    tracked = tracked_of(again)
    assert tracked is not None
    assert tracked.expected == 5
    assert len(site.verification.frozen()) == 1, "it moves nothing"


@pytest.mark.parametrize(("expected", "accepted"), [(20, "20"), (None, "77")])
def test_a_release_is_for_the_links_that_are_frozen_when_it_is_committed(
    site: Site, expected: int | None, accepted: str
) -> None:
    outcomes: list[int | None] = []
    early = site.verification.release(expected, "", outcomes.append)
    site.receive(message("5"), message("9"), message("1", "OTHER"))
    site.decide(early)
    assert isinstance(early.origin, Note)
    assert len(early.origin.released) == 1
    assert outcomes == [], "who releases them is told when it is on disk"
    assert site.verification.frozen() == {}
    assert site.receive(message(accepted), message("2", "OTHER")) == [None, None]
    nothing = site.verification.release(1, "0123456789abcdef", outcomes.append)
    assert site.decide(nothing) == Decision()


def test_a_release_ends_the_wait_for_a_failed_number(site: Site) -> None:
    site.receive(message("4"))
    site.fail(message("5"))
    [key] = [name.removeprefix("link-") for name in site.registers if name.startswith("link-")]
    release = site.verification.release(30, key, lambda count: None)
    site.decide(release)
    site.verification.committed([release])
    assert site.receive(message("30"), message("5")) == [None, RefusalKind.SEQUENCE]


def test_a_link_that_waits_for_its_first_number_can_be_released(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.fail(message("5"))
    assert site.receive(message("8")) == [RefusalKind.STORAGE]
    key = caplog.text.split("link waits: ")[1].split(":")[0]
    release = site.verification.release(None, key, lambda count: None)
    site.decide(release)
    site.verification.committed([release])
    assert site.receive(message("8")) == [None]
