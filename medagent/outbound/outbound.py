"""Messages of the server for devices: into the queue first, then to the device, and the device's answer to the server.

The promises are in docs/outbound.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from medagent.clock import Clock
from medagent.config.model import AgentConfig
from medagent.errors import DeviceError, Unsendable
from medagent.guard import Guard
from medagent.outbound.lines import Lines
from medagent.outbound.outcomes import Outcomes, Reply
from medagent.outbound.push import ANSWER_SECONDS, OFF, RESTARTED, name_of, read_push
from medagent.outbound.recovery import read_waiting
from medagent.outbound.senders import Senders
from medagent.queue.backlog import FULL_REFUSAL, Backlog
from medagent.queue.base import Duplicate, QueueStore, Receipt
from medagent.queue.committer import Committer
from medagent.sender import SenderContext, SenderFactory
from medagent.statistics import Statistics
from medagent.tasks import Tasks
from medagent.throttle import Throttle
from medagent.types import PUSH_CHANNEL, InboundMessage, State
from medagent.uplink.base import ServerRequest

log = logging.getLogger(__name__)

MAX_BATCH = 500
"""Messages a commit."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Of pushes that the disk has not begun to take; more are refused."""
OVERHEAD_BYTES = 1000
"""What a push takes in memory beside its body."""
COMMIT_SECONDS = 5.0
"""What the disk is given at the end to take what has come."""
STOP_SECONDS = 1.0
"""What devices are given at the end to answer what somebody waits for."""
SECONDS_BETWEEN_NOTES = 10.0
SLOW_DISK = "the agent's disk does not take earlier pushes; nothing was sent"
STOPPING = "the agent is stopping; nothing was sent"


