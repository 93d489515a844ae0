"""Hosting of channels: their life cycle, under a guard.

A channel is `starting`, then `listening`; when it cannot listen it is `waiting` and tried again with back-off, for ever: a
port that is taken now is free later. One whose code fails again and again is closed, and `waiting` until it is made anew. At
the end it is `stopped`. One that `ChannelConfig.barred` keeps from listening is `waiting` too, and not tried. One that is
turned off is `off`: it only forwards what it has accepted before.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar, cast

from medagent.channel import Channel, ChannelContext, Keyed, Noticing, Reconfigurable
from medagent.config.model import ChannelConfig
from medagent.errors import ChannelError, PluginError
from medagent.guard import Guard, StoppedPlugin, a_value
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


@dataclass(frozen=True, slots=True)
class Made:
    """A channel, and what it was given."""

    channel: Channel
    context: ChannelContext | None = None
    tasks: Tasks = field(default_factory=Tasks)


class HostedChannel:
    """One channel under supervision; itself a `medagent.channel.Channel` that raises in `forward` only.

    When its guard's breaker opens, it is down: the channel is closed, nothing of it is called, and `revive` puts another one
    in its place.
    """

    def __init__(
        self,
        config: ChannelConfig,
        channel: Channel,
        *,
        off: str = "",
        context: ChannelContext | None = None,
        tasks: Tasks | None = None,
        guard: Guard | None = None,
        outlet: Guard | None = None,
        make: Callable[[ChannelConfig], Made] | None = None,
        went_down: Callable[[HostedChannel], None] = lambda host: None,
    ) -> None:
        """`off`: why the channel does not listen; "" if it does. `context` and `tasks` are what the channel was given.

        `outlet` guards `forward`: what fails on the way to the server keeps no device from handing over.
        `make` makes another one, and raises `ChannelError`; None if nobody can. `went_down` is told when that is needed.
        """
        self.config = config
        self.state = "off" if off else "starting"
        self.reason = off
        self.guard = guard or Guard("", f"channel {config.name}")
        self._outlet = outlet or Guard("", f"forward of channel {config.name}")
        self.content_type = channel.content_type
        self._channel = channel
        self._context = context
        self._tasks = tasks or Tasks()
        self._off = off
        self._make = make
        self._went_down = went_down
        self._down = False
        self._paused = False
        self._closing = False
        self._ended = False
        self._workers: int | None = None
        """What the channel has said last."""
        self.guard.subjects = (channel, context) if context is not None else (channel,)
        self.guard.opened = self._opened

    @property
    def faults(self) -> int:
        """How often its code has failed."""
        return self.guard.faults + self._outlet.faults

    def _opened(self) -> None:
        if self._make is not None and not (self._down or self._closing):
            self._down = True
            self.state, self.reason = "waiting", f"it is made anew, since its code fails: {self.guard.breaker.reason}"
            self._went_down(self)

    async def revive(self) -> None:
        """Close the channel that has failed, and make another one when the cool-down is over, however often that takes."""
        await self._end()
        delay = FIRST_RETRY
        while self._down and not self._closing:
            await asyncio.sleep(max(self.guard.seconds_left, delay))
            try:
                self._renew()
            except ChannelError as error:
                self.reason = str(error)
                delay = min(delay * 2, RETRY_CAP)
        if not self._closing:
            await self.start()

    def _renew(self) -> None:
        """Raises `ChannelError` if the plugin cannot make another one."""
        if self._make is None:
            return
        made = self._make(self.config)
        self._channel, self._context, self._tasks = made.channel, made.context, made.tasks
        self.guard.subjects = (made.channel, made.context)
        self.guard.breaker.allows(math.inf)
        self._down = self._ended = False
        self.state, self.reason = ("off", self._off) if self._off else ("starting", "")
        if self._paused:
            self.pause_reading()

    async def listen(self, seconds: float = START_TIMEOUT) -> None:
        """Try once, for so long. Raises `ChannelError` with the reason."""
        if self._down:
            raise ChannelError(self.reason)
        try:
            await self.guard.wait("start", self._channel.start, seconds=seconds, expected=(ChannelError,), regardless=True)
        except ChannelError as error:
            raise ChannelError(str(error)) from error
        # a plugin's start can fail with anything
        except Exception as error:
            raise ChannelError(str(error) if isinstance(error, PluginError) else self.guard.last_fault) from error
        if self._down:  # meanwhile
            raise ChannelError(self.reason)
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
        while self.state != "listening" and not self._down:
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
        self._closing = True
        if not self._down:
            await self._bounded("stop_accepting", self._channel.stop_accepting)

    async def close(self) -> None:
        self._closing = True
        if not self._ended:
            await self._end()
        self.state = "stopped"

    async def _end(self) -> None:
        if self._down:
            if self._context is not None:
                self._context.accept = _nobody
            await self._bounded("stop_accepting", self._channel.stop_accepting)
        await self._bounded("close", self._channel.close)
        await self._bounded("the end of its tasks", self._tasks.cancel)
        self._ended = True

    async def _bounded(self, what: str, step: Callable[[], object]) -> None:
        # a plugin's clean-up can fail with anything; the shutdown goes on
        with suppress(Exception):
            await self.guard.wait(what, step, seconds=CLOSE_TIMEOUT, regardless=True)

    def _call(self, what: str, function: Callable[..., T], *arguments: object, otherwise: T) -> T:
        return otherwise if self._down else self.guard.call(what, function, *arguments, otherwise=otherwise)

    def _asked(self, what: str, function: Callable[[], T], *, otherwise: T) -> T:
        """The same for what only the status wants: it is no reason to close a channel, however often somebody asks."""
        return otherwise if self._down else self.guard.call(what, function, otherwise=otherwise, regardless=True)

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        self._call("committed", self._channel.committed, messages, otherwise=None)

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        self._call("refused", self._channel.refused, messages, refusal, otherwise=None)

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        def deliveries() -> list[Delivery]:
            # `Delivery` of each, and a ValueError unless there is one per answer
            given = zip(a_value(self._channel.answer(answers)), answers, strict=True)
            return [delivery if type(delivery) is Delivery else Delivery(delivery) for delivery, _ in given]

        return self._call("answer", deliveries, otherwise=[Delivery.GONE] * len(answers))

    def forward(self, message: InboundMessage) -> str:
        """Raises what the channel does, and `StoppedPlugin` while it is down."""
        if self._down:
            raise StoppedPlugin(f"channel {self.config.name}: {self.reason}", max(self.guard.seconds_left, FIRST_RETRY))
        return self._outlet.attempt("", self._channel.forward, message, kinds=(str,))

    @property
    def max_workers(self) -> int:
        """0 for a channel without keys (`medagent.channel.Keyed`)."""

        def asked() -> int:
            channel = self._channel
            return max(0, int(channel.max_workers)) if isinstance(channel, Keyed) else 0

        # of one that cannot say it: with fewer lines, a message could go beside others of its key
        before = self._workers if self._workers is not None else 1
        self._workers = self._call("max_workers", asked, otherwise=before)
        return self._workers

    def key(self, message: InboundMessage) -> str:
        """Only for a channel with `max_workers`. What its plugin fails on waits in line with all that have no key."""
        keyed = cast("Keyed", self._channel)
        try:
            # also of one that is down: without its key, a message would go beside others of its key
            return self.guard.attempt("key", keyed.key, message, kinds=(str,), regardless=self._down)
        except Exception:  # noqa: BLE001  the guard has counted it
            return ""

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
        if not self._call("reconfigure", asked, otherwise=False):
            return False
        self.config = config
        return True

    def resize(self, max_body_bytes: int) -> None:
        """Bodies may be so long now."""
        if self._context is not None and self._context.max_body_bytes != max_body_bytes:
            self._context.max_body_bytes = max_body_bytes
            self.reconfigure(self.config)

    def pause_reading(self) -> None:
        self._paused = True
        self._call("pause_reading", self._channel.pause_reading, otherwise=None)

    def resume_reading(self) -> None:
        self._paused = False
        self._call("resume_reading", self._channel.resume_reading, otherwise=None)

    @property
    def hosted(self) -> Channel:
        """The channel itself, for the plugin that made it; calls of it are not guarded."""
        return self._channel

    @property
    def connections(self) -> int:
        return self._asked("connections", lambda: int(self._channel.connections), otherwise=0)

    @property
    def address(self) -> str:
        return self._asked("address", lambda: _text(self._channel.address), otherwise="")

    @property
    def notices(self) -> dict[str, int]:
        """What the channel has noted about its devices, by kind; empty if it counts nothing."""

        def counts() -> dict[str, int]:
            noticing = self._channel
            return {str(kind): int(count) for kind, count in noticing.notices.items()} if isinstance(noticing, Noticing) else {}

        return self._asked("notices", counts, otherwise={})


def _text(value: object) -> str:
    """What a channel gives for one. Raises `TypeError`."""
    if type(value) is not str:
        raise TypeError("not a text")
    return value


def _nobody(messages: object) -> None:
    """In the place of `ChannelContext.accept` for a channel that is closed: its devices hear of no acceptance."""


def _place(config: ChannelConfig) -> tuple[str, str, str, int]:
    return config.name, config.scheme, config.host, config.port


class Supervisor:
    """Starts and stops the channels of an agent."""

    def __init__(self, channels: Mapping[str, HostedChannel]) -> None:
        """`channels`: by name; others may take their places."""
        self._channels = channels
        self._tasks = Tasks()
        self._starting: dict[HostedChannel, asyncio.Task[None]] = {}
        self._stopping = False

    @property
    def channels(self) -> list[HostedChannel]:
        return list(self._channels.values())

    def start(self) -> None:
        """Have every channel listen; returns at once."""
        for channel in self.channels:
            self.begin(channel)

    def begin(self, channel: HostedChannel) -> None:
        """Have this channel listen, however often it takes; returns at once."""
        self._run(channel, channel.start(), f"start of channel {channel.config.name}")

    def revive(self, channel: HostedChannel) -> None:
        """Have another one made for this channel, which has gone down; returns at once."""
        if not self._stopping:
            self._run(channel, channel.revive(), f"revival of channel {channel.config.name}")

    def _run(self, channel: HostedChannel, work: Coroutine[None, None, None], name: str) -> None:
        task = self._tasks.spawn(work, name)
        if (before := self._starting.get(channel)) is not None:
            before.cancel()
        self._starting[channel] = task
        task.add_done_callback(lambda _: self._starting.pop(channel, None) if self._starting.get(channel) is task else None)

    async def begun(self, channels: Iterable[HostedChannel], seconds: float) -> None:
        """Wait until these listen, at most so long."""
        if starting := [task for channel in channels if (task := self._starting.get(channel)) is not None]:
            await asyncio.wait(starting, timeout=seconds)

    async def retire(self, channel: HostedChannel) -> None:
        """This channel takes no new connection and reads no more."""
        await self._leave_alone(channel)
        await channel.stop_accepting()

    async def end(self, channel: HostedChannel) -> None:
        """Close this channel, whatever was going on with it."""
        await self._leave_alone(channel)
        await channel.close()

    async def _leave_alone(self, channel: HostedChannel) -> None:
        if (starting := self._starting.get(channel)) is not None:
            starting.cancel()
            await asyncio.wait((starting,))

    async def stop_accepting(self) -> None:
        """No new connection, no more reading."""
        self._stopping = True
        await self._tasks.cancel()
        await asyncio.gather(*(channel.stop_accepting() for channel in self.channels))

    async def close(self) -> None:
        await asyncio.gather(*(channel.close() for channel in self.channels))
