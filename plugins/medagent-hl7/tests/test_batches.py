"""What a batch becomes, without I/O: handed over as one, or refused with an answer for each message."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest

from medagent.config.model import Value
from medagent.listening import Notices
from medagent.types import Answer, Delivery, InboundMessage, Refusal, RefusalKind
from medagent_hl7.batches import MOST_REFUSALS
from medagent_hl7.in_force import InForce
from medagent_hl7.message import Header
from medagent_hl7.origin import Tracked
from medagent_hl7.tracking import Tracking
from medagent_hl7.workings import Workings

LOG = logging.getLogger("medagent.channel.lab")


def message(control_id: str, message_type: str = "ADT^A01") -> bytes:
    return f"MSH|^~\\&|LAB|N|EHR|M|20260105||{message_type}|{control_id}|P|2.5.1\rPID|1\r".encode()


def codes(frame: bytes | None) -> list[str]:
    return [segment.split(b"|")[1].decode() for segment in (frame or b"").split(b"\r") if segment.startswith(b"MSA")]


@dataclass
class Site:
    """A channel's batches, and what it would write and report."""

    parameters: dict[str, Value] = field(default_factory=dict)
    open_links: set[str] = field(default_factory=lambda: {"c1", "c2"})
    seq: int = 0

    def __post_init__(self) -> None:
        notices = Notices(LOG, "lab")
        workings = Workings.from_parameters({"enhanced": "true", **self.parameters}, notices)
        is_open = self.open_links.__contains__
        self.tracking = Tracking(InForce(workings), {}, notices=notices, channel="lab", is_open=is_open)
        self.sent: list[bytes] = []
        self.reported: list[tuple[str, Delivery]] = []

    def receive(self, *messages: bytes, link: str = "c1") -> tuple[tuple[InboundMessage, ...], list[bytes]]:
        body = b"BHS|^~\\&|LAB|N|EHR|M|20260105||||B1\r" + b"".join(messages) + b"BTS|\r"
        return self.receive_body(body, link)

    def receive_body(self, body: bytes, link: str = "c1") -> tuple[tuple[InboundMessage, ...], list[bytes]]:
        handed_over, frames = self.tracking.batches.receive(body, "10.0.0.7:1", link)
        parts = handed_over[0].parts if handed_over else ()
        for part in parts:
            self.seq += 1
            part.seq = self.seq
        return parts, frames

    def commit(self, *messages: InboundMessage) -> list[bytes]:
        frames = [self.tracking.to_commit(each) for each in messages]
        return [frame for frame in frames if frame is not None]

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


STRICT: dict[str, Value] = {"missingControlId": "reject"}
TOGETHER: dict[str, Value] = {"batchAck": "batch"}
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


def test_a_message_that_comes_twice_in_a_batch_is_answered_twice() -> None:
    # it is stored once; the place of the copy takes over the stored one's
    site = Site(TOGETHER)
    (one, copy, two), _ = site.receive(message("A"), message("A"), message("B"))
    copy.copy_of = one.seq
    site.commit(one, copy, two)
    one.origin = copy.origin
    assert site.answer((one, OK), (two, OK)) == [Delivery.SENT, Delivery.SENT]
    assert [codes(frame) for frame in site.sent] == [["AA", "AA", "AA"]]
    assert not site.tracking.batches.waiting


def send_again(site: Site, first: tuple[InboundMessage, ...], link: str) -> None:
    """The same batch, before it is answered; as the core does it, the stored messages are the newest connection's."""
    again, _ = site.receive(*(part.body or b"" for part in first), link=link)
    for part, copy in zip(first, again, strict=True):
        copy.copy_of = part.seq
        part.origin, part.link = copy.origin, copy.link
    site.commit(*again)


