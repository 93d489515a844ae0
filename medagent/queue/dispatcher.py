"""From the queue to the server and back: what leaves, in what order, and what becomes of the answers.

First attempts of a channel leave in the order of acceptance, at most `maxInFlight` of them unanswered; a channel with keys
has one of each key unanswered. A disconnect or a time-out after sending is ambiguous: such a message is sent again under the
same callback until there is an answer, unless the channel's settings have it count as a failure like any other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from medagent.channel import Channel
from medagent.clock import Clock
from medagent.config.model import AgentConfig
from medagent.failpoints import reach
from medagent.queue.base import Change, Duplicate, QueueStore
from medagent.queue.caution import Caution
from medagent.queue.committer import Committer
from medagent.queue.failures import LATE, LOST, LOST_ALONE, PASSING_ERRORS, Failures
from medagent.queue.flights import Flights
from medagent.queue.forwarding import Transforms
from medagent.queue.lane import Lane
from medagent.queue.lanes import Lanes
from medagent.queue.oversize import ADVICE, TooLong
from medagent.queue.reading import Reader
from medagent.queue.sending import Sending
from medagent.queue.settlement import Settlement, Verdict
from medagent.statistics import Statistics
from medagent.tasks import Tasks
from medagent.throttle import Throttle
from medagent.types import Answer, InboundMessage, State
from medagent.uplink.base import TOO_BIG, Response, Uplink

log = logging.getLogger(__name__)

ChannelNames = Callable[[], Awaitable[Collection[str] | None]]

SECONDS_BETWEEN_NOTES = 10.0
SHORTEST_HOLD = 1.0
"""Seconds that a channel waits at least when the server says that it is not there."""


class Dispatcher:
    """Sends committed messages and settles the answers. Implements `medagent.uplink.base.UplinkHandler`."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        store: QueueStore,
        committer: Committer,
        channels: Mapping[str, Channel],
        statistics: Statistics,
        settlement: Settlement,
        tasks: Tasks,
        channel_names: ChannelNames | None = None,
        clock: Clock = time,
    ) -> None:
        """`channel_names` asks the server which channels its Agent has; it gives None if that cannot be known now."""
        self._committer = committer
        self._statistics = statistics
        self._settlement = settlement
        self._reader = Reader(store, committer)
        self._failures = Failures(config, committer=committer, settlement=settlement, statistics=statistics, clock=clock)
        self._clock = clock
        self._tasks = tasks
        self._channel_names = channel_names
        self._asking = False
        """The server is being asked which channels its Agent has."""
        self._notes = Throttle(SECONDS_BETWEEN_NOTES)
        self._lanes = Lanes(channels, config.max_in_flight, committer.retries, self._failures.due)
        self._flights = Flights()
        self._caution = Caution()
        self._sending = Sending(
            config,
            lanes=self._lanes,
            flights=self._flights,
            caution=self._caution,
            reader=self._reader,
            committer=committer,
            channels=channels,
            failed=self._put_off,
            filtered=self._filtered,
            tasks=tasks,
            clock=clock,
        )
        self._resting: Collection[str] = ()
        """Channels that `rest` waits for."""
        self._rested = asyncio.Event()
        self.stopping = False
        """The agent is about to end: what is unanswered then goes again in its next run, and nothing has failed."""
        self.unmatched = 0
        """Answers that no waiting message asked for: late, double or unknown. Harmless."""

    def use(self, uplink: Uplink) -> None:
        """Send over `uplink` from now on."""
        self._sending.uplink = uplink

    async def add_lane(self, channel: str, newest: int) -> None:
        """Start to work on a channel's messages: all up to seq `newest` that are on disk, and what will be accepted.

        Nothing up to `newest` may still wait for its commit. Raises whatever the store does if it cannot be read, and then the
        channel has no lane.
        """
        try:
            await self._lanes.add(channel, newest)
        except Exception:
            self.remove_lane(channel)
            raise
        self._pump()

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    # -- at a reload ---------------------------------------------------------------------------------------------------

    def reconfigure(
        self, config: AgentConfig, lanes: Mapping[str, Sequence[tuple[int, float]] | None], newest: int = 0
    ) -> None:
        """Work by other settings from now on, for the channels of these names only.

        `lanes`: None for each whose lane stays, which must fit (`lanes_to_make`); the retries, as of `Committer.retries`, of
        each whose lane is made now. `newest` is as in `add_lane`.
        """
        self._sending.reconfigure(config)
        self._failures.reconfigure(config)
        for lane in self._lanes:
            if lanes.get(lane.channel) is not None or lane.channel not in lanes:
                self.remove_lane(lane.channel)
        self._lanes.go_on(config.max_in_flight)
        for channel, retries in lanes.items():
            if retries is not None:
                self._lanes.put(channel, newest, retries)
        self._pump()

    def lanes_to_make(self, hosts: Mapping[str, Channel], max_in_flight: int) -> set[str]:
        """Of these channels, to be in their places soon: those that have no lane, or need another one."""
        return {
            name
            for name, host in hosts.items()
            if (lane := self._lanes.get(name)) is None or not self._lanes.fits(lane, host, max_in_flight)
        }

    def use_transforms(self, transforms: Mapping[str, Transforms]) -> None:
        """Change what is sent from now on by these."""
        self._sending.transforms = transforms

    async def rest(self, channels: Collection[str], seconds: float) -> None:
        """Wait until all messages of these channels are answered, as long as the server is connected; at most so long."""
        if not self._sending.connected or self._at_rest(channels):
            return
        self._resting, self._rested = channels, asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await self._rested.wait()
        except TimeoutError:
            log.info("%d message(s) have no answer yet, after %g s", len(self._flights), seconds)
        finally:
            self._resting = ()

    def _at_rest(self, channels: Collection[str]) -> bool:
        return not self._sending.connected or self._lanes.idle(channels)

    @property
    def held(self) -> list[str]:
        """Channels that the server says are not there."""
        return [lane.channel for lane in self._lanes if lane.holds]

    def remove_lane(self, channel: str) -> None:
        """Work no more on a channel's messages; what is unanswered counts as not sent."""
        if channel in self._lanes:
            self._rewind(self._flights.of_channel(channel))
            self._lanes.remove(channel)
            self._caution.forget(channel)

    # -- from the intake ----------------------------------------------------------------------------------------------

    def committed(self, channel: str, messages: Sequence[InboundMessage]) -> None:
        """Messages of one channel are on disk: send them."""
        self._statistics.committed(channel, messages, self._clock.monotonic())
        if (lane := self._lanes.get(channel)) is not None:
            lane.committed(messages)
        self._pump()

    def duplicate(self, duplicate: Duplicate) -> None:
        """The device has sent again what is in the queue: the copy is answered in its place, at once if there is an answer."""
        message = duplicate.message
        self._statistics.duplicate(message.channel)
        state, response = duplicate.state, duplicate.response
        pending = self._committer.pending(duplicate.seq)
        if pending is not None:
            state, response = pending.state, pending.response or response
        if state is State.RESPONSE_QUEUED or state.ended:
            self._settlement.answer_again(duplicate.seq, message, state, response)
        elif not duplicate.joined:
            return
        elif (sent := self._flights.find(duplicate.seq)) is not None:
            sent.answer_to(message)
        else:
            if (lane := self._lanes.get(message.channel)) is not None:
                lane.join(duplicate.seq, message)
            self._reader.join(duplicate.seq, message)

    # -- to the uplink ------------------------------------------------------------------------------------------------

    def connected(self) -> None:
        self._sending.connected = True
        self._pump()

    def writable(self) -> None:
        self._pump()

    def disconnected(self) -> None:
        """Nobody knows what the server made of what was in flight: it goes again, in order, under the same callbacks."""
        self._sending.connected = False
        fatal = self._caution.disconnected(self._flights.messages)
        if fatal is not None:
            log.error("channel %s: the connection is lost whenever message %d is sent: it waits", fatal.channel, fatal.seq)
        again = []
        for message in self._flights.messages:
            lane = self._lanes[message.channel]
            guaranteed = self.stopping or self._failures.retry_of(message.channel).guaranteed
            if guaranteed and message is not fatal:
                again.append(message)
                continue
            self._take_down(message)
            if guaranteed:
                self._caution.put_off(message.seq)
                self._failures.lost(lane, message, self._caution.dangers(message.seq), LOST_ALONE)
            else:
                self._caution.beware(message.seq)
                self._failed(message, None, LOST)
        self._rewind(again)

    def _rewind(self, messages: Sequence[InboundMessage]) -> None:
        seqs: dict[str, list[int]] = {}
        for message in messages:
            self._take_down(message)
            self._committer.change(Change(message, State.RECEIVED))
            seqs.setdefault(message.channel, []).append(message.seq)
        for channel, of_channel in seqs.items():
            self._lanes[channel].rewind(of_channel)

    def tick(self) -> None:
        """Once a second or so: time-outs and retries that are due."""
        now = self._clock.monotonic()
        late = self._flights.late(now)
        for message in late:
            self._take_down(message)
            self._statistics.timed_out(message.channel)
            if self._failures.retry_of(message.channel).guaranteed:
                self._caution.put_off(message.seq)
                self._failures.late(self._lanes[message.channel], message)
            else:
                self._failed(message, None, LATE)
        if late:
            log.warning("%d message(s) had no answer within %g s", len(late), self._sending.timeout)
        if self._caution.grace_ends(now):
            self._rewind(self._flights.messages)
        self._pump()

    def _pump(self) -> None:
        if self._resting and self._at_rest(self._resting):
            self._rested.set()
        self._sending.pump()

    # -- from the server ----------------------------------------------------------------------------------------------

    def answered(self, responses: Sequence[Response]) -> None:
        """Settle all answers of one read. Raises `TypeError`, and settles nothing, if one of them is none."""
        if not all(_is_sound(response) for response in responses):
            raise TypeError("an answer must have a callback, a status code and a body")
        reach("after_response")
        verdicts: dict[str, list[Verdict]] = {}
        for response in responses:
            message = self._flights.end(response.callback)
            if message is None:
                self.unmatched += 1
                continue
            lane = self._lanes[message.channel]
            lane.in_flight -= 1
            lane.holds = 0
            status = response.status_code
            if status == 429 or status >= 500:
                self._failed(message, status, response.body)
                continue
            self._end(lane, message)
            if status >= 400:
                verdicts.setdefault(message.channel, []).append((message, Answer(False, "", response.body), status))
            else:
                verdicts.setdefault(message.channel, []).append((message, Answer(True, response.body), status))
        self._caution.answered()
        for channel, some in verdicts.items():
            self._settlement.settle(channel, some)
        self._pump()

    def _end(self, lane: Lane, message: InboundMessage) -> None:
        """The server has given its final verdict on a message."""
        self._caution.settled(message.seq)
        message.attempts += 1
        lane.ended(message.seq)

    def _put_off(self, message: InboundMessage, error: BaseException) -> None:
        """A plugin fails on this message, which was about to be sent, or it is too long."""
        self._take_down(message)
        message.body = None
        if isinstance(error, TooLong):
            self._give_up(message, str(error))
            return
        log.error("channel %s: message %d cannot be sent: %s", message.channel, message.seq, type(error).__name__)
        self._failed(message, None, type(error).__name__)

    def _filtered(self, messages: Sequence[InboundMessage]) -> None:
        """A transform says that these messages of one channel, which were about to be sent, are not for the server."""
        channel = messages[0].channel
        for message in messages:
            self._take_down(message)
            message.body = None
            self._caution.settled(message.seq)
            self._lanes[channel].ended(message.seq)
        verdicts: list[Verdict] = [(message, Answer(True, ""), None) for message in messages]
        self._settlement.settle(channel, verdicts, State.FILTERED)
        # no answer will come that lets the next ones go
        asyncio.get_running_loop().call_soon(self._pump)

    def _give_up(self, message: InboundMessage, reason: str) -> None:
        """The message is too long for the server; `reason` holds no patient data."""
        log.error("channel %s: message %d ends as dead_letter: %s", message.channel, message.seq, reason)
        self._end_refused(message, reason, State.DEAD_LETTER)

    def _end_refused(self, message: InboundMessage, reason: str, state: State) -> None:
        self._end(self._lanes[message.channel], message)
        self._settlement.settle(message.channel, [(message, Answer(False, "", reason), None)], state)

    def _failed(self, message: InboundMessage, status_code: int | None, reason: str) -> None:
        self._caution.put_off(message.seq)
        if self._failures.failed(self._lanes[message.channel], message, status_code, reason):
            self._caution.settled(message.seq)

    # -- errors that name no message ------------------------------------------------------------------------------------

    def failed(self, text: str) -> None:
        """The server could not serve some message: find it."""
        self._statistics.server_errors += 1
        if not self._flights:
            if self._notes.passes("", self._clock.monotonic()):
                log.warning("the server reports an error, and no message is waiting for an answer")
        elif text in PASSING_ERRORS and self._channel_names is not None and not self._caution.active:
            if not self._asking:
                self._asking = True
                self._tasks.spawn(self._ask_for_channels(self._channel_names, text), "question for the server's channels")
        else:
            self._search(text)

    async def _ask_for_channels(self, channel_names: ChannelNames, text: str) -> None:
        """Hold what the server's Agent does not have, and search only if that is nothing."""
        try:
            names = await channel_names()
        finally:
            self._asking = False
        unanswered = {message.channel for message in self._flights.messages}
        missing = unanswered - set(names) if names is not None else set()
        missing = {name for name in missing if self._failures.retry_of(name).endless}
        for name in missing:
            self._hold(name, text)
        if missing:
            self._pump()
        elif unanswered:
            self._search(text)

    def _search(self, text: str) -> None:
        """Send the unanswered ones again, one at a time."""
        searching = self._caution.active
        guilty = self._caution.failed(self._flights.messages, self._clock.monotonic())
        if guilty is not None:
            self._condemn(guilty, text)
        elif searching and self._caution.next_channel is not None:
            self._rewind(self._flights.messages)
        elif not searching:
            log.warning("the server reports an error that names no message: sending the unanswered one at a time")
        self._pump()

    def _take_down(self, message: InboundMessage) -> None:
        self._flights.end(message.callback)
        self._lanes[message.channel].in_flight -= 1

    def _condemn(self, message: InboundMessage, text: str) -> None:
        if text in PASSING_ERRORS and self._failures.retry_of(message.channel).endless:
            self._hold(message.channel, text)
            return
        self._take_down(message)
        if text == TOO_BIG:
            self._give_up(message, f"{text}: {ADVICE}")
        elif text in PASSING_ERRORS:
            log.warning("channel %s: the server cannot serve it now: %s", message.channel, text)
            self._failed(message, None, text)
        else:
            log.warning("channel %s: the server refuses message %d; it ends as rejected", message.channel, message.seq)
            self._end_refused(message, text, State.REJECTED)

    def _hold(self, channel: str, text: str) -> None:
        """The server does not serve this channel: its messages wait, in order, and the others go on."""
        lane = self._lanes[channel]
        lane.holds += 1
        seconds = max(self._failures.retry_of(channel).delay(lane.holds), SHORTEST_HOLD)
        log.warning("channel %s: the server says: %s; its messages wait for %g s", channel, text, seconds)
        self._rewind(self._flights.of_channel(channel))
        self._caution.forget(channel)
        lane.held_until = self._clock.monotonic() + seconds


def _is_sound(response: Response) -> bool:
    return isinstance(response.status_code, int) and isinstance(response.body, str) and isinstance(response.callback, str)
