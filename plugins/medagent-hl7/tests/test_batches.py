"""What a batch becomes, without I/O: handed over as one, or refused with an answer for each message."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest

from medagent.types import AcceptanceRules, Answer, Delivery, InboundMessage, Refusal, RefusalKind, State
from medagent_hl7.batches import Fault
from medagent_hl7.message import Header
from medagent_hl7.notices import Notices
from medagent_hl7.replies import Replies
from medagent_hl7.settings import Hl7Settings
from medagent_hl7.tracking import Tracking

LOG = logging.getLogger("medagent.channel.lab")


def message(control_id: str, message_type: str = "ADT^A01") -> bytes:
    return f"MSH|^~\\&|LAB|N|EHR|M|20260105||{message_type}|{control_id}|P|2.5.1\rPID|1\r".encode()


def codes(frame: bytes | None) -> list[str]:
    return [segment.split(b"|")[1].decode() for segment in (frame or b"").split(b"\r") if segment.startswith(b"MSA")]


@dataclass
class Site:
    """A channel's batches, and what it would write and report."""

    parameters: dict[str, str] = field(default_factory=dict)
    objection: Fault | None = None

    def __post_init__(self) -> None:
        settings = Hl7Settings.from_parameters({"enhanced": "true", **self.parameters})
        self.tracking = Tracking(
            self.parameters,
            {},
            replies=Replies(settings),
            message_replies=Replies(settings),
            rules=AcceptanceRules(),
            examine=lambda header, body: self.objection if b"|BAD|" in body else None,
            notices=Notices(LOG, "lab"),
            log=LOG,
            channel="lab",
        )
        self.sent: list[bytes] = []
        self.reported: list[tuple[str, Delivery]] = []

    def receive(self, *messages: bytes) -> tuple[tuple[InboundMessage, ...], list[bytes]]:
        body = b"BHS|^~\\&|LAB|N|EHR|M|20260105||||B1\r" + b"".join(messages) + b"BTS|\r"
        handed_over, frames = self.tracking.batches.receive(body, "10.0.0.7:1", "c1")
        return (handed_over[0].parts if handed_over else ()), frames

    def answer(self, *answers: tuple[InboundMessage, Answer], delivery: Delivery = Delivery.SENT) -> list[Delivery]:
        def send(link: str, data: bytes, answered: object) -> Delivery:
            self.sent.append(data)
            return delivery

        return self.tracking.batches.answer(
            answers,
            lambda others: [Delivery.GONE] * len(others),
            self.tracking.to_answer,
            send,
            lambda messages, outcome: self.reported.extend((each.control_id, outcome) for each in messages),
        )


TOGETHER = {"batchAck": "batch"}
OK = Answer(True, "")


def test_the_batch_of_answers_waits_for_the_last_one() -> None:
    site = Site(TOGETHER)
    (one, two), _ = site.receive(message("A"), message("B"))
    assert site.tracking.to_commit(one) is None
    assert codes(site.tracking.to_commit(two)) == ["CA", "CA"]
    assert site.answer((two, OK)) == [Delivery.QUEUED], "its outcome comes later"
    assert site.sent == []
    assert site.answer((one, OK)) == [Delivery.SENT]
    assert [codes(frame) for frame in site.sent] == [["AA", "AA"]]
    assert not site.tracking.batches.waiting


def test_those_that_waited_hear_that_the_device_is_gone() -> None:
    site = Site(TOGETHER)
    (one, two), _ = site.receive(message("A"), message("B"))
    site.tracking.to_commit(one)
    site.tracking.to_commit(two)
    site.answer((two, OK))
    assert site.answer((one, OK), delivery=Delivery.GONE) == [Delivery.GONE]
    assert site.reported == [("B", Delivery.GONE)]


def test_a_device_that_hangs_up_leaves_nothing_waiting() -> None:
    site = Site(TOGETHER)
    (one, two), _ = site.receive(message("A"), message("B"))
    site.tracking.to_commit(one)
    site.tracking.to_commit(two)
    site.answer((one, OK))
    assert [each.control_id for each in site.tracking.batches.closed("c1")] == ["A"]
    assert not site.tracking.batches.waiting
    assert site.answer((two, OK)) == [Delivery.GONE]


