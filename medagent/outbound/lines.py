"""Delivery of pushes that nobody waits for: one at a time for each device, in order, until the device answers or the Agent's
retry settings give a message up."""

from __future__ import annotations

import asyncio
import logging
import time

from medagent.clock import Clock
from medagent.config.model import RetryConfig
from medagent.errors import DeviceError
from medagent.outbound.line import Line
from medagent.outbound.outcomes import Outcomes
from medagent.outbound.push import ANSWER_SECONDS
from medagent.outbound.senders import Senders
from medagent.queue.base import QueueStore
from medagent.tasks import Tasks
from medagent.throttle import Throttle
from medagent.types import InboundMessage, State

log = logging.getLogger(__name__)

READ_PAUSE = 1.0
"""Seconds before a message that could not be read is read again."""
SECONDS_BETWEEN_NOTES = 10.0


class Lines:
    """A line for each device that messages wait for, and a task that works on it."""

    def __init__(
        self,
        retry: RetryConfig,
        *,
        store: QueueStore,
        senders: Senders,
        outcomes: Outcomes,
        tasks: Tasks,
        patience: float = ANSWER_SECONDS,
        clock: Clock = time,
    ) -> None:
        """`patience`: seconds for one attempt."""
        self.retry = retry
        self.open = asyncio.Event()
        """Cleared while nothing may be sent."""
        self._store = store
        self._senders = senders
        self._outcomes = outcomes
        self._tasks = tasks
        self._patience = patience
        self._clock = clock
        self._lines: dict[str, Line] = {}
        self._notes = Throttle(SECONDS_BETWEEN_NOTES)

    def add(self, remote: str, seq: int) -> None:
        """A message of the queue, behind all that wait for the same device."""
        line = self._lines.get(remote)
        if line is None:
            line = self._lines[remote] = Line()
            line.add(seq)
            self._tasks.spawn(self._work(remote, line), "pushes to a device")
        else:
            line.add(seq)

    async def _work(self, remote: str, line: Line) -> None:
        while line:
            await self.open.wait()
            if line.head is None and not await self._read(line):
                continue
            if line.head is not None and (delay := await self._attempt(line, line.head)) is not None:
                await asyncio.sleep(delay)
        del self._lines[remote]

    async def _read(self, line: Line) -> bool:
        """Read the first message; False if that must be tried again, or there is none of this seq."""
        try:
            line.head = await self._store.fetch_one(line.first)
        # whatever a store raises, the next try may succeed
        except Exception as error:  # noqa: BLE001  as said above
            self._note("the queue", "push %d cannot be read: %s; trying again", line.first, type(error).__name__)
            await asyncio.sleep(READ_PAUSE)
            return False
        if line.head is None:
            log.error("push %d could not be read back from the queue and is not sent", line.first)
            line.ended()
            return False
        return True

    async def _attempt(self, line: Line, message: InboundMessage) -> float | None:
        """Send the first message; the seconds until it is tried again, None if it has ended."""
        self._outcomes.sending(message)
        try:
            answer = await self._senders.send(message.remote, message.body or b"", self._patience)
        except DeviceError as error:
            return self._failed(line, message, error)
        self._outcomes.answered(message, self._senders.content_type(message.remote), answer)
        line.ended()
        return None

    def _failed(self, line: Line, message: InboundMessage, error: DeviceError) -> float | None:
        line.failures += 1
        if not (self.retry.guaranteed and error.may_have_it):  # as for the server: what is in doubt is sent again
            message.attempts += 1
            if self.retry.ends(message.attempts):
                log.warning("push %d ends as dead_letter after %d failure(s): %s", message.seq, message.attempts, error)
                self._outcomes.failed(message, str(error), State.DEAD_LETTER)
                line.ended()
                return None
        self._note(message.remote, "push %d is not delivered yet, and tried again: %s", message.seq, error)
        delay = self.retry.delay(line.failures)
        self._outcomes.again(message, str(error), delay)
        return delay

    def _note(self, kind: str, text: str, *values: object) -> None:
        """One line in ten seconds for each device: one that is down must not fill the log."""
        if self._notes.passes(kind, self._clock.monotonic()):
            log.warning(text, *values)
