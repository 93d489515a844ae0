"""The borders of WebSocket messages, whatever the reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from medagent.testing.faulty_link.messages import Messages

REQUEST = b"GET /ws/agent HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"
RESPONSE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"

SIZES = st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536])


def bytes_of(opcode: int, payload: bytes, *, fin: bool = True, mask: bool = False) -> bytes:
    return Frame(opcode, payload, fin=fin).serialize(mask=mask)


@given(st.lists(SIZES, max_size=4), st.booleans(), st.lists(st.integers(1, 200_000), max_size=8), st.data())
def test_pieces_are_the_bytes_and_messages_are_whole(sizes, mask, cuts, data):
    messages = [bytes_of(Opcode.BINARY, bytes(size), mask=mask) for size in sizes]
    stream = (REQUEST if mask else RESPONSE) + b"".join(messages)
    splitter, position, pieces = Messages(), 0, []
    for length in [*cuts, len(stream)]:
        pieces += splitter.feed(stream[position : position + length]) if position < len(stream) else []
        position += length
    assert b"".join(piece.data for piece in pieces) == stream
    found, current = [], None
    for piece in pieces:
        if piece.begins:
            current = b""
        if current is not None:
            current += piece.data
        if piece.ends:
            found.append(current)
            current = None
    assert found == messages


def test_byte_by_byte_nothing_is_held_back():
    stream = RESPONSE + bytes_of(Opcode.TEXT, b"x" * 300)
    splitter = Messages()
    for index in range(len(stream)):
        assert [piece.data for piece in splitter.feed(stream[index : index + 1])] == [stream[index : index + 1]]


def test_fragments_are_one_message_and_a_ping_is_none():
    splitter = Messages()
    splitter.feed(RESPONSE)
    frames = [
        bytes_of(Opcode.PING, b"?"),
        bytes_of(Opcode.TEXT, b"one", fin=False),
        bytes_of(Opcode.PING, b"?"),
        bytes_of(Opcode.CONT, b"", fin=False),
        bytes_of(Opcode.CONT, b"two"),
    ]
    assert [(piece.begins, piece.ends) for piece in splitter.feed(b"".join(frames))] == [
        (False, False),
        (True, False),
        (False, False),
        (False, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    "head",
    [
        b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nUpgrade: websocket\r\n\r\n",
        b"x" * 70_000,
    ],
    ids=["request", "refusal", "no HTTP"],
)
def test_without_an_upgrade_there_are_no_messages(head):
    splitter = Messages()
    body = bytes_of(Opcode.TEXT, b"looks like a frame")
    assert not any(piece.begins or piece.ends for piece in splitter.feed(head) + splitter.feed(body))
