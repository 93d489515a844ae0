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
from medagent.clock import Clock
from medagent.config.model import AgentConfig
from medagent.failpoints import reach
from medagent.queue.base import Change, Duplicate, QueueStore
from medagent.queue.caution import Caution
from medagent.queue.committer import Committer
from medagent.queue.forwarding import make_frames
from medagent.queue.lane import PAGE_BYTES, PAGE_MESSAGES, Lane
from medagent.queue.settlement import Settlement, Verdict
from medagent.statistics import Statistics
from medagent.tasks import Tasks
from medagent.types import Answer, InboundMessage, State
from medagent.uplink.base import Response, Uplink

log = logging.getLogger(__name__)

RETRY_BASE = 1.0
RETRY_CAP = 60.0
"""Seconds before a message that failed for a passing reason is tried again: base * 2^(attempts - 1), at most the cap."""
PASSING_ERRORS = frozenset({"Channel not found"})
"""Texts of `agent:error` that say nothing against the message: the Agent resource on the server is to be mended."""
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
        settlement: Settlement,
        tasks: Tasks,
        clock: Clock = time,
    ) -> None:
        self._timeout = config.response_timeout_ms / 1000
        self._max_in_flight = config.max_in_flight
        self._store = store
        self._committer = committer
        self._channels = channels
        self._transforms = transforms
        self._statistics = statistics
        self._tasks = tasks
        self._settlement = settlement
        self._clock = clock
        self._uplink: Uplink | None = None
        self._connected = False
        self._lanes: dict[str, Lane] = {}
        self._in_flight: dict[str, Flight] = {}
        self._caution = Caution()
        self.unmatched = 0
        """Answers that no waiting message asked for: late, double or unknown. Harmless."""

    def use(self, uplink: Uplink) -> None:
        """Send over `uplink` from now on."""
        self._uplink = uplink

    async def add_lane(self, channel: str, newest: int) -> None:
        """Start to work on a channel's messages: all up to seq `newest` that are on disk, and what will be accepted."""
        lane = self._lanes[channel] = Lane(channel, self._max_in_flight, newest=newest)
        wall, now = self._clock.time(), self._clock.monotonic()
        for seq, at in await self._store.retries(channel):
            lane.retry(seq, now + min(max(0.0, at - wall), RETRY_CAP))
        self._pump()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    # -- from the intake ----------------------------------------------------------------------------------------------

    def committed(self, channel: str, messages: Sequence[InboundMessage]) -> None:
        """Messages of one channel are on disk: send them."""
        self._statistics.committed(channel, messages, self._clock.monotonic())
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
            self._settlement.answer_again(duplicate.seq, message, state, response)
        elif (flight := self._flight_of(duplicate.seq)) is not None:
            waiting = flight.message
            waiting.link, waiting.remote, waiting.origin = message.link, message.remote, message.origin
        else:
            self._lanes[message.channel].join(duplicate.seq, message)

    def _flight_of(self, seq: int) -> Flight | None:
        return next((flight for flight in self._in_flight.values() if flight.message.seq == seq), None)

    # -- to the uplink ------------------------------------------------------------------------------------------------

    def connected(self) -> None:
        self._connected = True
        self._pump()

    def writable(self) -> None:
        self._pump()

    def disconnected(self) -> None:
        """Nobody knows what the server made of what was in flight: it all goes again, in order, under the same keys."""
        self._connected = False
        fatal = self._caution.disconnected([flight.message for flight in self._in_flight.values()])
        if fatal is not None:
            log.error("channel %s: the connection is lost whenever message %d is sent: it waits", fatal.channel, fatal.seq)
            self._take_down(fatal)
            self._retry_later(fatal, None, "the connection was lost each time while this message was alone on its way")
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
        now = self._clock.monotonic()
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
            self._caution.put_off(message.seq)
            self._statistics.timed_out(message.channel)
        if late:
            log.warning("%d message(s) had no answer within %g s: sending again under the same keys", len(late), self._timeout)
        if self._caution.grace_ends(now):
            self._rewind(list(self._in_flight.values()))
        self._pump()

    def _pump(self) -> None:
        if not self._connected or self._uplink is None:
            return
        if self._caution.active:
            self._pump_one(self._uplink)
            return
        for lane in self._lanes.values():
            if not self._pump_lane(lane, self._uplink):
                # next time another channel comes first
                self._lanes[lane.channel] = self._lanes.pop(lane.channel)
                return

    def _pump_lane(self, lane: Lane, uplink: Uplink) -> bool:
        """Send what may go; False if the uplink is full."""
        while True:
            while (seq := lane.take_retry(self._clock.monotonic())) is not None:
                if self._caution.is_dangerous(seq):
                    lane.retry(seq, self._clock.monotonic())
                    self._caution.suspect(seq, lane.channel)
                    return False
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

    def _pump_one(self, uplink: Uplink) -> None:
        """Send one message, if no other is on its way: after an error that names none."""
        channel = self._caution.next_channel
        if channel is None or any(lane.in_flight for lane in self._lanes.values()):
            return
        lane = self._lanes[channel]
        if (seq := lane.take_retry(self._clock.monotonic())) is not None:
            lane.in_flight += 1
            self._tasks.spawn(self._resend(lane, seq), "retry")
        elif (message := lane.take()) is not None:
            lane.in_flight += 1
            if left := self._transmit(uplink, (message,)):
                lane.in_flight -= 1
                lane.put_back(left)
        elif lane.wants_page:
            lane.reading = True
            self._tasks.spawn(self._read_page(lane), "page of the queue")
        elif lane.idle:
            self._caution.forget(channel)
            self._pump()

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
        deadline = self._clock.monotonic() + self._timeout
        for message in sound[:taken]:
            self._in_flight.pop(message.callback, None)  # the deadlines stay in order
            message.attempts += 1
            message.body = None
            self._in_flight[message.callback] = Flight(message, deadline)
            self._committer.change(Change(message, State.SENT))
        if taken:
            reach("after_send")
        return sound[taken:]

    async def _read_page(self, lane: Lane) -> None:
        rewinds = lane.rewinds
        try:
            # what is not on disk yet would be read in its old state
            await self._committer.flush_changes()
            if lane.rewinds == rewinds and self._committer.unwritten(State.RECEIVED):
                return  # the queue's file cannot be written: the next tick tries again
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
                    lane.retry(seq, self._clock.monotonic() + RETRY_BASE)

    # -- from the server ----------------------------------------------------------------------------------------------

    def answered(self, responses: Sequence[Response]) -> None:
        """Settle all answers of one read."""
        reach("after_response")
        verdicts: dict[str, list[Verdict]] = {}
        for response in responses:
            flight = self._in_flight.pop(response.callback, None)
            if flight is None:
                self.unmatched += 1
                continue
            message = flight.message
            self._lanes[message.channel].in_flight -= 1
            if self._caution.active:
                self._caution.settled(message.seq)
            status = response.status_code
            if status == 429 or status >= 500:
                self._retry_later(message, status, response.body)
            elif status >= 400:
                verdicts.setdefault(message.channel, []).append((message, Answer(False, "", response.body), status))
            else:
                verdicts.setdefault(message.channel, []).append((message, Answer(True, response.body), status))
        self._caution.answered()
        for channel, some in verdicts.items():
            self._settlement.settle(channel, some)
        self._pump()

    def _put_off(self, message: InboundMessage, error: BaseException) -> None:
        """A plugin fails on this message, which was about to be sent."""
        log.error("channel %s: message %d cannot be sent: %s", message.channel, message.seq, type(error).__name__)
        self._in_flight.pop(message.callback, None)
        self._lanes[message.channel].in_flight -= 1
        message.attempts += 1
        message.body = None
        self._retry_later(message, None, type(error).__name__)

    def _retry_later(self, message: InboundMessage, status_code: int | None, reason: str) -> None:
        self._caution.put_off(message.seq)
        delay = min(RETRY_BASE * 2.0 ** min(message.attempts - 1, 10), RETRY_CAP)
        self._committer.change(
            Change(
                message,
                State.ERROR,
                status_code=status_code,
                error=reason,
                next_attempt_at=self._clock.time() + delay,
            )
        )
        self._lanes[message.channel].retry(message.seq, self._clock.monotonic() + delay)
        self._statistics.failed(message.channel)

    # -- errors that name no message ------------------------------------------------------------------------------------

    def failed(self, text: str) -> None:
        """Find the message that the server cannot serve: send the unanswered ones again, one at a time."""
        self._statistics.server_errors += 1
        if not self._in_flight:
            log.warning("the server reports an error, and no message is waiting for an answer")
            return
        searching = self._caution.active
        guilty = self._caution.failed([flight.message for flight in self._in_flight.values()], self._clock.monotonic())
        if guilty is not None:
            self._condemn(guilty, text)
        elif searching and self._caution.next_channel is not None:
            self._rewind(list(self._in_flight.values()))
        elif not searching:
            log.warning("the server reports an error that names no message: sending the unanswered one at a time")
        self._pump()

    def _take_down(self, message: InboundMessage) -> None:
        del self._in_flight[message.callback]
        self._lanes[message.channel].in_flight -= 1

    def _condemn(self, message: InboundMessage, text: str) -> None:
        self._take_down(message)
        if text in PASSING_ERRORS:
            log.warning("channel %s: the server cannot serve it now: %s", message.channel, text)
            self._retry_later(message, None, text)
        else:
            log.warning("channel %s: the server refuses message %d; it ends as rejected", message.channel, message.seq)
            self._caution.settled(message.seq)
            self._settlement.settle(message.channel, [(message, Answer(False, "", text), None)])
