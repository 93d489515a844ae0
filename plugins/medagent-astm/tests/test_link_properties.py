"""Two links, a line between them that loses, doubles and changes bytes, and a time that is only a number.

What the protocol cannot see is left out: a reply of one byte has no checksum, so no reply becomes one that means yes; and while
both sides want the line, no part of a frame becomes a character that asks for it, grants it or ends it.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from medagent_astm.events import Begun, Event, NotSent, Received, Sent, Timing
from medagent_astm.frames import encode_texts
from medagent_astm.link import Link
from medagent_astm.records import Assembly, Unusable

LATENCY = 0.01
ACK_OR_EOT = b"\x06\x04"
CONTROLS = (0x04, 0x05, 0x06, 0x15)
FROM_THE_INSTRUMENT = "H|\\^&|||Chem\rP|1\rR|1|^^^GLU|93\rL|1|N\r"
FROM_THE_COMPUTER = "H|\\^&|||Host\rP|1\rO|1|S-17||^^^GLU\rL|1|N\r"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the nth write."""

    write: int
    kind: str
    place: int
    byte: int

    def strike(self, data: bytes) -> bytes:
        place = self.place % len(data)
        if self.kind == "drop":
            return data[:place] + data[place + 1 :]
        if self.kind == "double":
            return data[: place + 1] + data[place:]
        if len(data) == 1 and self.byte in ACK_OR_EOT:
            return b""
        return data[:place] + bytes([self.byte]) + data[place + 1 :]


def faults(*spared: int) -> st.SearchStrategy[list[Fault]]:
    """Faults of a line; no byte is changed into one that is spared."""
    byte = st.one_of(st.integers(0, 255), st.sampled_from([2, 3, 4, 5, 6, 10, 13, 21, 23])).filter(
        lambda one: one not in spared
    )
    kind = st.sampled_from(["drop", "double", "change"])
    return st.lists(st.builds(Fault, st.integers(0, 40), kind, st.integers(0, 60), byte), max_size=12)


@dataclass(slots=True)
class Side:
    """One end of the line, and what it has got."""

    link: Link
    faults: list[Fault]
    assembly: Assembly = field(default_factory=lambda: Assembly(10_000))
    messages: list[bytes] = field(default_factory=list)
    outcome: Sent | NotSent | None = None
    writes: int = 0
    refusals: int = 0
    """So many complete messages are refused, as if the disk was full."""

    def deal_with(self, events: Iterator[Event], now: float) -> None:
        for event in events:
            if isinstance(event, Begun):
                self.assembly = Assembly(10_000)
            elif isinstance(event, Received):
                self._take(event, now)
            elif isinstance(event, Sent | NotSent):
                self.outcome = event

    def _take(self, event: Received, now: float) -> None:
        try:
            found = self.assembly.add(event.text, last=event.last)
        except Unusable:
            self.link.refuse(now, final=True)
            return
        if found and self.refusals:
            self.refusals -= 1
            self.assembly.take_back()
            self.link.refuse(now)
            return
        self.messages += found
        self.assembly.confirm()
        self.link.acknowledge(now)

    def written(self) -> bytes:
        data = self.link.output()
        for fault in self.faults:
            if data and fault.write == self.writes:
                data = fault.strike(data)
                break
        self.writes += 1
        return data


def run(sides: tuple[Side, Side], starts: list[tuple[float, int]], longest: int) -> None:
    """Sides send their message, each at its time; until nothing happens any more."""
    numbers = itertools.count()
    due: list[tuple[float, int, int, bytes]] = []
    for start, index in starts:
        heapq.heappush(due, (start, next(numbers), index, b""))
    for _ in range(2_000):
        deadlines = [(side.link.deadline, index) for index, side in enumerate(sides) if side.link.deadline is not None]
        first = min(deadlines, default=(float("inf"), 0))
        if due and due[0][0] <= first[0]:
            now, _, index, data = heapq.heappop(due)
            if data:
                sides[index].deal_with(sides[index].link.receive(data, now), now)
            else:
                text = (FROM_THE_INSTRUMENT, FROM_THE_COMPUTER)[index]
                texts = [f"{record}\r".encode() for record in text.split("\r")[:-1]]
                sides[index].link.send(encode_texts(texts, longest), now, 120.0)
        elif deadlines:
            now, index = first[0], first[1]
            sides[index].deal_with(sides[index].link.wake(now), now)
        else:
            return
        for index, side in enumerate(sides):
            if data := side.written():
                heapq.heappush(due, (now + LATENCY, next(numbers), 1 - index, data))
    raise AssertionError("they never come to rest")


