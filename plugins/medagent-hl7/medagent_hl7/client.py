"""Sending HL7 v2 over MLLP with asyncio.

`Connection` moves frames and knows nothing of their content. `Client` sends messages and finds each one's acknowledgments by
their MSA-2. Bodies go out byte for byte.
"""

from __future__ import annotations

import asyncio
import enum
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import cast

from medagent.errors import MedagentError
from medagent_hl7.acknowledgment import APPLICATION_CODES
from medagent_hl7.framing import Frame, FrameDecoder, encode_frame
from medagent_hl7.message import Header, msa

COMMIT_CODES = ("CA", "CE", "CR")
POSITIVE_CODES = ("AA", "CA")
MAX_ANSWER_BYTES = 1_048_576
CLOSE_TIMEOUT = 1.0
"""Seconds that a peer has to read what was written before the connection is cut."""


class Expect(enum.StrEnum):
    """Which acknowledgments a sender waits for (HL7 v2.5.1, chapter 2.9)."""

    FIRST = "first"
    """Whatever comes first: original and enhanced mode alike."""
    APPLICATION = "application"
    """The application acknowledgment; a commit acknowledgment before it is not the end."""
    BOTH = "both"
    """A commit acknowledgment and the application acknowledgment."""

    def is_met(self, codes: Sequence[str]) -> bool:
        """Whether nothing more is to come after these codes. After CE or CR no application acknowledgment follows."""
        if self is Expect.FIRST:
            return bool(codes)
        if "CE" in codes or "CR" in codes:
            return True
        if self is Expect.BOTH and "CA" not in codes:
            return False
        return any(code in APPLICATION_CODES for code in codes)


@dataclass(frozen=True, slots=True)
class Acknowledgment:
    """One answer to one message."""

    code: str
    """MSA-1."""
    body: bytes = field(repr=False)
    seconds: float
    """Since the message was written."""


class ConnectFailed(MedagentError):
    """The receiver cannot be reached."""


class SendFailed(MedagentError):
    """A message was not answered as expected."""

    def __init__(self, message: str, answers: Sequence[Acknowledgment] = ()) -> None:
        super().__init__(message)
        self.answers = list(answers)
        """What had come until then."""


class AnswerTimeout(SendFailed):
    """The expected acknowledgment did not come in time."""


class ConnectionLost(SendFailed):
    """The receiver closed the connection before the expected acknowledgment."""


class Connection(asyncio.Protocol):
    """An MLLP connection: bodies in, bodies out. Made by `connect`."""

    def __init__(self, received: Callable[[list[bytes]], None], lost: Callable[[], None]) -> None:
        """`received` gets the frames of one read together; `lost` is called once, also after `close`."""
        self._received = received
        self._lost = lost
        self._decoder = FrameDecoder(MAX_ANSWER_BYTES)
        self._transport: asyncio.WriteTransport | None = None
        self._ended = asyncio.get_running_loop().create_future()
        self.faults = 0
        """How often something came in that was no MLLP frame with data."""

    def write(self, bodies: Iterable[bytes]) -> None:
        """Send bodies, each in a frame, in one write. Does nothing after the connection has ended."""
        if self._transport is not None:
            self._transport.write(b"".join(map(encode_frame, bodies)))

    async def close(self) -> None:
        """Write out what is buffered, close, and wait until that is done."""
        if self._transport is not None:
            self._transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await asyncio.shield(self._ended)
        if self._transport is not None:
            self._transport.abort()
            await self._ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # create_connection makes no other kind

    def data_received(self, data: bytes) -> None:
        bodies = []
        for event in self._decoder.feed(data):
            if isinstance(event, Frame):
                bodies.append(event.body)
            else:
                self.faults += 1
        if bodies:
            self._received(bodies)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._ended.set_result(None)
        self._lost()


