"""MLLP framing: the same frames however the stream is split, and no harm from bad ones."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.diagnosis import outline
from medagent_hl7.framing import (
    ENDLESS_FACTOR,
    HEAD_BYTES,
    Broken,
    Discarded,
    Empty,
    Endless,
    Frame,
    FrameDecoder,
    FrameEvent,
    Junk,
    Oversize,
    encode_frame,
)

LIMIT = 12
HEAD = 4


def reference(stream: bytes, *, lenient: bool) -> list[FrameEvent]:
    """A byte-wise parser of the same rules; junk is left out."""
    events: list[FrameEvent] = []
    body: bytearray | None = None
    begun = 0

    def long(size: int, *, ended: bool = True) -> list[FrameEvent]:
        assert body is not None
        # without a trailer, the last byte may have been its first half
        endless: list[FrameEvent] = [Endless()] if size - (not ended) > LIMIT * ENDLESS_FACTOR else []
        return [Oversize(bytes(body[: min(size, HEAD)])), *endless, Discarded(size)]

    def whole(data: bytes) -> list[FrameEvent]:
        return long(len(data)) if len(data) > LIMIT else [Frame(data)] if data else [Empty()]

    for position, byte in enumerate(stream):
        if byte == 0x0B:
            if body is not None and lenient and body.endswith(b"\x1c"):
                events += whole(bytes(body[:-1]))
            elif body:
                lost = [Broken(len(body), begun, outline(bytes(body)))]
                events += long(len(body), ended=False) if len(body) > LIMIT else lost
            body, begun = bytearray(), position
        elif body is not None and byte == 0x0D and body.endswith(b"\x1c"):
            events += whole(bytes(body[:-1]))
            body = None
        elif body is not None:
            body.append(byte)
    if body is not None and len(body) > LIMIT + 1:
        events += long(len(body), ended=False)[:-1]
    return events


def decode(reads: list[bytes], limit: int = LIMIT, *, lenient: bool = False, head: int = HEAD) -> list[FrameEvent]:
    decoder = FrameDecoder(limit, lenient=lenient, head_bytes=head)
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


@given(streams, st.lists(st.integers(0, 120), max_size=12), st.booleans())
def test_split_stream_gives_same_events_as_whole(stream: bytes, cuts: list[int], lenient: bool) -> None:
    whole = decode([stream], lenient=lenient)
    pieces = decode(split(stream, cuts), lenient=lenient)
    bytewise = decode([bytes([byte]) for byte in stream], lenient=lenient)

    assert without_junk(whole) == without_junk(pieces) == without_junk(bytewise) == reference(stream, lenient=lenient)
    assert junk_size(whole) == junk_size(pieces) == junk_size(bytewise)


@given(st.lists(st.binary(min_size=1).filter(lambda body: not set(body) & {0x0B, 0x1C}), max_size=8))
def test_encoded_frames_come_back_together(bodies: list[bytes]) -> None:
    assert decode([b"".join(map(encode_frame, bodies))], limit=1000) == [Frame(body) for body in bodies]


IN_SEGMENT = "begins with text, ends inside a segment"


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"\x0ba\x1cb\x1c\r", [Frame(b"a\x1cb")]),
        (b"\x0ba\x1c\x1c\r", [Frame(b"a\x1c")]),
        (b"\x0b\x0bMSH\x1c\r", [Frame(b"MSH")]),
        (b"\x0blost\x0bMSH\x1c\r", [Broken(4, 0, IN_SEGMENT), Frame(b"MSH")]),
        (b"\r\n\x0blost\x0bMSH\x1c\r", [Broken(4, 2, IN_SEGMENT), Frame(b"MSH")]),
        (b"\x0b\x1c\r\x0bMSH\x1c\r", [Empty(), Frame(b"MSH")]),
        (b"\r\n\0\x0bMSH\x1c\r\r\n\0", [Frame(b"MSH")]),
        (b"GET /\r\n\x0bMSH\x1c\r", [Junk(5, 0, "HTTP"), Frame(b"MSH")]),
        (b"\x16\x03\x01\x0bMSH\x1c\r\xff", [Junk(3, 0, "TLS"), Frame(b"MSH"), Junk(1, 9, "binary")]),
        (b"\xef\xbb\xbf\x0b\xef\xbb\xbfMSH\x1c\r", [Junk(3, 0, "binary"), Frame(b"\xef\xbb\xbfMSH")]),
        (b"\x0b" + b"x" * 12 + b"\x1c\r", [Frame(b"x" * 12)]),
        (b"\x0b" + b"x" * 13 + b"\x1c\r\x0bMSH\x1c\r", [Oversize(b"xxxx"), Discarded(13), Frame(b"MSH")]),
        (b"\x0b" + b"x" * 13 + b"\x0bMSH\x1c\r", [Oversize(b"xxxx"), Discarded(13), Frame(b"MSH")]),
        (b"\x0b" + b"x" * 61 + b"\x1c\r", [Oversize(b"xxxx"), Endless(), Discarded(61)]),
    ],
)
def test_edge_case(stream: bytes, events: list[FrameEvent]) -> None:
    assert decode([stream]) == events
    assert without_junk(decode([bytes([byte]) for byte in stream])) == without_junk(events)


@pytest.mark.parametrize(("lenient", "first"), [(True, Frame(b"MSH|")), (False, Broken(5, 0, ""))])
def test_end_block_without_carriage_return_before_the_next_frame(lenient: bool, first: FrameEvent) -> None:
    [found, second] = decode([b"\x0bMSH|\x1c\x0bMSH\x1c\r"], lenient=lenient)
    if isinstance(found, Broken):
        assert found.outline == "begins with MSH, ends with the end block, whose carriage return is missing"
        found = replace(found, outline="")
    assert [found, second] == [first, Frame(b"MSH")]


def test_end_block_before_a_pause() -> None:
    lenient, strict = FrameDecoder(100, lenient=True), FrameDecoder(100)
    for decoder in (lenient, strict):
        assert decoder.feed(b"\x0bMSH|") == decoder.end_idle() == []
        assert decoder.feed(b"a\x1c") == []
    assert strict.end_idle() == []
    assert strict.inside
    assert lenient.end_idle() == [Frame(b"MSH|a")]
    assert not lenient.inside
    # the carriage return may come late
    assert lenient.feed(b"\r\x0bMSH\x1c\r") == [Frame(b"MSH")]


def test_frame_over_limit_is_reported_once_and_dropped_as_it_comes_in() -> None:
    decoder = FrameDecoder(100_000)
    head = b"MSH|" + b"x" * (HEAD_BYTES - 4)
    assert decoder.feed(b"\x0bMSH|" + b"x" * 60_000) == []
    assert (decoder.pending_size, decoder.held) == (60_004, 60_004)
    assert decoder.feed(b"y" * 60_000) == [Oversize(head)]
    for _ in range(6):
        assert decoder.feed(b"y" * 60_000) == []
        assert decoder.held == HEAD_BYTES
    assert decoder.feed(b"y" * 60_000) == [Endless()]
    assert decoder.feed(b"y\x1c\r") == [Discarded(60_004 + 8 * 60_000 + 1)]
    assert (decoder.pending_size, decoder.held) == (0, 0)
    assert decoder.feed(encode_frame(b"MSH")) == [Frame(b"MSH")]


@pytest.mark.parametrize("cut", [1, 9_000, 10_001, 10_002])
@pytest.mark.parametrize("size", [10_000, 10_001])
def test_limit_is_exact_however_split(cut: int, size: int) -> None:
    body = bytes(range(32, 122)) * 112
    expected = [Frame(body[:size])] if size == 10_000 else [Oversize(body[:HEAD_BYTES]), Discarded(size)]
    stream = encode_frame(body[:size])
    assert decode([stream[:cut], stream[cut:]], limit=10_000, head=HEAD_BYTES) == expected


def test_each_byte_is_searched_once() -> None:
    """A frame that comes byte by byte takes as many steps as bytes: a search from its beginning would take n² / 2."""
    searched = 0

    class Counted(bytes):
        def find(self, *arguments: object) -> int:
            nonlocal searched
            searched += len(self)
            return super().find(*arguments)  # type: ignore[arg-type]  # handed on as they come

    decoder = FrameDecoder(100_000)
    stream = encode_frame(b"x" * 20_000)
    events = [event for byte in stream for event in decoder.feed(Counted([byte]))]
    assert events == [Frame(b"x" * 20_000)]
    assert searched <= 2 * len(stream)


def test_unfinished_frame_in_words() -> None:
    decoder = FrameDecoder(10_000)
    decoder.feed(b"\r\n")
    decoder.feed(b"\x0bMSH|^~\\&|SECRET|\r")
    place = "bytes since the start block at byte 2 of the connection"
    assert decoder.describe_pending() == f"17 {place}, begins with MSH, ends with CR"
    decoder.feed(b"x" * 20_000)
    assert decoder.describe_pending() == f"20017 {place}, begins with MSH"


def test_the_bytes_of_the_end_inside_data_end_the_frame() -> None:
    begin, rest = b"MSH|^~\\&|LAB\rOBX|1|ED|||a", b"b\rOBX|2\r"
    events = FrameDecoder(1000).feed(encode_frame(begin + b"\x1c\r" + rest))
    assert events[0] == Frame(begin)
    # the rest stands outside a frame, the second end block with it
    assert [(type(event), event.size) for event in events[1:] if isinstance(event, Junk)] == [(Junk, len(rest) - 2 + 1)]