def check(sender: Side, receiver: Side, text: str) -> None:
    if isinstance(sender.outcome, Sent):
        assert receiver.messages == [text.encode()]
    else:
        assert isinstance(sender.outcome, NotSent)
        assert receiver.messages in ([], [text.encode()])


@settings(max_examples=200)
@given(faults(), faults(), st.integers(8, 247), st.integers(0, 7))
def test_a_message_arrives_once_or_its_sender_knows_that_it_may_not_have(
    forth: list[Fault], back: list[Fault], longest: int, refusals: int
) -> None:
    instrument = Side(Link(Timing(contention=1.0)), forth)
    computer = Side(Link(Timing()), back, refusals=refusals)
    run((instrument, computer), [(0.0, 0)], longest)
    check(instrument, computer, FROM_THE_INSTRUMENT)


@settings(max_examples=200)
@given(faults(*CONTROLS), faults(*CONTROLS), st.floats(0, 2), st.integers(8, 247), st.integers(0, 7))
def test_so_do_two_messages_that_want_the_line_at_once(
    forth: list[Fault], back: list[Fault], start: float, longest: int, refusals: int
) -> None:
    instrument = Side(Link(Timing(contention=1.0)), forth)
    computer = Side(Link(Timing()), back, refusals=refusals)
    run((instrument, computer), [(0.0, 0), (start, 1)], longest)
    check(instrument, computer, FROM_THE_INSTRUMENT)
    check(computer, instrument, FROM_THE_COMPUTER)


def test_without_faults_both_arrive_though_both_ask_at_once() -> None:
    instrument, computer = Side(Link(Timing(contention=1.0)), []), Side(Link(Timing()), [])
    run((instrument, computer), [(0.0, 0), (0.0, 1)], 247)
    assert (instrument.outcome, computer.outcome) == (Sent(), Sent())
    assert computer.messages == [FROM_THE_INSTRUMENT.encode()]
    assert instrument.messages == [FROM_THE_COMPUTER.encode()]


def observed(pieces: list[bytes]) -> tuple[list[Event], bytes]:
    link, events = Link(), []
    for piece in pieces:
        for event in link.receive(piece, 0.0):
            events.append(event)
            if isinstance(event, Received):
                link.acknowledge(0.0)
    return events, link.output()


GOOD = b"".join(encode_texts([b"H|\\^&\r", b"L|1|N\r"]))
PARTS = st.one_of(st.sampled_from([b"\x05", b"\x04", b"\x06", b"\x15", GOOD, GOOD[:9], GOOD[9:]]), st.binary(max_size=12))


@given(st.lists(PARTS, max_size=12).map(b"".join), st.lists(st.integers(0, 150), max_size=8))
def test_a_receiver_never_raises_and_any_split_gives_the_same(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:stop] for start, stop in itertools.pairwise(edges)]
    assert observed(pieces) == observed([data])


@given(st.binary(max_size=60), st.integers(0, 60))
def test_a_sender_never_raises(data: bytes, at: int) -> None:
    link = Link()
    link.send(encode_texts([b"A", b"B"]), 0.0, 60.0)
    list(link.wake(0.0))
    list(link.receive(data[:at], 0.0))
    list(link.receive(data[at:], 1.0))
    while link.deadline is not None:
        list(link.wake(link.deadline))
    assert not link.sends
