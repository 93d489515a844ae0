"""MLLP framing: the same frames however the stream is split, and no harm from bad ones."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.framing import (
    HEAD_BYTES,
    Broken,
    Empty,
    Frame,
    FrameDecoder,
    FrameEvent,
    Junk,
    Oversize,
    encode_frame,
)

LIMIT = 12


def reference(stream: bytes, limit: int) -> list[FrameEvent]:
    """A byte-wise parser of the same rules; junk is left out."""
    events: list[FrameEvent] = []
    body: bytearray | None = None

    def lost(data: bytes) -> None:
        if len(data) > limit:
            events.append(Oversize(data[:HEAD_BYTES], len(data)))
        elif data:
            events.append(Broken(len(data)))

    for byte in stream:
        if byte == 0x0B:
            if body is not None:
                lost(bytes(body))
            body = bytearray()
        elif body is not None and byte == 0x0D and body.endswith(b"\x1c"):
            whole = bytes(body[:-1])
            if len(whole) > limit:
                events.append(Oversize(whole[:HEAD_BYTES], len(whole)))
            else:
                events.append(Frame(whole) if whole else Empty())
            body = None
        elif body is not None:
            body.append(byte)
    return events


def decode(reads: list[bytes], limit: int = LIMIT) -> list[FrameEvent]:
    decoder = FrameDecoder(limit)
    return [event for data in reads for event in decoder.feed(data)]


def without_junk(events: list[FrameEvent]) -> list[FrameEvent]:
    return [event for event in events if not isinstance(event, Junk)]


def junk_size(events: list[FrameEvent]) -> int:
    return sum(event.size for event in events if isinstance(event, Junk))


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[begin:end] for begin, end in itertools.pairwise(edges)]


streams = st.lists(
    st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\x1c\r", b"\x0bab\x1c\r", b"a", b"\n", b"\0", b"0123456789abc"]), max_size=24
).map(b"".join)


@given(streams, st.lists(st.integers(0, 120), max_size=12))
def test_split_stream_gives_same_events_as_whole(stream: bytes, cuts: list[int]) -> None:
    whole = decode([stream])
    pieces = decode(split(stream, cuts))
    bytewise = decode([bytes([byte]) for byte in stream])

    assert without_junk(whole) == without_junk(pieces) == without_junk(bytewise) == reference(stream, LIMIT)
    assert junk_size(whole) == junk_size(pieces) == junk_size(bytewise)


@given(st.lists(st.binary(min_size=1).filter(lambda body: not set(body) & {0x0B, 0x1C}), max_size=8))
def test_encoded_frames_come_back_together(bodies: list[bytes]) -> None:
    assert decode([b"".join(map(encode_frame, bodies))], limit=1000) == [Frame(body) for body in bodies]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"\x0ba\x1cb\x1c\r", [Frame(b"a\x1cb")]),
        (b"\x0ba\x1c\x1c\r", [Frame(b"a\x1c")]),
        (b"\x0b\x0bMSH\x1c\r", [Frame(b"MSH")]),
        (b"\x0blost\x0bMSH\x1c\r", [Broken(4), Frame(b"MSH")]),
        (b"\x0blost\x1c\x0bMSH\x1c\r", [Broken(5), Frame(b"MSH")]),
        (b"\x0b\x1c\r\x0bMSH\x1c\r", [Empty(), Frame(b"MSH")]),
        (b"\r\n\0\x0bMSH\x1c\r\r\n\0", [Frame(b"MSH")]),
        (b"GET /\r\n\x0bMSH\x1c\r", [Junk(5, printable=True), Frame(b"MSH")]),
        (b"\x16\x03\x01\x0bMSH\x1c\r\xff", [Junk(3, printable=False), Frame(b"MSH"), Junk(1, printable=False)]),
        (b"\x0b" + b"x" * 12 + b"\x1c\r", [Frame(b"x" * 12)]),
        (b"\x0b" + b"x" * 13 + b"\x1c\r\x0bMSH\x1c\r", [Oversize(b"x" * 13, 13), Frame(b"MSH")]),
        (b"\x0b" + b"x" * 13 + b"\x0bMSH\x1c\r", [Oversize(b"x" * 13, 13), Frame(b"MSH")]),
    ],
)
def test_edge_case(stream: bytes, events: list[FrameEvent]) -> None:
    assert decode([stream]) == events
    assert without_junk(decode([bytes([byte]) for byte in stream])) == without_junk(events)


def test_frame_over_limit_is_dropped_as_it_comes_in() -> None:
    decoder = FrameDecoder(100_000)
    assert decoder.feed(b"\x0bMSH|" + b"x" * 60_000) == []
    assert decoder.pending_size == 60_004
    for _ in range(50):
        assert decoder.feed(b"y" * 60_000) == []
    [oversize] = decoder.feed(b"\x1c\r")
    assert isinstance(oversize, Oversize)
    assert oversize.size == 60_004 + 50 * 60_000
    assert oversize.head == b"MSH|" + b"x" * (HEAD_BYTES - 4)
    assert decoder.pending_size == 0
    assert decoder.feed(encode_frame(b"MSH")) == [Frame(b"MSH")]


@pytest.mark.parametrize("cut", [1, 9_000, 10_001, 10_002])
@pytest.mark.parametrize("size", [10_000, 10_001])
def test_limit_is_exact_however_split(cut: int, size: int) -> None:
    body = bytes(range(32, 122)) * 112
    expected = Frame(body[:size]) if size == 10_000 else Oversize(body[:HEAD_BYTES], size)
    stream = encode_frame(body[:size])
    assert decode([stream[:cut], stream[cut:]], limit=10_000) == [expected]
