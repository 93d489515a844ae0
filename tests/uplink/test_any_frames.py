"""Whatever a server may send, in whatever pieces, the same messages come out; what none may send ends the connection."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import BINARY, CONT, PING, PONG, TEXT, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from medagent.uplink.connection import BatchConnection, extensions

LIMIT = 10_000


class Recorder:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.reads = 0
        self.losses = 0

    def received(self, payloads: list[bytes | bytearray]) -> None:
        self.reads += 1
        self.payloads += [bytes(payload) for payload in payloads]

    def writable(self) -> None:
        pass

    def lost(self) -> None:
        self.losses += 1


class Wire(asyncio.Transport):
    """Keeps what the connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class Line:
    """A connection and the server's end of it, as bytes: nothing moves unless the test moves it."""

    def __init__(self, *, compressed: bool) -> None:
        self.wire = Wire()
        protocol = ClientProtocol(parse_uri("ws://127.0.0.1/ws/agent"), extensions=extensions(), max_size=LIMIT)
        self.connection = BatchConnection(protocol)
        self.connection.connection_made(self.wire)
        self.heard = Recorder()
        self.server = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()] if compressed else [])
        protocol.send_request(protocol.connect())
        self.server.receive_data(b"".join(protocol.data_to_send()))
        [request] = self.server.events_received()
        self.server.send_response(self.server.accept(request))  # type: ignore[arg-type]  # the first event is the request
        self.connection.data_received(b"".join(self.server.data_to_send()))
        assert protocol.state is State.OPEN
        self.connection.listen(self.heard)

    def feed(self, data: bytes, cuts: Sequence[int] = ()) -> None:
        """Give the connection these bytes in reads that end at the cuts."""
        ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
        start = 0
        for end in ends:
            if end > start:
                self.connection.data_received(data[start:end])
            start = end


@dataclass(frozen=True)
class Message:
    """A message of the server, and how it is put on the wire."""

    payload: bytes
    opcode: Opcode
    compressed: bool
    cuts: tuple[int, ...]
    """Where the fragments of its (compressed) bytes end."""
    controls: tuple[Opcode, ...]
    """Frames between the fragments."""


def frames_of(message: Message, deflate: Callable[[bytes], bytes]) -> Iterator[Frame]:
    data = deflate(message.payload) if message.compressed else message.payload
    ends = [*sorted(cut % (len(data) + 1) for cut in message.cuts), len(data)]
    start = 0
    for number, end in enumerate(ends):
        opcode = CONT if number else message.opcode
        yield Frame(opcode, data[start:end], fin=number == len(ends) - 1, rsv1=message.compressed and not number)
        start = end
        if number < len(ends) - 1 and number < len(message.controls):
            yield Frame(message.controls[number], b"between")