def test_a_batch_sent_again_before_its_answer_leaves_nothing_waiting() -> None:
    site = Site(TOGETHER)
    first, _ = site.receive(message("A"), message("B"))
    site.commit(*first)
    send_again(site, first, "c1")
    site.answer(*((part, OK) for part in first))
    assert [codes(frame) for frame in site.sent] == [["AA", "AA"], ["AA", "AA"]]
    assert not site.tracking.batches.waiting


def test_the_newest_connection_has_the_answers_and_the_older_one_waits_for_none() -> None:
    site = Site(TOGETHER)
    first, _ = site.receive(message("A"), message("B"))
    site.commit(*first)
    send_again(site, first, "c2")
    site.answer(*((part, OK) for part in first))
    assert [codes(frame) for frame in site.sent] == [["AA", "AA"]]
    assert not site.tracking.batches.waiting
    assert site.tracking.batches.closed("c1") == site.tracking.batches.closed("c2") == []


def test_a_connection_that_is_gone_before_the_commit_leaves_nothing() -> None:
    site = Site(TOGETHER)
    parts, _ = site.receive(message("A"), message("B"))
    site.open_links.clear()
    site.commit(*parts)
    assert not site.tracking.batches.waiting
    assert site.answer(*((part, OK) for part in parts)) == [Delivery.GONE] * 2


def test_a_connection_that_goes_leaves_the_places_of_the_others() -> None:
    site = Site(TOGETHER)
    first, _ = site.receive(message("A"), message("B"))
    site.commit(*first)
    send_again(site, first, "c2")
    site.tracking.batches.closed("c1")
    assert site.answer(*((part, OK) for part in first)) == [Delivery.SENT] * 2
    assert [codes(frame) for frame in site.sent] == [["AA", "AA"]]


def test_two_messages_with_one_control_id_have_answers_of_their_own() -> None:
    site = Site(TOGETHER)
    (one, other), _ = site.receive(message("A"), message("A", "ADT^A08"))
    site.commit(one, other)
    assert site.answer((one, OK)) == [Delivery.QUEUED]
    assert site.answer((other, Answer(False, ""))) == [Delivery.SENT]
    assert [codes(frame) for frame in site.sent] == [["AA", "AE"]]


@pytest.mark.parametrize("control_id", ["A", ""])
def test_answers_of_messages_read_back_from_disk_find_their_places(control_id: str) -> None:
    site = Site(TOGETHER)
    bodies = [message(control_id), message(control_id, "ADT^A08")]
    parts, _ = site.receive(*bodies)
    site.commit(*parts)
    single = InboundMessage(message(control_id, "ADT^A31"), control_id, "10.0.0.7:1", "c1", seq=90)
    again = [
        InboundMessage(body, control_id, "10.0.0.7:1", "c1", seq=part.seq) for body, part in zip(bodies, parts, strict=True)
    ]
    assert site.answer((single, OK)) == [Delivery.GONE], "it is no part of the batch"
    assert site.answer((again[1], Answer(False, "")), (again[0], OK)) == [Delivery.SENT, Delivery.SENT]
    assert [codes(frame) for frame in site.sent] == [["AA", "AE"]]


