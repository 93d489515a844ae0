"""Hosting of channels: their life cycle, and a guard between a plugin's faults and the core.

A channel is `starting`, then `listening`; when it cannot listen it is `waiting` and tried again with back-off, for ever: a
port that is taken now is free later. At the end it is `stopped`. One that `ChannelConfig.barred` keeps from listening is
`waiting` too, and not tried. One that is turned off is `off`: it only forwards what it has accepted before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar, cast

from medagent.awaiting import awaited
from medagent.channel import Channel, ChannelContext, Keyed, Noticing, Reconfigurable
from medagent.config.model import ChannelConfig
from medagent.errors import PLUGIN_FAULTS, ChannelError, PluginError
from medagent.tasks import Tasks
from medagent.types import Answer, Delivery, InboundMessage, Refusal

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_RETRY = 0.5
RETRY_CAP = 30.0
"""Seconds between tries to listen: doubled from the first to the cap."""
START_TIMEOUT = 10.0
"""Seconds that a channel's `start` may take."""
CLOSE_TIMEOUT = 3.0
"""Seconds that a channel's `close` may take at shutdown."""


class HostedChannel:
    """One channel under supervision; itself a `medagent.channel.Channel` that never raises."""

    def __init__(
        self,
        config: ChannelConfig,
        channel: Channel,
        *,
        off: str = "",
        context: ChannelContext | None = None,
        tasks: Tasks | None = None,
    ) -> None:
        """`off`: why the channel does not listen; "" if it does. `context` and `tasks` are what the channel was given."""
        self.config = config
        self.state = "off" if off else "starting"
        self.reason = off
        self.faults = 0
        self.content_type = channel.content_type
        self._channel = channel
        self._context = context
        self._tasks = tasks or Tasks()

    async def listen(self, seconds: float = START_TIMEOUT) -> None:
        """Try once, for so long. Raises `ChannelError` with the reason."""
        try:
            await awaited(self._channel.start(), seconds)
        # a plugin's start can fail with anything
        except PLUGIN_FAULTS as error:
            reason = str(error) if isinstance(error, ChannelError | PluginError) else type(error).__name__
            raise ChannelError(reason) from error
        self.state, self.reason = "listening", ""
        log.info("channel %s listens on %s", self.config.name, self.address)

    async def start(self) -> None:
        """Listen, however often it takes; never, if the channel is off or the configuration bars it."""
        if self.state == "off":
            return
        if self.config.barred:
            self.state, self.reason = "waiting", f"barred until this is mended: {self.config.barred}"
            log.error("channel %s does not listen: %s; it would let everybody in", self.config.name, self.config.barred)
            return
        delay = FIRST_RETRY
        while self.state != "listening":
            try:
                await self.listen()
            except ChannelError as error:
                reason = str(error)
                if reason != self.reason:
                    log.error("channel %s cannot listen: %s; trying again", self.config.name, reason)
                self.state, self.reason = "waiting", reason
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_CAP)

    async def stop_accepting(self) -> None:
        await self._bounded(self._channel.stop_accepting)

    async def close(self) -> None:
        await self._bounded(self._channel.close)
        await self._bounded(self._tasks.cancel)
        self.state = "stopped"

    async def _bounded(self, step: Callable[[], object]) -> None:
        try:
            await awaited(step(), CLOSE_TIMEOUT)
        # a plugin's clean-up can fail with anything; the shutdown goes on
        except PLUGIN_FAULTS as error:
            self._fault("while closing", error)

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        self._guard("committed", lambda: self._channel.committed(messages), None)

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        self._guard("refused", lambda: self._channel.refused(messages, refusal), None)

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        def deliveries() -> list[Delivery]:
            # `Delivery` of each, and a ValueError unless there is one per answer
            return [Delivery(delivery) for delivery, _ in zip(self._channel.answer(answers), answers, strict=True)]

        return self._guard("answer", deliveries, [Delivery.GONE] * len(answers))

    def forward(self, message: InboundMessage) -> str:
        return self._channel.forward(message)

    @property
    def max_workers(self) -> int:
        """0 for a channel without keys (`medagent.channel.Keyed`)."""

        def asked() -> int:
            channel = self._channel
            return max(0, int(channel.max_workers)) if isinstance(channel, Keyed) else 0

        return self._guard("max_workers", asked, 0)

    def key(self, message: InboundMessage) -> str:
        """Only for a channel with `max_workers`. What its plugin fails on waits in line with all that have no key."""

        def asked() -> str:
            key = cast("Keyed", self._channel).key(message)
            if type(key) is not str:
                raise TypeError("not a text")
            return key

        return self._guard("key", asked, "")

    def reconfigure(self, config: ChannelConfig) -> bool:
        """Work by this configuration from now on; False if the channel must be closed, and another started with it.

        That is so for another name, scheme, host or port, a channel that is barred or no longer is, one that is not
        `medagent.channel.Reconfigurable` or says that it cannot, and one that fails.
        """

        def asked() -> bool:
            channel = self._channel
            return isinstance(channel, Reconfigurable) and channel.reconfigure(config) is True

        if _place(config) != _place(self.config) or config.barred or self.config.barred:
            return False
        if not self._guard("reconfigure", asked, False):
            return False
        self.config = config
        return True

    def resize(self, max_body_bytes: int) -> None:
        """Bodies may be so long now."""
        if self._context is not None and self._context.max_body_bytes != max_body_bytes:
            self._context.max_body_bytes = max_body_bytes
            self.reconfigure(self.config)

    def pause_reading(self) -> None:
        self._guard("pause_reading", self._channel.pause_reading, None)

    def resume_reading(self) -> None:
        self._guard("resume_reading", self._channel.resume_reading, None)

    @property
    def hosted(self) -> Channel:
        """The channel itself, for the plugin that made it; calls of it are not guarded."""
        return self._channel

    @property
    def connections(self) -> int:
        return self._guard("connections", lambda: self._channel.connections, 0)

    @property
    def address(self) -> str:
        return self._guard("address", lambda: self._channel.address, "")

    @property
    def notices(self) -> dict[str, int]:
        """What the channel has noted about its devices, by kind; empty if it counts nothing."""

        def counts() -> dict[str, int]:
            noticing = self._channel
            return {str(kind): int(count) for kind, count in noticing.notices.items()} if isinstance(noticing, Noticing) else {}

        return self._guard("notices", counts, {})

    def _guard(self, what: str, call: Callable[[], T], otherwise: T) -> T:
        try:
            return call()
        # the one place where a channel's fault is kept from the core
        except PLUGIN_FAULTS as error:
            self._fault(f"in {what}", error)
            return otherwise

    def _fault(self, where: str, error: BaseException) -> None:
        self.faults += 1
        if self.faults == 1 or self.faults % 1000 == 0:
            log.error("channel %s failed %s: %s (%d faults)", self.config.name, where, type(error).__name__, self.faults)


