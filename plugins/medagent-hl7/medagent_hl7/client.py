"""Sending HL7 v2 over MLLP on one connection. Bodies go out byte for byte; answers are matched by their MSA-2."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from medagent.listening import format_address
from medagent_hl7.answers import Acknowledgment, AnswerTimeout, ConnectionLost, Expect, NotCommitted, SendFailed
from medagent_hl7.message import Header, msa
from medagent_hl7.outbound import Connection, connect
from medagent_hl7.owed import ANSWER_CODES
from medagent_hl7.release2 import COMMITTED, NOT_COMMITTED, StopAndWait, is_transport_block

CONNECT_TIMEOUT = 10.0
MOST_REMEMBERED = 10_000
"""Control IDs that a connection remembers, the newest."""
MOST_ANSWERS = 8
"""Acknowledgments kept of one message, one of each code; more only of codes that HL7 has."""
MOST_USELESS = 100
"""Frames in a row that answer nothing, since a message was sent, before the receiver is given up."""


class _Pending:
    """A message that waits for its acknowledgments."""

    def __init__(self) -> None:
        self.sent_at = time.monotonic()
        self.answers: list[Acknowledgment] = []
        self.changed = asyncio.Event()

    @property
    def codes(self) -> list[str]:
        return [answer.code for answer in self.answers]

    def keeps(self, code: str) -> bool:
        """Whether another answer with this code is worth its memory."""
        codes = self.codes
        return code not in codes and (code in ANSWER_CODES or len(codes) < MOST_ANSWERS)


@dataclass(frozen=True, slots=True)
class Remote:
    """Where messages are sent, and how."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    """For MLLPS (see `medagent_hl7.client_tls`)."""
    release: int = 1
    """Of MLLP, 1 or 2."""

    def __str__(self) -> str:
        return format_address((self.host, self.port))


class Client:
    """A sender on one connection. Use it as `async with await Client.connect(remote) as client:`."""

    def __init__(self, ended: Callable[[], None] = lambda: None) -> None:
        """`ended` is called once a connection that was opened has ended."""
        self._ended = ended
        self._pending: dict[str, _Pending] = {}
        self._used: dict[str, None] = {}
        """Control IDs of messages that wait no more: an acknowledgment of them may still come, or come again."""
        self._connection: Connection | None = None
        self._release2: StopAndWait | None = None
        self._lost_because = ""
        self.unmatched = 0
        """Answers that came again, whose MSA-2 named no message that was waiting, or that had no MSA segment."""
        self._useless = 0
        """Frames in a row that answered nothing."""
        self.strayed = False
        """Whether the receiver has acknowledged what this connection has never carried: it may be out of step."""

    @classmethod
    async def connect(
        cls, remote: Remote, timeout: float = CONNECT_TIMEOUT, ended: Callable[[], None] = lambda: None
    ) -> Client:
        """Open a connection. Raises `ConnectFailed`, at the latest after `timeout` seconds."""
        client = cls(ended)
        connection = await connect(remote.host, remote.port, client._received, client._lost, timeout, remote.tls)
        client._connection = connection
        if remote.release == 2:
            client._release2 = StopAndWait(lambda body: connection.write((body,)))
        return client

    @property
    def usable(self) -> bool:
        """Whether another message may be sent: connected, and no commit acknowledgment block is in doubt."""
        return self._connection is not None and not (self._release2 is not None and self._release2.in_doubt)

    @property
    def block(self) -> bytes:
        """The block that the receiver sent for the last message: 0x06, 0x15, or nothing, as always in release 1."""
        return b"" if self._release2 is None else self._release2.last

    def can_send(self, control_id: str) -> bool:
        """Whether `usable`, and no acknowledgment of an earlier message could be taken for that of one with this control ID."""
        return self.usable and control_id not in self._pending and control_id not in self._used

    @property
    def worn(self) -> bool:
        """Whether it has sent as many messages as it remembers."""
        return len(self._used) >= MOST_REMEMBERED

    async def send(
        self, body: bytes, expect: Expect = Expect.FIRST, timeout: float = 30.0, linger: float = 0.0
    ) -> list[Acknowledgment]:
        """Send one message and return its acknowledgments in the order they came.

        `timeout`: seconds to wait for what is expected, and in MLLP release 2 for the block after each of three attempts.
        `linger`: seconds to wait on for an application acknowledgment that may follow a CA, and whose absence is no failure.

        Raises `AnswerTimeout`, `ConnectionLost`, `NotCommitted`; `SendFailed` if the connection has carried this
        control ID before, whose answer may come late or twice; and `medagent_hl7.message.Hl7Error` if `body` has no usable MSH
        segment.
        """
        control_id = Header.parse(body).control_id
        if not self.usable:
            raise ConnectionLost("the connection is closed, or out of step")
        if not self.can_send(control_id):
            raise SendFailed("the acknowledgment of a message with the same control ID may still come on this connection")
        pending = self._pending[control_id] = _Pending()
        self._useless = 0
        try:
            await self._write(body, pending, timeout)
            if expect is Expect.NONE:
                await self._written(timeout)
            await self._wait(pending, expect, timeout)
            if linger and pending.codes == ["CA"]:
                with suppress(SendFailed):
                    await self._wait(pending, Expect.APPLICATION, linger)
        finally:
            del self._pending[control_id]
            if self.worn:
                del self._used[next(iter(self._used))]
            self._used[control_id] = None
        return pending.answers

    async def _write(self, body: bytes, pending: _Pending, timeout: float) -> None:
        if self._release2 is not None:
            try:
                await self._release2.send(body, timeout)
            except (NotCommitted, ConnectionLost) as error:
                raise type(error)(str(error), pending.answers) from None
        elif self._connection is not None:
            self._connection.write((body,))

    async def _written(self, timeout: float) -> None:
        """No answer will show that the receiver has the message: it must at least be on its way."""
        if (connection := self._connection) is not None:
            try:
                async with asyncio.timeout(timeout):
                    await connection.written()
            except TimeoutError:
                raise AnswerTimeout(f"the receiver has not taken all of the message within {timeout:g} s") from None
        if self._connection is None:
            raise ConnectionLost(f"{self._lost_because} before all of the message was written")

    async def _wait(self, pending: _Pending, expect: Expect, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not expect.is_met(pending.codes):
                    if self._connection is None:
                        raise ConnectionLost(f"{self._lost_because}, {_got(pending.codes)}", pending.answers)
                    pending.changed.clear()
                    await pending.changed.wait()
        except TimeoutError:
            others = f"; {self.unmatched} answers were for other control IDs" if self.unmatched else ""
            raise AnswerTimeout(f"{_got(pending.codes)} within {timeout:g} s{others}", pending.answers) from None

    def begin_close(self) -> None:
        """Close the connection; returns at once."""
        if self._connection is not None:
            self._connection.begin_close()

    def abort(self) -> None:
        """Cut the connection; what is in flight on it fails."""
        if self._connection is not None:
            self._connection.abort()

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

    def _received(self, bodies: list[bytes]) -> None:
        now = time.monotonic()
        for body in bodies:
            if self._answers(body, now):
                self._useless = 0
                continue
            self._useless += 1
            if self._useless > MOST_USELESS and self._connection is not None:
                self._connection.give_up(f"the receiver sent more than {MOST_USELESS} answers to nothing that waits")
                return

    def _answers(self, body: bytes, now: float) -> bool:
        """Take what has come in; whether it answers a message that waits."""
        if is_transport_block(body):
            if self._release2 is not None:
                self._release2.received(body)
            return False
        found = msa(body)
        if self._release2 is not None and self._connection is not None:
            self._connection.write((COMMITTED if found else NOT_COMMITTED,))
        pending = self._pending.get(found[1]) if found else None
        if found is None or pending is None or not pending.keeps(found[0]):
            self.unmatched += 1
            self.strayed |= found is not None and pending is None and found[1] not in self._used
            return False
        pending.answers.append(Acknowledgment(found[0], body, now - pending.sent_at))
        pending.changed.set()
        return True

    def _lost(self, reason: str) -> None:
        self._connection = None
        self._lost_because = reason
        if self._release2 is not None:
            self._release2.lost(reason)
        for pending in self._pending.values():
            pending.changed.set()
        self._ended()


def _got(codes: Sequence[str]) -> str:
    return f"only {', '.join(codes)} came" if codes else "no acknowledgment came"
