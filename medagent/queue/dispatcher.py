"""From the queue to the server and back: what leaves, in what order, and what becomes of the answers.

First attempts of a channel leave in the order of acceptance, at most `maxInFlight` of them unanswered. A disconnect or a
time-out after sending is ambiguous: such a message is sent again under the same key until there is an answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medagent.channel import Channel
from medagent.config.model import AgentConfig
from medagent.queue.base import Change, Duplicate, QueueStore
from medagent.queue.committer import Committer
from medagent.queue.forwarding import make_frames
from medagent.queue.lane import PAGE_BYTES, PAGE_MESSAGES, Lane
from medagent.queue.suspects import Suspects
from medagent.statistics import Statistics
from medagent.tasks import Tasks
from medagent.types import Answer, Delivery, InboundMessage, State
from medagent.uplink.base import Response, Uplink

log = logging.getLogger(__name__)

RETRY_BASE = 1.0
RETRY_CAP = 60.0
"""Seconds before a message that failed for a passing reason is tried again: base * 2^(attempts - 1), at most the cap."""
MAX_CHUNK = 500
"""Messages written to the uplink in one go."""


@dataclass(slots=True)
class Flight:
    """A message that was written to the uplink and is not answered yet."""

    message: InboundMessage
    deadline: float
    """Monotonic seconds."""


class Dispatcher:
    """Sends committed messages and settles the answers. Implements `medagent.uplink.base.UplinkHandler`."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        store: QueueStore,
        committer: Committer,
        channels: Mapping[str, Channel],
        transforms: Mapping[str, Sequence[Callable[[str], str]]],
        statistics: Statistics,
        tasks: Tasks,
        observe: Callable[[str, Sequence[tuple[InboundMessage, State]]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = config.response_timeout_ms / 1000
        self._max_in_flight = config.max_in_flight
        self._store = store
        self._committer = committer
        self._channels = channels
        self._transforms = transforms
        self._statistics = statistics
        self._tasks = tasks
        self._observe = observe
        self._clock = clock
        self._uplink: Uplink | None = None
        self._connected = False
        self._lanes: dict[str, Lane] = {}
        self._in_flight: dict[str, Flight] = {}
        self._suspects = Suspects()
        self.unmatched = 0
        """Answers that no waiting message asked for: late, double or unknown. Harmless."""

    def use(self, uplink: Uplink) -> None:
        """Send over `uplink` from now on."""
        self._uplink = uplink

    async def add_lane(self, channel: str, newest: int) -> None:
        """Start to work on a channel's messages: all up to seq `newest` that are on disk, and what will be accepted."""
        lane = self._lanes[channel] = Lane(channel, self._max_in_flight, newest=newest)
        wall, now = time.time(), self._clock()
        for seq, at in await self._store.retries(channel):
            lane.retry(seq, now + min(max(0.0, at - wall), RETRY_CAP))
        self._pump()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    # -- from the intake ----------------------------------------------------------------------------------------------

    def committed(self, channel: str, messages: Sequence[InboundMessage]) -> None:
        """Messages of one channel are on disk: send them."""
        self._statistics.committed(channel, messages, self._clock())
        self._lanes[channel].committed(messages)
        self._pump()

    def duplicate(self, duplicate: Duplicate) -> None:
        """The device has sent again what is in the queue: its newest connection gets the answer, at once if there is one."""
        message = duplicate.message
        self._statistics.duplicate(message.channel)
        state, response = duplicate.state, duplicate.response
        pending = self._committer.pending(duplicate.seq)
        if pending is not None:
            state, response = pending.state, pending.response or response
        if state is State.RESPONSE_QUEUED or state.ended:
            self._answer_again(duplicate.seq, message, state, response)
        elif (flight := self._flight_of(duplicate.seq)) is not None:
            waiting = flight.message
            waiting.link, waiting.remote, waiting.origin = message.link, message.remote, message.origin
        else:
            self._lanes[message.channel].join(duplicate.seq, message)

    def _flight_of(self, seq: int) -> Flight | None:
        return next((flight for flight in self._in_flight.values() if flight.message.seq == seq), None)

    def _answer_again(self, seq: int, message: InboundMessage, state: State, response: str | None) -> None:
        refused = state in (State.REJECTED, State.DEAD_LETTER)
        deliveries = self._answer(message.channel, [(message, Answer(not refused, response or ""))])
        if state is not State.RESPONSE_UNDELIVERED or deliveries[0] is not Delivery.SENT:
            return
        if (pending := self._committer.pending(seq)) is not None:
            pending.state = State.RESPONSE_SENT
        else:
            message.seq, message.stored_state = seq, state
            self._committer.change(Change(message, State.RESPONSE_SENT))

    # -- to the uplink ------------------------------------------------------------------------------------------------

    def connected(self) -> None:
        self._connected = True
        self._pump()

    def writable(self) -> None:
        self._pump()

    def disconnected(self) -> None:
        """Nobody knows what the server made of what was in flight: it all goes again, in order, under the same keys."""
        self._connected = False
        self._suspects.clear()
        self._rewind(list(self._in_flight.values()))

    def _rewind(self, flights: Sequence[Flight]) -> None:
        seqs: dict[str, list[int]] = {}
        for flight in flights:
            message = flight.message
            del self._in_flight[message.callback]
            self._lanes[message.channel].in_flight -= 1
            self._committer.change(Change(message, State.RECEIVED))
            seqs.setdefault(message.channel, []).append(message.seq)
        for channel, of_channel in seqs.items():
            self._lanes[channel].rewind(of_channel)

    def tick(self) -> None:
        """Once a second or so: time-outs and retries that are due."""
        now = self._clock()
        late = []
        for flight in self._in_flight.values():
            # in the order of sending, so of deadlines
            if flight.deadline > now:
                break
            late.append(flight)
        for flight in late:
            message = flight.message
            del self._in_flight[message.callback]
            lane = self._lanes[message.channel]
            lane.in_flight -= 1
            lane.retry(message.seq, now)
            self._statistics.timed_out(message.channel)
        if late:
            log.warning("%d message(s) had no answer within %g s: sending again under the same keys", len(late), self._timeout)
        self._pump()

    def _pump(self) -> None:
        if not self._connected or self._uplink is None:
            return
        if self._suspects.active:
            self._probe()
            return
        for lane in self._lanes.values():
            if not self._pump_lane(lane, self._uplink):
                # next time another channel comes first
                self._lanes[lane.channel] = self._lanes.pop(lane.channel)
                return

    def _pump_lane(self, lane: Lane, uplink: Uplink) -> bool:
        """Send what may go; False if the uplink is full."""
        while True:
            while (seq := lane.take_retry(self._clock())) is not None:
                lane.in_flight += 1  # the place is taken while the body is read
                self._tasks.spawn(self._resend(lane, seq), "retry")
            batch: list[InboundMessage] = []
            while len(batch) < MAX_CHUNK and (message := lane.take()) is not None:
                batch.append(message)
                lane.in_flight += 1
            if lane.wants_page:
                lane.reading = True
                self._tasks.spawn(self._read_page(lane), "page of the queue")
            if not batch:
                return True
            if left := self._transmit(uplink, batch):
                lane.in_flight -= len(left)
                lane.put_back(left)
                return False

    def _transmit(self, uplink: Uplink, messages: Sequence[InboundMessage]) -> Sequence[InboundMessage]:
        """Write messages of one channel to the uplink; returns those that it did not take.

        The caller has taken their places in the window. A message that a plugin fails on gives its place back.
        """
        name = messages[0].channel
        sound, frames, faults = make_frames(messages, self._channels[name], self._transforms.get(name, ()))
        for message, fault in faults:
            self._put_off(message, fault)
        try:
            taken = uplink.transmit(frames) if frames else 0
        # an uplink may raise too, such as on a text that cannot be encoded
        except Exception as error:  # noqa: BLE001  as said above
            if len(sound) > 1:
                # one by one; what is left is left from the first one that is not taken
                return next((sound[at:] for at, message in enumerate(sound) if self._transmit(uplink, (message,))), ())
            self._put_off(sound[0], error)
            return ()
        deadline = self._clock() + self._timeout
        for message in sound[:taken]:
            self._in_flight.pop(message.callback, None)  # the deadlines stay in order
            message.attempts += 1
            message.body = None
            self._in_flight[message.callback] = Flight(message, deadline)
            self._committer.change(Change(message, State.SENT))
        return sound[taken:]

    async def _read_page(self, lane: Lane) -> None:
        rewinds = lane.rewinds
        try:
            # what is not on disk yet would be read in its old state
            await self._committer.flush_changes()
            if self._committer.unwritten(State.RECEIVED):
                return  # the next tick tries again
            newest = lane.newest
            found = await self._store.fetch(lane.channel, lane.cursor, PAGE_MESSAGES, PAGE_BYTES)
            if lane.rewinds == rewinds:
                lane.page([message for message in found if self._unsent(message)], found[-1].seq if found else newest)
        finally:
            lane.reading = False
        self._pump()

    def _unsent(self, message: InboundMessage) -> bool:
        """Whether memory knows no more of a message than the queue's file, which could not be written for a while."""
        pending = self._committer.pending(message.seq)
        return message.callback not in self._in_flight and (pending is None or pending.state is State.RECEIVED)

    async def _resend(self, lane: Lane, seq: int) -> None:
        """Send one message again; the caller has taken its place in the window."""
        ended = taken = False
        try:
            await self._committer.flush_changes()
            message = await self._store.fetch_one(seq)
            ended = message is None
            if message is not None and self._connected and self._uplink is not None:
                taken = not self._transmit(self._uplink, (message,))
        finally:
            if not taken:
                lane.in_flight -= 1
                if not ended:
                    lane.retry(seq, self._clock() + RETRY_BASE)

    # -- from the server ----------------------------------------------------------------------------------------------

    def answered(self, responses: Sequence[Response]) -> None:
        """Settle all answers of one read."""
        verdicts: dict[str, list[tuple[InboundMessage, Answer, Response]]] = {}
        for response in responses:
            flight = self._in_flight.pop(response.callback, None)
            if flight is None:
                self.unmatched += 1
                continue
            message = flight.message
            lane = self._lanes[message.channel]
            lane.in_flight -= 1
            status = response.status_code
            if status < 400:
                verdict = Answer(True, response.body)
            elif status == 429 or status >= 500:
                self._retry_later(message, response.status_code, response.body)
                continue
            else:
                verdict = Answer(False, "", response.body)
            verdicts.setdefault(message.channel, []).append((message, verdict, response))
        for channel, some in verdicts.items():
            self._settle(channel, some)
        self._pump()

    def _settle(self, channel: str, verdicts: Sequence[tuple[InboundMessage, Answer, Response]]) -> None:
        deliveries = self._answer(channel, [(message, answer) for message, answer, _ in verdicts])
        settled = []
        for (message, answer, response), delivery in zip(verdicts, deliveries, strict=True):
            state = delivery.value if answer.accepted else State.REJECTED
            settled.append((message, state))
            self._committer.change(
                Change(
                    message,
                    state,
                    response=answer.body if answer.accepted else None,
                    status_code=response.status_code,
                    error=answer.reason or None,
                )
            )
        self._statistics.settled(channel, settled, self._clock())
        if self._observe is not None:
            self._observe(channel, settled)

    def _answer(self, channel: str, answers: list[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        host = self._channels.get(channel)
        return host.answer(answers) if host is not None else [Delivery.GONE] * len(answers)

    def delivered(self, outcomes: Sequence[tuple[InboundMessage, Delivery]]) -> None:
        """A slow device has taken its answers, or has gone."""
        for message, delivery in outcomes:
            pending = self._committer.pending(message.seq)
            # a refusal has ended as `rejected` whatever became of its answer
            if message.stored_state is State.REJECTED or (pending is not None and pending.state is State.REJECTED):
                continue
            change = Change(message, delivery.value)
            if pending is not None:
                change.response, change.status_code = pending.response, pending.status_code
            self._committer.change(change)

    def _put_off(self, message: InboundMessage, error: Exception) -> None:
        """A plugin fails on this message, which was about to be sent."""
        log.error("channel %s: message %d cannot be sent: %s", message.channel, message.seq, type(error).__name__)
        self._in_flight.pop(message.callback, None)
        self._lanes[message.channel].in_flight -= 1
        message.attempts += 1
        message.body = None
        self._retry_later(message, None, type(error).__name__)

    def _retry_later(self, message: InboundMessage, status_code: int | None, reason: str) -> None:
        delay = min(RETRY_BASE * 2.0 ** min(message.attempts - 1, 10), RETRY_CAP)
        self._committer.change(
            Change(
                message,
                State.ERROR,
                status_code=status_code,
                error=reason,
                next_attempt_at=time.time() + delay,
            )
        )
        self._lanes[message.channel].retry(message.seq, self._clock() + delay)
        self._statistics.failed(message.channel)

    # -- errors that name no message ------------------------------------------------------------------------------------

    def failed(self, text: str) -> None:
        """Find the message that the server cannot serve: send the unanswered ones again, one by one."""
        self._statistics.server_errors += 1
        if not self._in_flight:
            log.warning("the server reports an error, and no message is waiting for an answer")
            return
        guilty = self._suspects.failed([flight.message for flight in self._in_flight.values()], self._clock())
        if guilty is not None:
            self._reject(guilty, text)
        self._pump()

    def _reject(self, callback: str, text: str) -> None:
        flight = self._in_flight.pop(callback)
        message = flight.message
        self._lanes[message.channel].in_flight -= 1
        log.warning("channel %s: the server refuses message %d; it ends as rejected", message.channel, message.seq)
        self._settle(message.channel, [(message, Answer(False, "", text), Response(callback, 400, "text/plain", text))])

    def _probe(self) -> None:
        callback = self._suspects.next_probe(self._in_flight.keys(), self._clock())
        if callback is not None:
            self._tasks.spawn(self._send_alone(self._in_flight[callback]), "probe")
        elif not self._suspects.active:
            self._pump()

    async def _send_alone(self, flight: Flight) -> None:
        """Send an unanswered message again while nothing else is sent."""
        message = flight.message
        taken = False
        try:
            await self._committer.flush_changes()
            stored = await self._store.fetch_one(message.seq)
            # meanwhile the answer may have come after all, or the connection have gone
            if stored is not None and self._uplink is not None and self._in_flight.get(message.callback) is flight:
                message.body = stored.body
                taken = not self._transmit(self._uplink, (message,))
        finally:
            if taken:
                self._suspects.probe_sent(message.callback)
            else:
                self._suspects.probe_unsent(message.callback)
        if message.callback not in self._in_flight:
            self._pump()
