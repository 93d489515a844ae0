"""The state machine of a line, step by step: what each side says, and what it waits for. Time is a number."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from medagent_astm.events import Begun, Ended, Event, Noted, NotSent, Received, Sent, Timing
from medagent_astm.frames import encode, encode_texts
from medagent_astm.link import Link

ENQ, ACK, NAK, EOT = b"\x05", b"\x06", b"\x15", b"\x04"
ONE, TWO, THREE = encode_texts([b"H|\\^&\r", b"P|1\r", b"L|1|N\r"])
FRAME = encode(1, b"A", last=True)


class Line:
    """A link, and the time."""

    def __init__(self, *, strict: bool = True) -> None:
        self.now = 100.0
        self.link = Link(Timing(), strict=strict)

    def hear(self, data: bytes) -> tuple[list[Event], bytes]:
        """What it makes of bytes, and what it says. Frames are acknowledged at once."""
        return self._all(self.link.receive(data, self.now), acknowledge=True)

    def hold(self, data: bytes) -> tuple[list[Event], bytes]:
        """The same, but frames are left without a reply."""
        return self._all(self.link.receive(data, self.now))

    def after(self, seconds: float) -> tuple[list[Event], bytes]:
        self.now += seconds
        return self._all(self.link.wake(self.now))

    def ready(self, ready: bool) -> tuple[list[Event], bytes]:
        self.link.ready = ready
        return self._all(self.link.go_on(self.now))

    def send(self, *frames: bytes, seconds: float = 120.0) -> tuple[list[Event], bytes]:
        self.link.send(frames, self.now, seconds)
        return self.after(0.0)

    def _all(self, events: Iterator[Event], *, acknowledge: bool = False) -> tuple[list[Event], bytes]:
        found = []
        for event in events:
            found.append(event)
            if acknowledge and isinstance(event, Received):
                self.link.acknowledge(self.now)
        return found, self.link.output()


@pytest.fixture
def line() -> Line:
    return Line()


# receiving


def test_a_transmission(line: Line) -> None:
    assert line.hear(ENQ) == ([Begun()], ACK)
    assert line.hear(ONE) == ([Received(b"H|\\^&\r", True)], ACK)
    assert line.hear(TWO + THREE[:5]) == ([Received(b"P|1\r", True)], ACK)
    assert line.hear(THREE[5:] + EOT) == ([Received(b"L|1|N\r", True), Ended(True)], ACK)
    assert not line.link.receiving
    assert line.link.deadline is None


def test_an_acknowledgment_waits_for_the_owner(line: Line) -> None:
    line.hear(ENQ)
    assert line.hold(ONE) == ([Received(b"H|\\^&\r", True)], b"")
    assert line.after(14.9) == ([], b"")
    line.link.acknowledge(line.now)
    assert line.link.output() == ACK


def test_a_refused_frame_is_new_when_it_comes_again(line: Line) -> None:
    line.hear(ENQ)
    line.hold(ONE)
    line.link.refuse(line.now)
    assert line.link.output() == NAK
    assert line.hear(ONE) == ([Received(b"H|\\^&\r", True)], ACK)
    assert line.hear(EOT) == ([Ended(True)], b"")


def test_a_refusal_may_take_its_time(line: Line) -> None:
    line.hear(ENQ)
    line.hold(ONE)
    line.link.refuse(line.now, after=1.0)
    assert line.after(0.9) == ([], b"")
    assert line.hold(ONE) == ([Noted.REPEATED], b"")
    assert line.after(0.2) == ([], NAK)
    line.hold(ONE)
    line.link.refuse(line.now, after=1.0)
    assert line.hold(EOT) == ([Ended(False)], b"")
    assert line.after(2.0) == ([], b"")


def test_a_frame_refused_for_good_ends_with_the_senders_patience(line: Line) -> None:
    line.hear(ENQ)
    line.hold(ONE)
    line.link.refuse(line.now, final=True)
    line.link.output()
    assert [line.hear(ONE) for _ in range(5)] == [([], NAK)] * 5
    assert line.hear(EOT) == ([Ended(False)], b"")
    assert line.hear(ENQ + ONE) == ([Begun(), Received(b"H|\\^&\r", True)], ACK + ACK)


def test_a_frame_whose_acknowledgment_was_lost_is_acknowledged_and_not_taken_twice(line: Line) -> None:
    line.hear(ENQ + ONE)
    assert line.hear(ONE) == ([Noted.REPEATED], ACK)
    assert line.hear(TWO) == ([Received(b"P|1\r", True)], ACK)


@pytest.mark.parametrize("other", [encode(1, b"P|1\r", last=True), encode(1, b"H|\\^&\r", last=False)])
def test_another_text_under_the_number_of_the_last_frame_is_not_acknowledged_untaken(line: Line, other: bytes) -> None:
    line.hear(ENQ + ONE)
    assert line.hear(other) == ([Noted.NUMBER], NAK)
    assert line.hear(ONE) == ([Noted.REPEATED], ACK)


def test_a_repetition_of_a_damaged_frame_that_was_taken_is_one() -> None:
    line = Line(strict=False)
    line.hear(ENQ + ONE.replace(b"H", b"h"))
    assert line.hear(ONE) == ([Noted.REPEATED], ACK)


def test_a_first_frame_with_number_0_is_no_repetition(line: Line) -> None:
    line.hear(ENQ)
    assert line.hear(encode(8, b"H", last=True)) == ([Noted.NUMBER], NAK)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (ONE.replace(b"H", b"h"), Noted.CHECKSUM),
        (TWO, Noted.NUMBER),
        (ONE[1:], Noted.DAMAGE),
        (ENQ + ONE[1:], Noted.DAMAGE),
    ],
)
def test_a_bad_frame_is_refused_once(line: Line, data: bytes, why: Noted) -> None:
    line.hear(ENQ)
    assert line.hear(data) == ([why], NAK)
    assert line.hear(ONE) == ([Received(b"H|\\^&\r", True)], ACK)


def test_a_lenient_link_takes_a_wrong_checksum_and_says_so() -> None:
    line = Line(strict=False)
    line.hear(ENQ)
    assert line.hear(ONE.replace(b"H", b"h")) == ([Noted.CHECKSUM, Received(b"h|\\^&\r", True)], ACK)


def test_eot_in_place_of_a_repetition_is_no_orderly_end(line: Line) -> None:
    line.hear(ENQ + ONE)
    line.hear(TWO.replace(b"P", b"Q"))
    assert line.hear(EOT) == ([Ended(False)], b"")


def test_eot_behind_a_part_of_a_text_is_no_orderly_end(line: Line) -> None:
    line.hear(ENQ + encode(1, b"H|", last=False))
    assert line.hear(EOT) == ([Ended(False)], b"")


def test_a_sender_that_gives_up_gets_no_late_acknowledgment(line: Line) -> None:
    line.hear(ENQ)
    line.hold(ONE)
    assert line.hold(EOT) == ([Ended(False)], b"")
    line.link.acknowledge(line.now)
    line.link.refuse(line.now)
    assert line.link.output() == b""
    assert line.hold(ENQ) == ([Begun()], ACK)
    line.link.acknowledge(line.now)
    assert line.link.output() == b""


def test_a_frame_that_comes_again_while_it_is_held_gets_one_acknowledgment(line: Line) -> None:
    line.hear(ENQ)
    line.hold(ONE)
    assert line.hold(ONE) == ([Noted.REPEATED], b"")
    line.link.acknowledge(line.now)
    assert line.link.output() == ACK


def test_a_silent_sender_loses_the_line(line: Line) -> None:
    line.hear(ENQ)
    assert line.after(29.9) == ([], b"")
    line.hear(ONE)
    assert line.after(29.9) == ([], b"")
    line.hear(TWO[:4])
    assert line.after(29.9) == ([], b"")
    assert line.after(0.2) == ([Noted.SILENCE, Ended(False)], b"")
    assert line.hear(TWO[4:]) == ([], b"")
    assert line.hear(ENQ) == ([Begun()], ACK)


def test_a_side_that_is_not_ready_says_so_after_ten_seconds(line: Line) -> None:
    line.ready(False)
    assert line.hear(ENQ) == ([], b"")
    assert line.after(9.9) == ([], b"")
    assert line.after(0.2) == ([Noted.BUSY], NAK)
    line.hear(ENQ)
    assert line.ready(True) == ([Begun()], ACK)


def test_a_sender_that_asks_in_vain_may_withdraw(line: Line) -> None:
    line.ready(False)
    line.hear(ENQ + EOT)
    assert line.ready(True) == ([], b"")
    assert line.link.deadline is None


def test_a_side_that_is_not_ready_holds_a_frame(line: Line) -> None:
    line.hear(ENQ)
    line.ready(False)
    assert line.hold(ONE) == ([], b"")
    assert line.ready(True) == ([Received(b"H|\\^&\r", True)], b"")
    assert line.ready(True) == ([], b"")
    line.link.acknowledge(line.now)
    assert line.link.output() == ACK


# sending


def test_sending(line: Line) -> None:
    assert line.send(ONE, TWO) == ([], ENQ)
    assert line.hear(ACK) == ([], ONE)
    assert line.hear(ACK) == ([], TWO)
    assert line.hear(ACK) == ([Sent()], EOT)
    assert not line.link.receiving
    assert not line.link.sends


def test_one_transmission_at_a_time(line: Line) -> None:
    line.send(ONE)
    with pytest.raises(ValueError, match="one transmission"):
        line.link.send([TWO], line.now, 1.0)


def test_a_busy_receiver_is_asked_again_after_ten_seconds(line: Line) -> None:
    line.send(ONE)
    assert line.hear(NAK) == ([Noted.NOT_GRANTED], b"")
    assert line.after(9.9) == ([], b"")
    assert line.after(0.2) == ([], ENQ)
    assert line.hear(ACK) == ([], ONE)


def test_nobody_answers_enq(line: Line) -> None:
    line.send(ONE, seconds=30.0)
    assert line.after(15.0) == ([Noted.NOT_GRANTED], EOT)
    assert line.after(10.0) == ([], ENQ)
    assert line.after(15.0) == ([Noted.NOT_GRANTED, NotSent("the line was not granted")], EOT)
    assert line.link.deadline is None


def test_an_instrument_that_sends_frames_without_the_line_gets_nothing_that_it_could_take_for_a_reply(line: Line) -> None:
    line.hear(ENQ)
    line.after(31.0)
    assert line.send(TWO) == ([], ENQ)
    assert line.hear(ONE) == ([], b"")
    assert line.after(15.0) == ([Noted.NOT_GRANTED], b"")


@pytest.mark.parametrize("reply", [NAK, b"x"])
def test_a_refused_frame_is_sent_six_times(line: Line, reply: bytes) -> None:
    line.send(ONE, TWO)
    line.hear(ACK)
    line.hear(ACK)
    assert [line.hear(reply) for _ in range(5)] == [([], TWO)] * 5
    assert line.hear(reply) == ([NotSent("a frame was refused six times")], EOT)
    assert not line.link.receiving


def test_failures_are_counted_for_each_frame(line: Line) -> None:
    line.send(ONE, TWO)
    line.hear(ACK)
    for _ in range(5):
        line.hear(NAK)
    assert line.hear(ACK) == ([], TWO)
    assert [line.hear(NAK) for _ in range(5)] == [([], TWO)] * 5
    assert line.hear(ACK) == ([Sent()], EOT)


def test_no_reply_to_a_frame_ends_the_transmission(line: Line) -> None:
    line.send(ONE)
    line.hear(ACK)
    assert line.after(14.9) == ([], b"")
    assert line.after(0.2) == ([NotSent("no reply to a frame")], EOT)


def test_a_doubled_reply_in_one_read_counts_once(line: Line) -> None:
    line.send(ONE, TWO)
    line.hear(ACK + ACK)
    assert line.hear(ACK + ACK) == ([], TWO)


def test_contention_gives_the_instrument_its_turn(line: Line) -> None:
    line.send(ONE)
    assert line.hear(ENQ) == ([Noted.CONTENTION], b"")
    assert line.after(1.0) == ([], b"")
    assert line.hear(ENQ) == ([Begun()], ACK)
    line.hear(FRAME)
    assert line.hear(EOT) == ([Ended(True)], b"")
    assert line.after(0.0) == ([], ENQ)


def test_contention_without_a_second_enq_ends_after_20_seconds(line: Line) -> None:
    line.send(ONE)
    line.hear(ENQ)
    assert line.after(19.9) == ([], b"")
    assert line.after(0.2) == ([], ENQ)


def test_a_receiver_may_interrupt(line: Line) -> None:
    line.send(ONE, TWO)
    line.hear(ACK)
    assert line.hear(EOT) == ([Noted.INTERRUPTED], EOT)
    assert line.hear(ENQ + FRAME + EOT) == ([Begun(), Received(b"A", True), Ended(True)], ACK + ACK)
    assert line.after(0.0) == ([], ENQ)
    assert line.hear(ACK) == ([], ONE)


def test_eot_as_the_last_reply_is_an_acknowledgment(line: Line) -> None:
    line.send(ONE)
    line.hear(ACK)
    assert line.hear(EOT) == ([Sent()], EOT)


def test_what_is_to_be_sent_waits_for_the_end_of_what_comes(line: Line) -> None:
    line.hear(ENQ)
    assert line.send(ONE) == ([], b"")
    assert line.hear(FRAME) == ([Received(b"A", True)], ACK)
    assert line.hear(EOT) == ([Ended(True)], b"")
    assert line.after(0.0) == ([], ENQ)


def test_what_is_to_be_sent_does_not_wait_for_ever_for_the_end_of_what_comes(line: Line) -> None:
    line.hear(ENQ + ONE)
    line.link.send([FRAME], line.now, 20.0)
    line.now += 20.0
    assert line.hear(TWO) == ([NotSent("the line was not granted"), Received(b"P|1\r", True)], ACK)
    assert not line.link.sends
    assert line.hear(THREE + EOT) == ([Received(b"L|1|N\r", True), Ended(True)], ACK)


def test_a_lost_connection_ends_both(line: Line) -> None:
    line.hear(ENQ + FRAME)
    line.send(ONE)
    assert list(line.link.lost()) == [Ended(False)]
    assert line.link.deadline is None
    assert not line.link.sends
