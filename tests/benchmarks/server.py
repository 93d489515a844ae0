"""The smallest FHIR server that an agent can work with: a process that gives resources and answers transmits at once.

    server.py SPEC

SPEC is a `Spec` as JSON. Prints its port. `/bench/figures` tells what has come. `/bench/forget` forgets it, since an agent that
starts again sends again what has no answer; `/bench/answer` ends a silence too.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import sys
import time
from typing import Any, cast

import msgspec
import uvloop
from messages import ID_DIGITS
from websockets.utils import accept_key

try:
    from websockets.speedups import apply_mask
except ImportError:  # on an interpreter without it
    from websockets.utils import apply_mask

TOKEN = "benchmark." * 60
"""As long as those that servers give, since every frame carries it."""
CONNECTED = b'{"type":"agent:connect:response"}'
HEARTBEAT = b'{"type":"agent:heartbeat:response","version":"0"}'
ANSWER = (
    '{"type":"agent:transmit:response","channel":"%s","remote":"%s","callback":"%s","statusCode":200,'
    '"contentType":"x-application/hl7-v2+er7","body":"MSH|^~\\\\&|EHR|MAIN|%s|%s|20260105120001||ACK^A01^ACK|A%s|P|2.5.1'
    '\\rMSA|AA|%s\\r"}'
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@dataclasses.dataclass(frozen=True)
class Spec:
    """What the server has and does."""

    # FHIR resources as decoded JSON
    resources: dict[str, dict[str, Any]]
    """By reference."""
    silent: bool = False
    """Transmits are not answered."""
    delay_ms: float = 0.0
    """Between a transmit and its answer."""


class Frame(msgspec.Struct):
    """What is needed of a frame of the agent."""

    type: str
    channel: str = ""
    remote: str = ""
    callback: str = ""
    body: str = ""


decode = msgspec.json.Decoder(Frame).decode


class Server:
    """What the connections share."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.silent = spec.silent
        self.transmits = 0
        self.out_of_order = 0
        """Transmits of a device that did not come after the one before, or came again; not counted in a silence, in which the
        agent must send again."""
        self._last: dict[str, int] = {}
        """By channel, connection and load."""
        self._began_at = self._came_at = 0.0
        """The first and the last transmit."""

    def transmit(self, frame: Frame) -> bytes:
        """Note it; its answer."""
        fields = frame.body[:200].split("|", 10)
        control_id = fields[9]
        # two channels may have devices of the same address: their connections differ in the channel's port
        sender, number = f"{frame.channel} {frame.remote} {control_id[:-ID_DIGITS]}", int(control_id[-ID_DIGITS:])
        self.out_of_order += number <= self._last.get(sender, -1) and not self.silent
        self._last[sender] = number
        answer = ANSWER % (frame.channel, frame.remote, frame.callback, fields[2], fields[3], control_id, control_id)
        return answer.encode()

    def count(self, transmits: int) -> None:
        """Of one read."""
        self._came_at = time.perf_counter()
        self._began_at = self._began_at or self._came_at
        self.transmits += transmits

    def http(self, method: str, path: str) -> bytes:
        """The whole response."""
        if path == "/oauth2/token":
            body: object = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 86_400}
        elif path == "/bench/figures":
            body = {
                "transmits": self.transmits,
                "out_of_order": self.out_of_order,
                "cpu_s": time.process_time(),
                "seconds": self._came_at - self._began_at,
            }
        elif path in ("/bench/answer", "/bench/forget"):
            self.silent = self.silent and path == "/bench/forget"
            self.transmits = self.out_of_order = 0
            self._last = {}
            self._began_at = self._came_at = 0.0
            body = {}
        else:
            body = self.spec.resources.get(path.removeprefix("/fhir/R4/"))
        content = json.dumps(body).encode()
        status = "404 Not Found" if body is None else "200 OK"
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/fhir+json\r\nContent-Length: {len(content)}\r\n\r\n"
        return head.encode() + content


class Connection(asyncio.Protocol):
    """HTTP/1.1 until it is upgraded, then WebSocket (RFC 6455) without fragments or extensions."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._upgraded = False
        self._late: collections.deque[tuple[float, bytes]] = collections.deque()
        """Answers, and when they are due."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._upgraded:
            if not self._request():
                return
        self._frames()

    def _request(self) -> bool:
        """Serve a request if a whole one has come."""
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return False
        del self._buffer[: len(head) + len(found) + length]
        if (key := headers.get("sec-websocket-key")) is not None:
            self._upgraded = True
            switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            self._transport.write(f"{switch}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode())
        else:
            method, path, _ = first.split(" ")
            self._transport.write(self._server.http(method, path))
        return True

    def _frames(self) -> None:
        """Serve all whole frames, their answers in one write."""
        buffer, available, position = self._buffer, len(self._buffer), 0
        others: list[bytes] = []
        answers: list[bytes] = []
        transmits = 0
        while available - position >= 6:
            opcode, length, start = buffer[position] & 15, buffer[position + 1] & 127, position + 6
            if length == 126:
                length, start = int.from_bytes(buffer[position + 2 : position + 4]), position + 8
            elif length == 127:
                length, start = int.from_bytes(buffer[position + 2 : position + 10]), position + 14
            if available < (end := start + length):
                break
            payload = apply_mask(buffer[start:end], buffer[start - 4 : start])
            position = end
            if opcode not in (TEXT, BINARY):
                others += self._control(opcode, payload)
                continue
            frame = decode(payload)
            if frame.type == "agent:transmit:request":
                answers.append(_framed(TEXT, self._server.transmit(frame)))
                transmits += 1
            elif frame.type == "agent:connect:request":
                others.append(_framed(TEXT, CONNECTED))
            elif frame.type == "agent:heartbeat:request":
                others.append(_framed(TEXT, HEARTBEAT))
        del buffer[:position]
        if transmits:
            self._server.count(transmits)
            others += self._in_time(answers)
        if others:
            self._transport.write(b"".join(others))

    def _control(self, opcode: int, payload: bytes) -> list[bytes]:
        if opcode == CLOSE:
            self._transport.write(_framed(CLOSE, payload))
            self._transport.close()
        return [_framed(PONG, payload)] if opcode == PING else []

    def _in_time(self, answers: list[bytes]) -> list[bytes]:
        """Those that are sent at once."""
        if self._server.silent:
            return []
        if not self._server.spec.delay_ms:
            return answers
        loop = asyncio.get_running_loop()
        self._late.append((loop.time() + self._server.spec.delay_ms / 1000, b"".join(answers)))
        if len(self._late) == 1:
            loop.call_at(self._late[0][0], self._send_late)
        return []

    def _send_late(self) -> None:
        loop = asyncio.get_running_loop()
        due = []
        while self._late and self._late[0][0] <= loop.time() + 0.0005:
            due.append(self._late.popleft()[1])
        if not self._transport.is_closing():
            self._transport.write(b"".join(due))
            if self._late:
                loop.call_at(self._late[0][0], self._send_late)


def _framed(opcode: int, payload: bytes) -> bytes:
    """A whole frame without a mask; none of this server's is longer than 65,535 bytes."""
    length = len(payload)
    head = bytes((128 | opcode, length)) if length < 126 else bytes((128 | opcode, 126, length >> 8, length & 255))
    return head + payload


async def serve(spec: Spec) -> None:
    server = Server(spec)
    listener = await asyncio.get_running_loop().create_server(lambda: Connection(server), "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(Spec(**json.loads(sys.argv[1]))))