class Outbound:
    """The queue of pushes. `start` sets it going; `push` takes what the server asks for."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        factories: Mapping[str, SenderFactory],
        store: QueueStore,
        committer: Committer,
        backlog: Backlog,
        statistics: Statistics,
        next_seq: Callable[[], int],
        reply: Reply,
        guard_of: Callable[[str], Guard] | None = None,
        patience: float = ANSWER_SECONDS,
        clock: Clock = time,
    ) -> None:
        """`next_seq` gives places in the queue, `reply` writes a frame to the server; `guard_of` is as in `Senders`.

        `patience`: seconds that a device may take to answer, and after which nobody waits.
        """
        self._store = store
        self._committer = committer
        self._backlog = backlog
        self._statistics = statistics
        self._next_seq = next_seq
        self._patience = patience
        self._clock = clock
        self._tasks = Tasks()
        self._attempts: set[asyncio.Task[None]] = set()
        self._senders = Senders(factories, _sender_context(config), guard_of)
        self._outcomes = Outcomes(committer, statistics, reply, clock)
        self._lines = Lines(
            config.retry,
            store=store,
            senders=self._senders,
            outcomes=self._outcomes,
            tasks=self._tasks,
            patience=patience,
            clock=clock,
        )
        self._waiting: list[InboundMessage] = []
        """Not handed to the committer yet."""
        self._waiting_bytes = 0
        self._commits: asyncio.Task[None] | None = None
        self._restored = asyncio.Event()
        self._newer: list[InboundMessage] = []
        """Committed while those of the last run are read; they come behind them."""
        self._stopping = False
        self._ended = False
        self._refused = 0
        self._failed = 0
        self._notes = Throttle(SECONDS_BETWEEN_NOTES)
        self._open(config)

    def start(self, newest: int) -> None:
        """Go on with what the last run has left: all up to seq `newest`."""
        self._tasks.spawn(self._restore(newest), "pushes of the last run")

    async def stop(self) -> None:
        """Take no more, commit what was taken, and give the devices a moment; what is not answered goes on in the next run."""
        self._stopping = True
        if self._commits is not None:
            await asyncio.wait((self._commits,), timeout=COMMIT_SECONDS)
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=STOP_SECONDS)
        self._ended = True
        await self._tasks.cancel()
        await self._senders.close()

    def reconfigure(self, config: AgentConfig) -> None:
        """Another configuration is in force; what is in flight goes on."""
        self._lines.retry = config.retry
        self._senders.reconfigure(_sender_context(config))
        self._open(config)

    def _open(self, config: AgentConfig) -> None:
        if config.status == "off":
            self._lines.open.clear()
        else:
            self._lines.open.set()

    # -- from the server ------------------------------------------------------------------------------------------------

    def push(self, request: ServerRequest) -> None:
        """Take a message for a device. It is answered under the request's callback, whatever becomes of it."""
        callback, remote = request.callback, request.fields.get("remote")
        if self._stopping:
            self._refuse(callback, remote, STOPPING, passing=True)
            return
        try:
            push = read_push(request)
            body = self._senders.prepare(push)
        except Unsendable as error:
            self._refuse(callback, remote, str(error))
            return
        message = InboundMessage(body, name_of(callback, push.remote), push.remote, callback or "")
        if self._backlog.reason:  # also when channels are to pause: the server cannot be made to wait
            self._backlog.refused += 1
            self._refuse(callback, remote, FULL_REFUSAL.reason, passing=True)
            return
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._refuse(callback, remote, SLOW_DISK, passing=True)
            return
        self._backlog.admit([message])
        message.seq = self._next_seq()
        message.channel = PUSH_CHANNEL
        message.callback = callback or ""
        message.accepted_at, message.received_at = self._clock.time(), self._clock.monotonic()
        self._waiting.append(message)
        self._waiting_bytes += message.size + OVERHEAD_BYTES
        if self._commits is None or self._commits.done():
            self._commits = self._tasks.spawn(self._commit(), "commits of pushes")

    async def _commit(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            self._waiting_bytes -= sum(message.size + OVERHEAD_BYTES for message in batch)
            await self._committer.commit(batch)

    def _refuse(self, callback: str | None, remote: object, reason: str, *, passing: bool = False) -> None:
        """`passing`: it is not about this push, so that all of a time may be refused."""
        self._refused += 1
        # where nobody waits, the log is all that tells of a push that cannot be sent
        if (callback is None and not passing) or self._notes.passes(passing, self._clock.monotonic()):
            log.warning("a push is refused (%d so far): %s", self._refused, reason)
        self._outcomes.refused(callback, remote, reason)

    # -- from the committer -----------------------------------------------------------------------------------------------

    def committed(self, receipt: Receipt) -> None:
        """Pushes are on disk: send them."""
        if receipt.committed:
            self._statistics.committed(PUSH_CHANNEL, receipt.committed, self._clock.monotonic())
        if self._ended:  # what the disk has taken this late goes in the next run
            return
        for message in receipt.committed:
            if message.link:
                self._attempt(message)
            elif self._restored.is_set():
                self._wait_in_line(message)
            else:
                message.body = None
                self._newer.append(message)
        for duplicate in receipt.duplicates:
            self._statistics.duplicate(PUSH_CHANNEL)
            self._backlog.left((duplicate.message,))
            self._came_again(duplicate)

    def refuse_uncommitted(self, message: InboundMessage) -> None:
        """A push could not be stored, so it is not sent."""
        self._backlog.left((message,))
        why = "; ".join(self._store.reasons()) or self._committer.fault or "the queue refuses to commit"
        reason = f"the agent cannot store the message, and has not sent it: {why}"
        self._refuse(message.link or None, message.remote, reason, passing=True)

    def _came_again(self, duplicate: Duplicate) -> None:
        """One that has not ended is answered when it ends; one that has is answered again."""
        change = self._committer.pending(duplicate.seq)
        state, response = (change.state, change.response) if change is not None else (duplicate.state, duplicate.response)
        message = duplicate.message
        if state is State.RESPONSE_SENT and response is not None:
            self._outcomes.answered_before(message, self._senders.content_type(message.remote), response)

    # -- to the devices ---------------------------------------------------------------------------------------------------

    def _wait_in_line(self, message: InboundMessage) -> None:
        message.body = None  # it is read back when it is its turn
        self._lines.add(message.remote, message.seq)

    def _attempt(self, message: InboundMessage) -> None:
        task = self._tasks.spawn(self._attempt_once(message), "push")
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    async def _attempt_once(self, message: InboundMessage) -> None:
        """Somebody waits for the answer, so there is one attempt, and its end is told."""
        if not self._lines.open.is_set():
            self._outcomes.failed(message, OFF, State.REJECTED)
            return
        seconds = self._patience - self._age(message)
        self._outcomes.sending(message)
        try:
            answer = await self._senders.send(message.remote, message.body or b"", max(seconds, 0.0))
        except DeviceError as error:
            self._failed += 1
            if self._notes.passes(message.remote, self._clock.monotonic()):
                log.warning("push %d failed (%d so far): %s", message.seq, self._failed, error)
            message.attempts += 1
            self._outcomes.failed(message, str(error), State.REJECTED)
        else:
            self._outcomes.answered(message, self._senders.content_type(message.remote), answer)

    def _age(self, message: InboundMessage) -> float:
        """Seconds since its acceptance; after a restart only the wall clock tells, and it may have been set."""
        if message.received_at:
            return self._clock.monotonic() - message.received_at
        return max(0.0, self._clock.time() - message.accepted_at)

    # -- after a restart --------------------------------------------------------------------------------------------------

    async def _restore(self, newest: int) -> None:
        given_up = 0
        async for messages in read_waiting(self._store, newest):
            for message in messages:
                if not message.link:
                    self._wait_in_line(message)
                elif self._age(message) < self._patience:
                    self._attempt(message)
                else:
                    given_up += 1
                    self._outcomes.failed(message, RESTARTED, State.DEAD_LETTER)
        if given_up:
            log.warning("%d push(es) that somebody waited for end as dead_letter: %s", given_up, RESTARTED)
        self._restored.set()
        for message in self._newer:
            self._wait_in_line(message)
        self._newer.clear()


def _sender_context(config: AgentConfig) -> SenderContext:
    return SenderContext(config.keep_alive, config.max_clients_per_remote)
