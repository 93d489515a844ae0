"""From the lanes to the uplink: which messages go now, in what portions, and reading those that are not in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from medagent.channel import Channel
from medagent.clock import Clock
from medagent.config.model import AgentConfig
from medagent.failpoints import reach
from medagent.queue.base import Change
from medagent.queue.caution import Caution
from medagent.queue.committer import Committer
from medagent.queue.flights import Flights
from medagent.queue.forwarding import Transforms, make_frames
from medagent.queue.lane import Lane
from medagent.queue.lanes import Lanes
from medagent.queue.reading import Reader
from medagent.tasks import Tasks
from medagent.types import InboundMessage, State
from medagent.uplink.base import Uplink

RESEND_PAUSE = 1.0
"""Seconds before a message is tried again that could not be read, or that the uplink did not take."""
MAX_CHUNK = 500
"""Messages written to the uplink in one go."""
MAX_READ = 50
"""Messages read again in one go."""


class Sending:
    """Sends the messages of all channels in turn, as far as window, uplink and caution let it."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        lanes: Lanes,
        flights: Flights,
        caution: Caution,
        reader: Reader,
        committer: Committer,
        channels: Mapping[str, Channel],
        failed: Callable[[InboundMessage, Exception], None],
        filtered: Callable[[Sequence[InboundMessage]], None],
        tasks: Tasks,
        clock: Clock = time,
    ) -> None:
        """`failed` is told of a message that cannot be sent, and why; `filtered` of those of one channel that are not to be.

        Both give the messages' places in the window back.
        """
        self.uplink: Uplink | None = None
        self.connected = False
        self.transforms: Mapping[str, Transforms] = {}
        self._lanes = lanes
        self._flights = flights
        self._caution = caution
        self._reader = reader
        self._committer = committer
        self._channels = channels
        self._failed = failed
        self._filtered = filtered
        self._tasks = tasks
        self._clock = clock
        self.reconfigure(config)

    def reconfigure(self, config: AgentConfig) -> None:
        """Send by other settings from now on."""
        self.timeout = config.response_timeout_ms / 1000
        """Seconds that an answer may take."""
        self._max_frame_bytes = config.max_frame_bytes

    def pump(self) -> None:
        """Send what may go."""
        if not self.connected or self.uplink is None:
            return
        if self._caution.active:
            self._pump_one(self.uplink)
            return
        now = self._clock.monotonic()
        for lane in self._lanes:
            if lane.held_until <= now and not self._pump_lane(lane, self.uplink):
                self._lanes.put_last(lane)
                return

    def _pump_lane(self, lane: Lane, uplink: Uplink) -> bool:
        """Send what may go; False if the uplink is full."""
        while True:
            now = self._clock.monotonic()
            again: list[int] = []
            while (seq := lane.take_retry(now)) is not None:
                if self._caution.is_dangerous(seq):
                    lane.retry(seq, now)
                    self._caution.suspect(seq, lane.channel)
                    break
                lane.in_flight += 1  # the place is taken while the body is read
                again.append(seq)
            for begin in range(0, len(again), MAX_READ):
                self._tasks.spawn(self._resend(lane, again[begin : begin + MAX_READ]), "retry")
            if self._caution.active:
                return False
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
                return lane.held_until > now

    def _pump_one(self, uplink: Uplink) -> None:
        """Send one message, if no other is on its way: after an error that names none."""
        channel = self._caution.next_channel
        if channel is None or any(lane.in_flight for lane in self._lanes):
            return
        lane = self._lanes[channel]
        if lane.held_until > self._clock.monotonic():
            self._caution.forget(channel)
            self.pump()
        elif (seq := lane.take_retry(self._clock.monotonic())) is not None:
            lane.in_flight += 1
            self._tasks.spawn(self._resend(lane, [seq]), "retry")
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
            self.pump()

    def _transmit(self, uplink: Uplink, messages: Sequence[InboundMessage]) -> Sequence[InboundMessage]:
        """Write messages of one channel to the uplink; returns those that it did not take, or that a plugin holds.

        The caller has taken their places in the window. A message that a plugin fails on, or filters, gives its place back.
        """
        name = messages[0].channel
        transforms = self.transforms.get(name, ())
        outgoing = make_frames(messages, self._channels[name], transforms, self._max_frame_bytes)
        if outgoing.held:
            self._lanes[name].held_until = self._clock.monotonic() + outgoing.hold_seconds
        for message, fault in outgoing.faults:
            self._failed(message, fault)
        if outgoing.filtered:
            self._filtered(outgoing.filtered)
        sound = outgoing.sound
        try:
            taken = uplink.transmit(outgoing.frames) if sound else 0
        # an uplink may raise too, such as on a text that cannot be encoded
        except Exception as error:  # noqa: BLE001  as said above
            if len(sound) > 1:
                # one by one; what is left is left from the first one that is not taken
                left = next((sound[at:] for at, message in enumerate(sound) if self._transmit(uplink, (message,))), ())
                return [*left, *outgoing.held]
            self._failed(sound[0], error)
            return outgoing.held
        deadline = self._clock.monotonic() + self.timeout
        for message in sound[:taken]:
            message.body = None
            self._flights.begin(message, deadline)
            self._committer.change(Change(message, State.SENT))
        if taken:
            reach("after_send")
        return [*sound[taken:], *outgoing.held]

    async def _read_page(self, lane: Lane) -> None:
        try:
            read = await self._reader.read_page(lane, self._flights.callbacks)
        finally:
            lane.reading = False
        if read:
            self.pump()

    async def _resend(self, lane: Lane, seqs: Sequence[int]) -> None:
        """Send messages that must be read first; the caller has taken their places in the window."""
        left = set(seqs)
        try:
            found = await self._reader.read(seqs)
            if self._lanes.get(lane.channel) is not lane:
                return  # which is no longer worked on
            for seq in left - {message.seq for message in found}:
                left.remove(seq)
                lane.in_flight -= 1
                lane.ended(seq)
            if found and self.connected and self.uplink is not None:
                not_taken = self._transmit(self.uplink, found)
                left = {message.seq for message in not_taken}
        finally:
            lane.in_flight -= len(left)
            for seq in left:
                lane.retry(seq, self._clock.monotonic() + RESEND_PAUSE)
