"""Devices for crash tests: they keep a ledger, send ahead of the answers, and resend what was not acknowledged."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import deque

from medagent.testing.ledger import POSITIVE_CODES, Ledger
from medagent.testing.mllp import END_BLOCK, framed, reset

CANARY = "ZZCANARY"
"""A text of every message's body that no log may hold."""

_ANSWER = re.compile(rb"\rMSA\|(\w\w)\|([^|\r]*)(?:\|sha256:(\w*))?")
_FILLING = random.Random(1).choices(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ", k=1 << 17)  # noqa: S311  no secret


def message(control_id: str, channel: str, size: int, start: int = 0) -> bytes:
    """An HL7 message of about `size` bytes, at most 64 kB; `start` chooses its filling."""
    head = (
        f"MSH|^~\\&|{channel}|TEST|EHR|MAIN|20260105120000||ORU^R01^ORU_R01|{control_id}|P|2.5.1\r"
        f"PID|1||4711^^^MAIN^MR||{CANARY}^ANNA||19700101|F\rOBX|1|TX|||"
    ).encode()
    return head + bytes(_FILLING[start % 65536 :][: max(1, size - len(head) - 1)]) + b"\r"


class Sender:
    """One device on one channel.

    It resends, in order, what was not acknowledged before anything new, as `Evidence.ordered_senders` wants.
    """

    def __init__(
        self,
        ledger: Ledger,
        channel: str,
        name: str,
        rng: random.Random,
        *,
        window: int = 50,
        sizes: tuple[int, int] = (500, 64_000),
        pace: float = 0.0,
        rate: float | None = None,
    ) -> None:
        """`window`: messages on their way at most; `sizes`: of bodies, most of them near the lower; `pace`: seconds between
        two windows; `rate`: new messages a second, counted from the first connection on, None as many as can be. With a rate
        it goes on until `left` is 0."""
        self._ledger = ledger
        self._channel = channel
        self.name = name
        self._rng = rng
        self._window = window
        self._sizes = sizes
        self._rate = rate
        self._began_at = 0.0
        self.pace = pace
        """Seconds between two windows; may be changed at any time."""
        self.until_answered = False
        """It stays connected until each message has its application acknowledgment, where the channel gives one."""
        self.keeps_port = False
        """It connects from the same port each time."""
        self._connections = 0
        self._writer: asyncio.StreamWriter | None = None
        self._port = 0
        self.owed: set[str] = set()
        """Sent on this connection, without an application acknowledgment."""
        self.made = 0
        """Messages sent so far, each once."""
        self.outstanding: dict[str, bytes] = {}
        """Sent and not acknowledged, in the order of sending."""
        self.acknowledged = 0
        self.refused = 0
        self.left: int | None = None
        """How many new messages it may still send; None: no limit."""

    def _new(self) -> tuple[str, bytes]:
        self.made += 1
        least, most = self._sizes
        size = int(least * (most / least) ** (self._rng.random() ** 4))
        name = f"{self.name}-{self.made:07d}"
        return name, message(name, self._channel, size, self._rng.randrange(65536))

    async def run(self, address: tuple[str, int]) -> None:
        """Connect and send until the agent goes, or there is nothing left to send and all is acknowledged."""
        self._connections += 1
        connection = f"{self.name}/{self._connections}"
        self._began_at = self._began_at or time.monotonic()
        try:
            reader, writer = await asyncio.open_connection(*address, local_addr=("127.0.0.1", self._port))
        except OSError:
            self._port = 0
            return
        if self.keeps_port:
            self._port = writer.get_extra_info("sockname")[1]
        self._writer = writer
        self.owed.clear()
        try:
            unsent = deque(self.outstanding.items())
            await self._send(writer, connection, [unsent.popleft() for _ in range(min(self._window, len(unsent)))])
            on_the_way = min(self._window, len(self.outstanding))
            rest = b""
            while True:
                if on_the_way <= self._window // 2:
                    batch = [unsent.popleft() for _ in range(min(self._window - on_the_way, len(unsent)))]
                    if not unsent:
                        batch += self._take_new(self._window - on_the_way - len(batch))
                    await self._send(writer, connection, batch)
                    on_the_way += len(batch)
                if not on_the_way and not (self.until_answered and self.owed):
                    if self._rate is None or self.left == 0:
                        return
                    await asyncio.sleep(self.pace)
                    continue
                data = await reader.read(1 << 16)
                if not data:
                    return
                *frames, rest = (rest + data).split(END_BLOCK)
                on_the_way -= self._answers(connection, frames)
                if self.pace:
                    await asyncio.sleep(self.pace)
        except ConnectionError:
            return
        finally:
            self._writer = None
            writer.transport.abort()

    def hang_up(self) -> None:
        """Cut its connection by a reset; `run` ends."""
        if self._writer is not None:
            reset(self._writer)

    def _take_new(self, count: int) -> list[tuple[str, bytes]]:
        if self._rate is not None:
            count = min(count, int((time.monotonic() - self._began_at) * self._rate) - self.made)
        if self.left is not None:
            count = min(count, self.left)
            self.left -= count
        new = [self._new() for _ in range(count)]
        self.outstanding.update(new)
        return new

    async def _send(self, writer: asyncio.StreamWriter, connection: str, messages: list[tuple[str, bytes]]) -> None:
        if messages:
            self._ledger.sent(self.name, connection, self._channel, messages)
            self.owed.update(name for name, _ in messages)
            writer.write(b"".join(framed(body) for _, body in messages))
            await writer.drain()

    def _answers(self, connection: str, frames: list[bytes]) -> int:
        """Note acknowledgments; returns how many messages are no longer on their way."""
        answers = [
            (found[2].decode(), found[1].decode(), (found[3] or b"").decode())
            for frame in frames
            if (found := _ANSWER.search(frame))
        ]
        self._ledger.acknowledged(connection, self._channel, answers)
        ended = 0
        for control_id, code, _ in answers:
            if code.startswith("A"):
                self.owed.discard(control_id)
            if control_id in self.outstanding:
                ended += 1
                if code in POSITIVE_CODES:
                    del self.outstanding[control_id]
                    self.acknowledged += 1
                else:
                    self.refused += 1  # it stays, and is sent again over the next connection
        return ended