async def connect(
    host: str, port: int, received: Callable[[list[bytes]], None], lost: Callable[[], None], timeout: float
) -> Connection:
    """Open a connection. Raises `ConnectFailed`, at the latest after `timeout` seconds."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            _, connection = await loop.create_connection(lambda: Connection(received, lost), host, port)
    except TimeoutError:
        raise ConnectFailed(f"cannot connect to {host}:{port}: no answer within {timeout:g} s") from None
    except OSError as error:
        raise ConnectFailed(f"cannot connect to {host}:{port}: {_reason(error)}") from None
    except UnicodeError:  # from the encoding of host names
        raise ConnectFailed(f"cannot connect to {host}:{port}: that is no host name") from None
    return connection


def _reason(error: OSError) -> str:
    if error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return error.strerror or str(error)


class _Pending:
    """A message that waits for its acknowledgments."""

    def __init__(self) -> None:
        self.sent_at = time.monotonic()
        self.answers: list[Acknowledgment] = []
        self.changed = asyncio.Event()

    @property
    def codes(self) -> list[str]:
        return [answer.code for answer in self.answers]


class Client:
    """A sender on one connection. Use it as `async with await Client.connect(host, port) as client:`."""

    def __init__(self) -> None:
        self._pending: dict[str, _Pending] = {}
        self._connection: Connection | None = None
        self.unmatched = 0
        """Answers whose MSA-2 named no message that was waiting, or that had no MSA segment."""

    @classmethod
    async def connect(cls, host: str, port: int, timeout: float = 10.0) -> Client:
        """Open a connection. Raises `ConnectFailed`, at the latest after `timeout` seconds."""
        client = cls()
        client._connection = await connect(host, port, client._answered, client._lost, timeout)
        return client

    async def send(
        self, body: bytes, expect: Expect = Expect.FIRST, timeout: float = 30.0, linger: float = 0.0
    ) -> list[Acknowledgment]:
        """Send one message and return its acknowledgments in the order they came.

        `timeout`: seconds to wait for what is expected. `linger`: seconds to wait on for an application acknowledgment that
        may follow a CA, and whose absence is no failure.

        Raises `AnswerTimeout`, `ConnectionLost`, `SendFailed` if a message of the same control ID still waits, and
        `medagent_hl7.message.Hl7Error` if `body` has no usable MSH segment.
        """
        control_id = Header.parse(body).control_id
        if control_id in self._pending:
            raise SendFailed("a message with the same control ID still waits for its acknowledgment")
        if self._connection is None:
            raise ConnectionLost("the receiver has closed the connection")
        pending = self._pending[control_id] = _Pending()
        self._connection.write((body,))
        try:
            await self._wait(pending, expect, timeout)
            if linger and pending.codes == ["CA"]:
                with suppress(SendFailed):
                    await self._wait(pending, Expect.APPLICATION, linger)
        finally:
            del self._pending[control_id]
        return pending.answers

    async def _wait(self, pending: _Pending, expect: Expect, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not expect.is_met(pending.codes):
                    if self._connection is None:
                        raise ConnectionLost(f"the receiver closed the connection, {_got(pending.codes)}", pending.answers)
                    pending.changed.clear()
                    await pending.changed.wait()
        except TimeoutError:
            others = f"; {self.unmatched} answers were for other control IDs" if self.unmatched else ""
            raise AnswerTimeout(f"{_got(pending.codes)} within {timeout:g} s{others}", pending.answers) from None

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _answered(self, bodies: list[bytes]) -> None:
        now = time.monotonic()
        for body in bodies:
            found = msa(body)
            pending = self._pending.get(found[1]) if found else None
            if found is None or pending is None:
                self.unmatched += 1
            else:
                pending.answers.append(Acknowledgment(found[0], body, now - pending.sent_at))
                pending.changed.set()

    def _lost(self) -> None:
        self._connection = None
        for pending in self._pending.values():
            pending.changed.set()


def _got(codes: Sequence[str]) -> str:
    return f"only {', '.join(codes)} came" if codes else "no acknowledgment came"