def _place(config: ChannelConfig) -> tuple[str, str, str, int]:
    return config.name, config.scheme, config.host, config.port


class Supervisor:
    """Starts and stops the channels of an agent."""

    def __init__(self, channels: Mapping[str, HostedChannel]) -> None:
        """`channels`: by name; others may take their places."""
        self._channels = channels
        self._tasks = Tasks()
        self._starting: dict[HostedChannel, asyncio.Task[None]] = {}

    @property
    def channels(self) -> list[HostedChannel]:
        return list(self._channels.values())

    def start(self) -> None:
        """Have every channel listen; returns at once."""
        for channel in self.channels:
            self.begin(channel)

    def begin(self, channel: HostedChannel) -> None:
        """Have this channel listen, however often it takes; returns at once."""
        task = self._tasks.spawn(channel.start(), f"start of channel {channel.config.name}")
        self._starting[channel] = task
        task.add_done_callback(lambda _: self._starting.pop(channel, None))

    async def begun(self, channels: Iterable[HostedChannel], seconds: float) -> None:
        """Wait until these listen, at most so long."""
        if starting := [task for channel in channels if (task := self._starting.get(channel)) is not None]:
            await asyncio.wait(starting, timeout=seconds)

    async def retire(self, channel: HostedChannel) -> None:
        """This channel takes no new connection and reads no more."""
        if (starting := self._starting.get(channel)) is not None:
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
        await channel.stop_accepting()

    async def stop_accepting(self) -> None:
        """No new connection, no more reading."""
        await self._tasks.cancel()
        await asyncio.gather(*(channel.stop_accepting() for channel in self.channels))

    async def close(self) -> None:
        await asyncio.gather(*(channel.close() for channel in self.channels))
