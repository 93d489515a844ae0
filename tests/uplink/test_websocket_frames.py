"""Frames by the batch, beside what the library makes and reads of them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import PING, TEXT, Frame
from websockets.protocol import Protocol, Side

from medagent.uplink.websocket_frames import FrameCutter, text_frames

MASK = slice(2, 6)
"""Of a frame of less than 126 bytes."""


def read(data: bytes) -> list[Frame]:
    """What a server reads."""
    protocol = Protocol(Side.SERVER, max_size=None)
    protocol.receive_data(data)
    return [event for event in protocol.events_received() if isinstance(event, Frame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_the_library_reads_what_is_made_for_a_server(size: int) -> None:
    payloads = [b"x" * size, b"last"]
    frames = read(b"".join(text_frames(payloads)))
    assert [(frame.opcode, frame.fin, bytes(frame.data)) for frame in frames] == [(TEXT, True, each) for each in payloads]


def test_each_frame_has_a_mask_of_its_own() -> None:
    frames = [b"".join(text_frames([b"abc"])) for _ in range(50)] + [b"".join(text_frames([b"abc", b"abc"]))[9:]]
    assert len({frame[MASK] for frame in frames}) > 45


@given(sizes=st.lists(st.sampled_from([0, 1, 125, 126, 300]), max_size=8), ends=st.lists(st.integers(0, 3000), max_size=6))
def test_every_byte_is_a_texts_or_the_librarys_however_it_is_read(sizes: list[int], ends: list[int]) -> None:
    frames = [Frame(PING if size == 1 else TEXT, b"t" * size) for size in sizes]
    data = b"".join(frame.serialize(mask=False) for frame in frames)
    cuts = sorted({min(end, len(data)) for end in ends} | {0, len(data)})
    cutter = FrameCutter(max_size=200)
    seen = b""
    for begin, end in itertools.pairwise(cuts):
        for texts, rest in cutter.cut(data[begin:end]):
            assert all(len(text) <= 200 for text in texts)
            seen += b"".join(Frame(TEXT, text).serialize(mask=False) for text in texts) + rest
        assert cutter.within == (
            end not in (sum(len(f.serialize(mask=False)) for f in frames[:n]) for n in range(len(frames) + 1))
        )
    assert seen == data


def test_a_message_in_fragments_is_the_librarys_with_all_between() -> None:
    frames = [Frame(TEXT, b"a", fin=False), Frame(PING, b""), Frame(TEXT, b"b")]
    data = b"".join(frame.serialize(mask=False) for frame in frames)
    assert b"".join(rest for texts, rest in FrameCutter(None).cut(data) if not texts) == data
