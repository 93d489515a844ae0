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
from medagent.errors import PLUGIN_FAULTS, ChannelError, MedagentError
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
        """Do it; returns what keeps it from being done, and then nothing has changed."""
        try:
            problems = self._make() or await self._listen_on_free_ports() or self._take_in_place()
            if not problems:
                await self._stop_old()
                problems = await self._listen_on_ports_given_up()
            if not problems:
                await self._pipeline.reconfigure(self._new, self._hosts)
        except asyncio.CancelledError:  # the agent ends, and with it all that has its place
            await asyncio.shield(self._close_new())
            raise
        # whatever goes wrong, what was in force must be so again
        except Exception as error:  # noqa: BLE001  as said above
            problems = [str(error) if isinstance(error, MedagentError) else f"it failed: {type(error).__name__}"]
        if problems:
            await self._roll_back()
        else:
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
        # a plugin's factory may raise anything
        except PLUGIN_FAULTS as error:
            return [f"channel {channel.name}: its plugin failed: {type(error).__name__}"]
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
                async with asyncio.timeout(LISTEN_SECONDS):
                    await self._hosts[name].listen()
            except ChannelError as error:
                return f"channel {name} cannot listen: {error}"
            except TimeoutError:
                return f"channel {name} cannot listen: its start takes more than {LISTEN_SECONDS:g} s"
            return ""

        found = await asyncio.gather(*(problem(name) for name in names if self._changes[name].listens))
        return [text for text in found if text]

    def _take_in_place(self) -> list[str]:
        """Give channels their new parameters; those that cannot take them are replaced."""
        problems = []
        for change in self._changes.values():
            if not change.in_place or change.new is None:
                continue
            channel = self._pipeline.channels.get(change.name)
            if channel is not None and channel.reconfigure(change.new):
                self._in_place.append(change)
            else:
                problems += self._make_one(change.new)
        return problems

    async def _stop_old(self) -> None:
        """Have the old channels that are removed or replaced read no more, and end what they have begun."""
        pipeline = self._pipeline
        kept = {change.name for change in self._in_place}
        self._stopped = [
            change for change in self._changes.values() if change.name in pipeline.channels and change.name not in kept
        ]
        await self._end(*(pipeline.channels[change.name] for change in self._stopped))

    async def _end(self, *channels: HostedChannel) -> None:
        """Have these read no more, give what they have begun its time, and close them."""
        pipeline = self._pipeline
        await asyncio.gather(*(pipeline.supervisor.retire(channel) for channel in channels))
        if any(channel.state != "off" for channel in channels):
            await pipeline.flush()
            await pipeline.dispatcher.rest({channel.config.name for channel in channels}, DRAIN_SECONDS)
        await asyncio.gather(*(channel.close() for channel in channels))

    def _begin_others(self) -> None:
        """What the configuration bars from listening says so."""
        for host in self._hosts.values():
            if host.state == "starting":
                self._pipeline.supervisor.begin(host)

    async def _roll_back(self) -> None:
        """Undo what was done."""
        pipeline = self._pipeline
        await self._close_new()
        for change in self._in_place:
            if change.old is not None and not pipeline.channels[change.name].reconfigure(change.old):
                self._stopped.append(change)
                await self._end(pipeline.channels[change.name])
        if hosts := self._made_again(change.old for change in self._stopped if change.old is not None):
            try:
                await pipeline.reconfigure(self._old, hosts)
            # a queue that cannot even be asked is opened anew, and everything with it
            except Exception as error:  # noqa: BLE001  as said above
                log.error("the channels that were stopped cannot be put back: %s", type(error).__name__)
                await asyncio.gather(*(host.close() for host in hosts.values()))
                return
            for host in hosts.values():
                pipeline.supervisor.begin(host)
            await pipeline.supervisor.begun(hosts.values(), LISTEN_SECONDS)

    async def _close_new(self) -> None:
        await asyncio.gather(*(host.close() for host in self._hosts.values()))

    def _made_again(self, channels: Iterable[ChannelConfig]) -> dict[str, HostedChannel]:
        hosts = {}
        for channel in channels:
            try:
                hosts[channel.name] = self._pipeline.hosting.make(self._old, channel)
            # the plugin has made this channel before
            except PLUGIN_FAULTS as error:
                log.error("channel %s cannot be made again: %s", channel.name, type(error).__name__)
        return hosts