def deflater() -> Callable[[bytes], bytes]:
    """One message after the other, in one context (RFC 7692, 7.2.1)."""
    compressor = zlib.compressobj(wbits=-12)
    return lambda data: (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


# some bytes below the limit: close to it, the library may take a compressed message in fragments for a longer one
texts = st.text(max_size=60).map(str.encode) | st.integers(0, LIMIT - 16).map(lambda size: b"x" * size)
cut_points = st.lists(st.integers(0, 2 * LIMIT), max_size=5).map(tuple)
message_lists = st.lists(
    st.builds(
        Message,
        texts,
        st.sampled_from([TEXT, BINARY]),
        st.booleans(),
        cut_points,
        st.lists(st.sampled_from([PING, PONG]), max_size=3).map(tuple),
    ),
    max_size=8,
)


@given(message_lists, st.lists(st.integers(0, 100_000), max_size=30), st.booleans())
@settings(max_examples=100, deadline=None)
async def test_any_messages_in_any_pieces(messages: list[Message], cuts: list[int], negotiated: bool) -> None:
    line = Line(compressed=negotiated)
    deflate = deflater()
    data = bytearray()
    for message in messages:
        plain = message if negotiated else Message(message.payload, message.opcode, False, message.cuts, message.controls)
        for frame in frames_of(plain, deflate):
            # the bit of a compressed message is none that `serialize` lets pass without the extension
            head = Frame(frame.opcode, frame.data, frame.fin).serialize(mask=False)
            data += bytes([head[0] | (0x40 if frame.rsv1 else 0)]) + head[1:]
    line.feed(bytes(data), cuts)
    assert line.heard.payloads == [message.payload for message in messages]
    assert line.connection.writable
    assert not line.heard.losses


@given(message_lists)
@settings(max_examples=30, deadline=None)
async def test_what_the_agent_sends_is_understood_whether_compression_was_agreed_or_not(messages: list[Message]) -> None:
    for compressed in (False, True):
        line = Line(compressed=compressed)
        line.connection.write([message.payload for message in messages])
        line.server.receive_data(bytes(line.wire.written))
        assert [bytes(frame.data) for frame in line.server.events_received() if isinstance(frame, Frame)] == [
            message.payload for message in messages
        ]


async def test_what_the_agent_sends_has_a_length_that_does_not_depend_on_its_content() -> None:
    line = Line(compressed=True)
    lengths = set()
    for payload in (b"A" * 3000, bytes(range(32, 127)) * 31 + b"B" * 55, b"A" * 3000):
        line.wire.written.clear()
        line.connection.write([payload])
        lengths.add(len(line.wire.written))
    assert len(lengths) == 1


GOOD = Frame(TEXT, b"good").serialize(mask=False)
BOMB = deflater()(b"x" * (LIMIT + 1))


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"\x81\x02\xc3\x28", 1007, "text that is not UTF-8, at byte 0"),
        (b"\x01\x02\xc3\xa9" + b"\x80\x02\xe2\x82", 1007, "text that is not UTF-8, at byte 2"),
        (b"\x81\x7e" + (LIMIT + 1).to_bytes(2, "big"), 1009, "frame with 10001 bytes exceeds limit of 10000 bytes"),
        (b"\x01\x7e" + LIMIT.to_bytes(2, "big") + b"x" * LIMIT + b"\x80\x01x", 1009, "frame with 1 bytes after reading 10000"),
        (b"\xc1" + bytes([len(BOMB)]) + BOMB, 1009, "frame exceeds limit of 10000 bytes"),
        (b"\xc1\x02\xff\xff", 1002, "decompression failed"),
        (b"\x91\x01x", 1002, "reserved bits must be 0"),
        (b"\xa1\x01x", 1002, "reserved bits must be 0"),
        (b"\x83\x00", 1002, "invalid opcode"),
        (b"\x8b\x00", 1002, "invalid opcode"),
        (b"\x80\x01x", 1002, "unexpected continuation frame"),
        (b"\x01\x01x\x81\x01y", 1002, "expected a continuation frame"),
        (b"\x81\x81\0\0\0\0x", 1002, "incorrect masking"),
        (b"\x09\x00", 1002, "fragmented control frame"),
        (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002, "control frame too long"),
        (b"\x88\x01x", 1002, "close frame too short"),
    ],
)
@pytest.mark.parametrize("slowly", [False, True])
async def test_what_no_server_may_send_ends_the_connection(data: bytes, code: int, reason: str, slowly: bool) -> None:
    line = Line(compressed=True)
    data = GOOD + data + GOOD
    line.feed(data, range(len(data)) if slowly and len(data) < 1000 else ())
    assert line.heard.payloads == [b"good"], "what came before counts, what follows does not"
    assert line.heard.losses
    assert not line.connection.writable
    sent = line.connection.protocol.close_sent
    assert sent is not None
    assert (sent.code, sent.reason[: len(reason)]) == (code, reason)


async def test_a_part_of_a_message_is_told_as_a_read_without_any() -> None:
    line = Line(compressed=False)
    line.feed(b"\x89\x00")
    assert line.heard.reads == 0, "a ping is no message"
    line.feed(b"\x81\x05he")
    line.feed(b"llo")
    assert (line.heard.reads, line.heard.payloads) == (2, [b"hello"])
    line.feed(b"\x01\x01a")
    assert (line.heard.reads, line.heard.payloads) == (3, [b"hello"])