def test_some_are_stored_and_some_are_not() -> None:
    site = Site(TOGETHER)
    (one, two), _ = site.receive(message("A"), message("B"))
    assert site.tracking.to_commit(one) is None
    refusal = Refusal(RefusalKind.DUPLICATE, "used")
    assert codes(site.tracking.to_refusal(two, refusal)) == ["CA", "CR"]
    site.answer((one, OK))
    assert [codes(frame) for frame in site.sent] == [["AA"]], "the refused one owes nothing more"


def stored(*parts: InboundMessage) -> None:
    for part in parts:
        part.stored_state = State.RECEIVED


def test_a_message_that_comes_twice_in_a_batch_is_answered_twice() -> None:
    # it is stored once; the place of the copy takes over the stored one's
    site = Site(TOGETHER)
    (one, copy, two), _ = site.receive(message("A"), message("A"), message("B"))
    stored(one, two)
    for part in (one, copy, two):
        site.tracking.to_commit(part)
    one.origin = copy.origin
    assert site.answer((one, OK), (two, OK)) == [Delivery.SENT, Delivery.SENT]
    assert [codes(frame) for frame in site.sent] == [["AA", "AA", "AA"]]
    assert not site.tracking.batches.waiting


def test_a_batch_sent_again_before_its_answer_leaves_nothing_waiting() -> None:
    site = Site(TOGETHER)
    first, _ = site.receive(message("A"), message("B"))
    stored(*first)
    again, _ = site.receive(message("A"), message("B"))
    for part, copy in zip(first, again, strict=True):
        site.tracking.to_commit(part)
        site.tracking.to_commit(copy)
        part.origin = copy.origin
    site.answer(*((part, OK) for part in first))
    assert [codes(frame) for frame in site.sent] == [["AA", "AA"], ["AA", "AA"]]
    assert not site.tracking.batches.waiting


def test_two_messages_with_one_control_id_have_answers_of_their_own() -> None:
    site = Site(TOGETHER)
    (one, other), _ = site.receive(message("A"), message("A", "ADT^A08"))
    stored(one, other)
    site.tracking.to_commit(one)
    site.tracking.to_commit(other)
    assert site.answer((one, OK)) == [Delivery.QUEUED]
    assert site.answer((other, Answer(False, ""))) == [Delivery.SENT]
    assert [codes(frame) for frame in site.sent] == [["AA", "AE"]]


def test_answers_of_a_message_read_back_from_disk_find_their_place() -> None:
    site = Site(TOGETHER)
    (one, two), _ = site.receive(message("A"), message("B"))
    site.tracking.to_commit(one)
    site.tracking.to_commit(two)
    again = InboundMessage(message("A"), "A", "10.0.0.7:1", "c1")
    assert site.answer((again, OK), (two, OK)) == [Delivery.SENT, Delivery.SENT]
    assert [codes(frame) for frame in site.sent] == [["AA", "AA"]]


@pytest.mark.parametrize(
    ("messages", "frames"),
    [
        ([message("A"), message("BAD")], [["CR"], ["CR"]]),
        ([message("A"), b"MSH\r"], [["CR"]]),
        ([message("A"), message("B") + b"BHS|^~\\&\rEVN|1\r"], [["CR"], ["CR"]]),
        ([message("A", "ACK")], []),
        ([], []),
    ],
    ids=["an objection", "no header to answer", "cannot be taken apart", "only an acknowledgment", "empty"],
)
def test_what_is_not_handed_over(messages: list[bytes], frames: list[list[str]]) -> None:
    parts, answers = Site(objection=Fault("not so", 207)).receive(*messages)
    assert parts == ()
    assert [codes(frame) for frame in answers] == frames


def test_headers_are_found_where_they_stand() -> None:
    site = Site()
    parts, _ = site.receive(message("A"), message("ACK", "ACK"), message("B"))
    assert [each.control_id for each in parts] == ["A", "B"]
    assert [Header.parse(each.body or b"").control_id for each in parts] == ["A", "B"]
