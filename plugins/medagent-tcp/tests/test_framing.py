"""Byte stream framing: the same frames however the stream is split, and no harm from what is none."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_tcp.framing import Cut, Event, Frame, FrameDecoder, Outside, TooLong

START, END = 0x02, 0x5D
"""The end byte has a meaning in regular expressions: `]`."""
LIMIT = 6


def decode(reads: list[bytes], start: int = START, end: int = END, limit: int = LIMIT) -> list[Event]:
    decoder = FrameDecoder(start, end, limit)
    return [event for data in reads for event in decoder.feed(data)]


def reference(stream: bytes) -> list[Event]:
    """A byte-wise parser of the same rules; what stands outside frames is left out."""
    events: list[Event] = []
    frame: bytearray | None = None
    for byte in stream:
        if byte == START:
            if frame is not None and len(frame) > 1:
                events.append(Cut(len(frame)))
            frame = bytearray([byte])
        elif frame is not None:
            frame.append(byte)
            if byte == END:
                events.append(Frame(bytes(frame)) if len(frame) <= LIMIT else TooLong(len(frame)))
                frame = None
    return events


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[begin:end] for begin, end in itertools.pairwise(edges)]


streams = st.lists(st.sampled_from([START, START, END, END, 0x61, 0x62, 0x5B, 0xFF]), max_size=60).map(bytes)


@given(streams, st.lists(st.integers(0, 60), max_size=8))
def test_any_split_gives_the_same_frames(stream: bytes, cuts: list[int]) -> None:
    events = decode(split(stream, cuts))
    assert [event for event in events if not isinstance(event, Outside)] == reference(stream)


@given(streams, st.lists(st.integers(0, 60), max_size=8))
def test_every_byte_is_accounted_for(stream: bytes, cuts: list[int]) -> None:
    decoder = FrameDecoder(START, END, LIMIT)
    events = [event for data in split(stream, cuts) for event in decoder.feed(data)]
    seen = sum(len(event.data) if isinstance(event, Frame) else event.size for event in events)
    lone_starts = sum(1 for begin, following in itertools.pairwise(stream) if begin == following == START)
    unfinished = 0 if not decoder.inside else len(stream) - stream.rindex(START)
    assert seen + lone_starts + unfinished == len(stream)
    assert decoder.held == (unfinished if unfinished <= LIMIT else 0)


@pytest.mark.parametrize(("start", "end"), [(0x0B, 0x1C), (0x5E, 0x5D), (0x5B, 0x5C), (0x00, 0xFF), (0x2D, 0x0A)])
def test_any_two_bytes_can_be_start_and_end(start: int, end: int) -> None:
    frame = bytes([start]) + b"a" + bytes([end])
    assert decode([b"ab" + frame + frame], start, end) == [Outside(2), Frame(frame), Frame(frame)]


def test_a_lost_end_does_not_join_two_messages() -> None:
    assert decode([b"\x02one\x02two]"]) == [Cut(4), Frame(b"\x02two]")]


def test_a_frame_that_is_too_long_is_not_kept_and_what_follows_is_found() -> None:
    decoder = FrameDecoder(START, END, LIMIT)
    assert decoder.feed(b"\x02" + b"x" * 1000) == []
    assert (decoder.inside, decoder.held) == (True, 0)
    assert decoder.feed(b"y]\x02ok]") == [TooLong(1003), Frame(b"\x02ok]")]
    assert not decoder.inside


def test_a_frame_may_be_empty() -> None:
    assert decode([b"\x02]"]) == [Frame(b"\x02]")]


def test_another_limit_holds_at_once() -> None:
    decoder = FrameDecoder(START, END, LIMIT)
    decoder.feed(b"\x02abc")
    decoder.limit = 4
    assert decoder.feed(b"d]") == [TooLong(6)]


@pytest.mark.parametrize(("rest", "size"), [(b"]", 5), (b"de]", 7)])
def test_a_frame_without_its_beginning_is_none_whatever_the_limit_becomes(rest: bytes, size: int) -> None:
    decoder = FrameDecoder(START, END, 3)
    decoder.feed(b"\x02abc")
    decoder.limit = 100
    assert decoder.feed(rest) == [TooLong(size)]
    assert decoder.feed(b"\x02whole]") == [Frame(b"\x02whole]")]
