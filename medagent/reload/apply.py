"""Bringing another configuration into force while messages flow, or leaving everything as it is.

What can fail is done first: the new channels are made and listen, not reading yet, before an old one is touched. Only where a
new channel needs the port of an old one, that one stops before; if the new one then cannot listen, the old one comes back.
What stops has a short while to get its last answers from the server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from medagent.config.model import AgentConfig, ChannelConfig
from medagent.errors import ChannelError, MedagentError
from medagent.pipeline import Pipeline
from medagent.reload.plan import ChannelChange, Plan
from medagent.supervisor import HostedChannel

log = logging.getLogger(__name__)

LISTEN_SECONDS = 2.0
"""How long a channel may take to listen."""
DRAIN_SECONDS = 2.0
"""How long what is on its way may take when its channel stops."""


class Reload:
    """One change of the configuration."""

    def __init__(self, pipeline: Pipeline, config: AgentConfig, plan: Plan) -> None:
        self._pipeline = pipeline
        self._old = pipeline.config
        self._new = config
        self._changes = {change.name: change for change in plan.channels}
        self._hosts: dict[str, HostedChannel] = {}
        """New ones, by name."""
        self._in_place: list[ChannelChange] = []
        """Whose channels have taken their new parameters."""
        self._stopped: list[ChannelChange] = []
        """Whose old channels have been told to stop."""

    async def apply(self) -> list[str]:
        """Do it; returns what keeps it from being done, and then nothing has changed.

        Cancelled, it leaves the rest to the end of the pipeline, for which it is cancelled.
        """
        try:
            problems = await self._attempt()
        except asyncio.CancelledError:
            placed = list(self._pipeline.channels.values())
            await self._close(host for host in self._hosts.values() if host not in placed)
            raise
        # whatever goes wrong, what was in force must be so again
        except Exception as error:  # noqa: BLE001  as said above
            problems = [str(error) if isinstance(error, MedagentError) else f"it cannot be applied: {type(error).__name__}"]
        if problems:
            await self._roll_back()
        return problems

    async def _attempt(self) -> list[str]:
        problems = self._make() or await self._listen_on_free_ports()
        if not problems:
            await self._stop([change for change in self._changes.values() if not change.in_place])
            problems = await self._listen_on_ports_given_up() or await self._take_in_place()
        if not problems:
            await self._pipeline.reconfigure(self._new, self._hosts)
            self._begin_others()
        return problems

    # -- the steps

    def _make(self) -> list[str]:
        """Make the new channels, but for those that may take their parameters in place."""
        problems = []
        for change in self._changes.values():
            if change.new is not None and not change.in_place:
                problems += self._make_one(change.new)
        return problems

    def _make_one(self, channel: ChannelConfig) -> list[str]:
        try:
            host = self._hosts[channel.name] = self._pipeline.hosting.make(self._new, channel)
        except ChannelError as error:
            return [f"channel {channel.name}: {error}"]
        host.pause_reading()  # until it has its place
        return []

    async def _listen_on_free_ports(self) -> list[str]:
        given_up = {change.old.port for change in self._changes.values() if change.listened and change.old is not None}
        return await self._listen(name for name, host in self._hosts.items() if host.config.port not in given_up)

    async def _listen_on_ports_given_up(self) -> list[str]:
        return await self._listen(name for name, host in self._hosts.items() if host.state != "listening")

    async def _listen(self, names: Iterable[str]) -> list[str]:
        """Have those of these new channels listen that are to, all at once; returns what they say against it."""

        async def problem(name: str) -> str:
            try:
                await self._hosts[name].listen(LISTEN_SECONDS)
            except ChannelError as error:
                return f"channel {name} cannot listen: {error}"
            return ""

        found = await asyncio.gather(*(problem(name) for name in names if self._changes[name].listens))
        return [text for text in found if text]

    async def _take_in_place(self) -> list[str]:
        """Give channels their new parameters; those that cannot take them are replaced. Last, since devices feel it."""
        others = []
        for change in self._changes.values():
            if change.in_place and change.new is not None:
                channel = self._pipeline.channels.get(change.name)
                if channel is not None and channel.reconfigure(change.new):
                    self._in_place.append(change)
                else:
                    others.append(change)
        problems = [problem for change in others if change.new for problem in self._make_one(change.new)]
        if problems or not others:
            return problems
        await self._stop(others)
        return await self._listen(change.name for change in others)

    async def _stop(self, changes: Iterable[ChannelChange]) -> None:
        """Have these old channels read no more, give what they have begun its time, and close them."""
        pipeline = self._pipeline
        stopping = [change for change in changes if change.name in pipeline.channels]
        self._stopped += stopping
        channels = [pipeline.channels[change.name] for change in stopping]
        await asyncio.gather(*(pipeline.supervisor.retire(channel) for channel in channels))
        if any(channel.state != "off" for channel in channels):
            await pipeline.flush()
            await pipeline.dispatcher.rest({change.name for change in stopping}, DRAIN_SECONDS)
        await self._close(channels)

    def _begin_others(self) -> None:
        """What the configuration bars from listening says so."""
        for host in self._hosts.values():
            if host.state == "starting":
                self._pipeline.supervisor.begin(host)

    async def _close(self, channels: Iterable[HostedChannel]) -> None:
        await asyncio.gather(*(self._pipeline.supervisor.end(channel) for channel in channels))

    async def _roll_back(self) -> None:
        """Undo what was done."""
        pipeline = self._pipeline
        await self._close(self._hosts.values())
        for change in self._in_place:
            if change.old is not None and not pipeline.channels[change.name].reconfigure(change.old):
                self._stopped.append(change)
        await self._close(pipeline.channels[change.name] for change in self._stopped)
        hosts = self._made_again(change.old for change in self._stopped if change.old is not None)
        pipeline.put(hosts)
        for host in hosts.values():
            pipeline.supervisor.begin(host)
        await pipeline.supervisor.begun(hosts.values(), LISTEN_SECONDS)

    def _made_again(self, channels: Iterable[ChannelConfig]) -> dict[str, HostedChannel]:
        hosts = {}
        for channel in channels:
            try:
                hosts[channel.name] = self._pipeline.hosting.make(self._old, channel)
            except ChannelError as error:
                log.error("channel %s cannot be made again: %s", channel.name, error)
        return hosts