def held(value: object, seen: set[int]) -> int:
    """Bytes of all texts that can be reached from here."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(held(each, seen) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple | set):
        return sum(held(each, seen) for each in value)
    names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
    return sum(held(getattr(value, name), seen) for name in names)


def test_a_batch_that_waits_keeps_no_bodies() -> None:
    site = Site(TOGETHER)
    long = b"OBX|" + b"y" * 100_000 + b"\r"
    body = b"BHS|^~\\&|LAB" + b"|" * 20 + b"y" * 100_000 + b"\r" + (message("A") + long) * 3
    parts, _ = site.receive_body(body)
    site.commit(*parts)
    assert isinstance(parts[0].origin, Tracked)
    assert held(parts[0].origin.batch, set()) < 1000


@pytest.mark.parametrize("together", [{}, TOGETHER])
@pytest.mark.parametrize("segment", [b"MSH|^~\\&\r", b"BHS|^~\\&\r", b"BTS|\r", b"FTS|\r"])
def test_a_batch_above_the_limit_is_refused_by_one_answer(together: dict[str, Value], segment: bytes) -> None:
    site = Site({**together, "maxBatchMessages": 10})
    head = b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\r" + message("A")
    parts, frames = site.receive_body(head + segment * 1000)
    assert parts == ()
    assert [codes(frame) for frame in frames] == [["CR"]]
    assert b"MSA|CR|A|" in frames[0]
    assert b"more than 10 messages" in frames[0]
    assert b"maxBatchMessages" in frames[0]
    assert not frames[0].startswith(b"\x0bFHS")


def test_a_batch_of_as_many_messages_as_allowed() -> None:
    site = Site({"maxBatchMessages": 10})
    parts, _ = site.receive(*(message(str(number)) for number in range(10)))
    assert len(parts) == 10


def test_a_batch_above_the_limit_without_a_header_to_answer() -> None:
    assert Site({"maxBatchMessages": 10}).receive_body(b"BHS\r" * 1000) == ((), [])


def test_the_first_messages_of_a_refused_batch_are_answered() -> None:
    site = Site(STRICT)
    _, frames = site.receive(message(""), *(message(str(number)) for number in range(MOST_REFUSALS + 50)))
    assert len(frames) == MOST_REFUSALS
    _, frames = site.receive(*(message(str(number)) for number in range(MOST_REFUSALS + 50)), message(""))
    assert len(frames) == MOST_REFUSALS


@pytest.mark.parametrize(
    ("messages", "frames"),
    [
        ([message("A"), message("")], [["CR"], ["CR"]]),
        ([message("A"), b"MSH\r"], [["CR"]]),
        ([message("A"), message("B") + b"BHS|^~\\&\rEVN|1\r"], [["CR"], ["CR"]]),
        ([message("A", "ACK")], []),
        ([], []),
    ],
    ids=["an objection", "no header to answer", "cannot be taken apart", "only an acknowledgment", "empty"],
)
def test_what_is_not_handed_over(messages: list[bytes], frames: list[list[str]]) -> None:
    parts, answers = Site(STRICT).receive(*messages)
    assert parts == ()
    assert [codes(frame) for frame in answers] == frames


def test_headers_are_found_where_they_stand() -> None:
    site = Site()
    parts, _ = site.receive(message("A"), message("ACK", "ACK"), message("B"))
    assert [each.control_id for each in parts] == ["A", "B"]
    assert [Header.parse(each.body or b"").control_id for each in parts] == ["A", "B"]


def test_messages_without_headers_are_answered_in_one_frame() -> None:
    site = Site(TOGETHER)
    (one, two), _ = site.receive_body(message("A") + message("B"))
    site.tracking.to_commit(one)
    frame = site.tracking.to_commit(two) or pytest.fail("no answer")
    assert codes(frame) == ["CA", "CA"]
    assert [segment[:3] for segment in frame[1:-3].split(b"\r")] == [b"MSH", b"MSA", b"MSH", b"MSA"]


FILE = b"FHS|^~\\&|LAB|N|EHR|M|20260105||||F1\rBHS|^~\\&|LAB|N|EHR|M|20260105||||B1\rBTS|0\rFTS|1\r"


def test_a_wrong_count_that_refuses_is_noted_once(caplog: pytest.LogCaptureFixture) -> None:
    site = Site({"batchCounts": "reject"})
    parts, frames = site.receive_body(b"BHS|^~\\&|LAB\r" + message("A") + message("B") + b"BTS|3\r")
    assert (parts, [codes(frame) for frame in frames]) == ((), [["CR"], ["CR"]])
    assert b"|BTS-1 is wrong: the batch has 2 messages" in frames[0]
    [line] = caplog.messages
    assert "batch refused: 2 messages: BTS-1 is wrong: the batch has 2 messages, from 10.0.0.7:1" in line
