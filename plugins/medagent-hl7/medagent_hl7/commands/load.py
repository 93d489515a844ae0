"""The load test's sender: messages at their due times over several connections, their answers into the ledger."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from medagent_hl7.commands.ledger import Ledger
from medagent_hl7.commands.target import Target
from medagent_hl7.message import msa
from medagent_hl7.outbound import Connection, connect
from medagent_hl7.samples.generate import Generator

CHECK_INTERVAL = 0.1
"""Longest time in seconds between looks at time-outs."""
MAX_PER_TURN = 500
"""Messages written before answers are read again, when the sender is behind its schedule."""
AFTERMATH = 0.25
"""Seconds to go on listening after the last expected answer, for what should not come."""
STOP_PATIENCE = 1.0
"""Seconds to wait for outstanding answers after the user has stopped the test."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a load test does."""

    target: Target
    rate: float
    """Messages a second; 0 for as fast as `window` lets it."""
    count: int | None
    """Messages in all; None: as many as `duration` has room for."""
    duration: float | None
    """Seconds to send for; None: until `count` is sent. One of the two is given."""
    connections: int
    window: int
    """For rate 0: messages a connection that wait for their answer."""
    timeout: float
    """Seconds to connect; and seconds without any expected answer after which those outstanding are given up."""

    @property
    def total(self) -> int | None:
        """Messages to send; None if that is not known beforehand."""
        room = math.ceil(self.duration * self.rate) if self.duration is not None and self.rate else None
        return min((total for total in (self.count, room) if total is not None), default=None)


class LoadTest:
    """One run of a plan."""

    def __init__(self, plan: Plan, ledger: Ledger, generator: Generator) -> None:
        self._plan = plan
        self._ledger = ledger
        self._generator = generator
        self._total = plan.total if plan.total is not None else math.inf
        self._connections: list[Connection] = []
        self._live: list[int] = []
        self._loop = asyncio.get_running_loop()
        self._answered = asyncio.Event()
        self._start = 0.0
        self._patience = plan.timeout
        self._progressed_at = 0.0
        self._progress = 0
        self._closing = False
        self.lost_connections = 0
        """Connections that the receiver has closed."""
        self.stopped = False
        """Ended by `stop`."""

    async def run(self) -> None:
        """Send everything and wait for the answers. Raises `medagent_hl7.answers.ConnectFailed`."""
        target = self._plan.target
        try:
            for index in range(self._plan.connections):
                received, lost = partial(self._received, index), partial(self._lost, index)
                self._live.append(index)
                self._connections.append(await connect(target.host, target.port, received, lost, self._plan.timeout))
            self._start = self._progressed_at = self._loop.time()
            await (self._follow_schedule() if self._plan.rate else self._fill_windows())
            await self._wait_for_answers()
            await asyncio.sleep(AFTERMATH)
        finally:
            self._closing = True
            await asyncio.gather(*(connection.close() for connection in self._connections))
        self._ledger.unreadable(sum(connection.faults for connection in self._connections))

    def stop(self) -> None:
        """Send no more and wait only a moment for the answers outstanding."""
        self.stopped = True
        self._patience = min(self._patience, STOP_PATIENCE)

    async def _follow_schedule(self) -> None:
        """Write each message as soon as it is due, whatever was answered."""
        interval = 1 / self._plan.rate
        while self._may_send:
            now = self._loop.time()
            first = self._ledger.sent_count
            due = min(self._total, math.floor((now - self._start) / interval) + 1, first + MAX_PER_TURN)
            batches: list[list[bytes]] = [[] for _ in self._live]
            for number in range(first, int(due)):
                place = number % len(self._live)
                batches[place].append(self._generator.message(number))
                self._ledger.sent(self._live[place], self._start + number * interval, now)
            for index, bodies in zip(self._live, batches, strict=True):
                if bodies:
                    self._connections[index].write(bodies)
            next_due = self._start + self._ledger.sent_count * interval
            await asyncio.sleep(max(0.0, min(next_due - self._loop.time(), CHECK_INTERVAL)))

    async def _fill_windows(self) -> None:
        """Keep `window` messages waiting for their answers on each connection."""
        end = self._start + (self._plan.duration or math.inf)
        while self._may_send and (now := self._loop.time()) < end and not self._is_stalled(now):
            for index in self._live:
                first = self._ledger.sent_count
                room = min(self._plan.window - self._ledger.outstanding[index], self._total - first)
                if room > 0:
                    numbers = range(first, first + int(room))
                    self._connections[index].write([self._generator.message(number) for number in numbers])
                    for _ in numbers:
                        self._ledger.sent(index, now, now)
            await self._next_answers()

    async def _wait_for_answers(self) -> None:
        """Return when all have come that can still come, or none has for too long."""
        self._progressed_at = self._loop.time()
        while any(self._ledger.outstanding[index] for index in self._live) and not self._is_stalled(self._loop.time()):
            await self._next_answers()

    @property
    def _may_send(self) -> bool:
        return bool(self._live) and not self.stopped and self._ledger.sent_count < self._total

    def _is_stalled(self, now: float) -> bool:
        if self._ledger.answered_count != self._progress:
            self._progress = self._ledger.answered_count
            self._progressed_at = now
        return now - self._progressed_at > self._patience

    async def _next_answers(self) -> None:
        self._answered.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(CHECK_INTERVAL):
                await self._answered.wait()

    def _received(self, index: int, bodies: list[bytes]) -> None:
        now = self._loop.time()
        for body in bodies:
            found = msa(body)
            if found is None:
                self._ledger.unreadable()
            else:
                self._ledger.answered(index, *found, now)
        self._answered.set()

    def _lost(self, index: int, _reason: str) -> None:
        if not self._closing:
            self._live.remove(index)
            self.lost_connections += 1
            self._answered.set()
