"""What a channel's author gives, and how the suite's tests use it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from medagent.channel import Channel, ChannelContext, ChannelFactory
from medagent.config.build import build
from medagent.config.model import ChannelConfig
from medagent.config.problems import Severity
from medagent.fhir.source import Source
from medagent.plugins import Plugins
from medagent.tasks import Tasks
from medagent.testing.contracts.channel.device import Device, Reply, What
from medagent.testing.contracts.channel.site import PATIENCE, ChannelSite, Peer, of_kind
from medagent.testing.contracts.promise import promised
from medagent.testing.queue import QueueWorld
from medagent.testing.resources import agent_resource, endpoint_resource

CHANNEL = "device"
"""What the channel under test is called."""

_NAME = re.compile(r"M\d{6}")

COMMITTED = "medagent.channel.Channel.committed"
ANSWER = "medagent.channel.Channel.answer"


class ChannelBase:
    """The attributes and methods that a subclass of `ChannelContract` sets."""

    address: ClassVar[str]
    """An Endpoint.address, such as `line://127.0.0.1:0?encoding=utf-8`; with port 0 the system chooses a free one."""
    plugin: ClassVar[ModuleType | None] = None
    """The module with the plugin's hooks; None for the installed plugin that has the scheme of `address`."""
    acknowledges: ClassVar[bool] = True
    """Whether a device is told that its message is on disk (`What.ACCEPTED`)."""
    answers: ClassVar[bool] = True
    """Whether a device is told the server's answer (`What.ANSWERED`)."""
    sends_ahead: ClassVar[bool] = True
    """Whether a device may send the next message before it has the last one's acknowledgment."""
    message_start: ClassVar[bytes] = b""
    """Bytes that a message may begin with; the suite goes on with `x` without an end, to see that nothing grows."""
    kills: ClassVar[int] = 3
    """How often an agent under load is killed."""

    async def connect(self, host: str, port: int) -> Device:
        """Connect a device of yours. Raises `OSError`."""
        raise NotImplementedError("a subclass of ChannelContract must have: async def connect(self, host, port) -> Device")

    def name_in(self, text: str) -> str:
        """The name of a message from the text that is forwarded to the server; "" if there is none."""
        found = _NAME.search(text)
        return found[0] if found else ""

    def answer_to(self, text: str) -> str:
        """The server's positive answer to this forwarded text; the device must find the message's name in it, if it looks."""
        return text

    # what follows is the suite's

    def loaded(self) -> Plugins:
        """The installed plugins, and the one under test."""
        plugins = Plugins()
        scheme = urlsplit(self.address).scheme
        if self.plugin is not None and scheme not in plugins.schemes:
            plugins.register(self.plugin, self.plugin.__name__)
        known = ", ".join(f"{info.name} ({info.error or 'well'})" for info in plugins.infos)
        promised(
            scheme in plugins.schemes,
            f"a plugin registers the scheme {scheme}",
            "medagent.hookspecs.medagent_register_channel_types",
            f"no plugin has it; there are {known}",
        )
        return plugins

    def under_test(self) -> tuple[ChannelFactory, ChannelConfig]:
        """The plugin's factory, and its configuration from the address."""
        plugins = self.loaded()
        source = Source(agent_resource({CHANNEL: "1"}), {"Endpoint/1": endpoint_resource("1", self.address)})
        config, problems = build(source, plugins.registry, schemes=plugins.schemes, local=False)
        errors = [str(problem) for problem in problems if problem.severity is Severity.ERROR]
        if config is None or errors:
            pytest.fail(f"the address {self.address} has problems: {'; '.join(errors)}", pytrace=False)
        (channel,) = config.channels
        return plugins.channel_types.factories[channel.scheme], channel

    @contextlib.asynccontextmanager
    async def world(
        self, folder: Path, *, port: int | None = None, max_body_bytes: int = 1_000_000
    ) -> AsyncIterator[tuple[QueueWorld, ChannelSite]]:
        """A queue on disk behind a channel that is made, and does not listen yet; all is closed at the end."""
        factory, config = self.under_test()
        if port is not None:
            config = replace(config, port=port)
        async with QueueWorld(folder, channels=(CHANNEL,), max_body_bytes=max_body_bytes) as queue:
            site: ChannelSite

            def make(context: ChannelContext) -> Channel:
                nonlocal site
                channel = factory(context)
                site = ChannelSite(queue, channel, self.connect)
                site.record(context)
                return channel

            queue.make(make, config)
            try:
                yield queue, site
            finally:
                for peer in site.peers:
                    await peer.close()

    @contextlib.asynccontextmanager
    async def listening(
        self, folder: Path, *, answered: bool = True, max_body_bytes: int = 1_000_000
    ) -> AsyncIterator[ChannelSite]:
        """A channel that listens. `answered`: the server answers whatever it gets."""
        tasks = Tasks()
        async with self.world(folder, max_body_bytes=max_body_bytes) as (queue, site):
            await site.channel.start()
            if answered:
                tasks.spawn(self._answer_all(queue), "server")
            queue.uplink.connect()
            try:
                yield site
            finally:
                await tasks.cancel()

    async def _answer_all(self, queue: QueueWorld) -> None:
        uplink, done = queue.uplink, 0
        while True:
            await uplink.until(lambda: len(uplink.transmitted) > done)
            new, done = uplink.transmitted[done:], len(uplink.transmitted)
            for message in new:
                uplink.answer(message, body=self.answer_to(message.body))

    async def peer(self, site: ChannelSite, address: tuple[str, int] | None = None) -> Peer:
        """A new device, at the channel or at another address that leads there."""
        async with asyncio.timeout(PATIENCE):
            peer = Peer(await self.connect(*(address or site.address)))
        site.peers.append(peer)
        return peer

    @property
    def due(self) -> int:
        """How many replies a message gets that goes well."""
        return self.acknowledges + self.answers

    async def exchange(self, site: ChannelSite, peer: Peer, *names: str) -> list[Reply]:
        """Send these, and take the replies that are due; fails without them."""
        if not self.sends_ahead and len(names) > 1:
            return [reply for name in names for reply in await self.exchange(site, peer, name)]
        replies = []
        try:
            await peer.send(*names)
            for _ in range(self.due * len(names)):
                if (reply := await peer.receive()) is not None:
                    replies.append(reply)
        except (OSError, EOFError) as error:
            promised(False, "a device that sends sound messages is served", COMMITTED, f"its connection broke: {error!r}")
        self.told_in_order(names, replies)
        await site.until(
            lambda: {self.name_in(frame.body) for frame in site.queue.uplink.transmitted} >= set(names),
            "what a device has sent is handed over, committed and forwarded",
            "medagent.channel.ChannelContext.accept",
            f"of {', '.join(names)} not all have reached the server",
        )
        return replies

    def told_in_order(self, names: tuple[str, ...], replies: list[Reply]) -> None:
        """Fails unless each was told what is due, once, acknowledgments in the order of the messages."""
        found = f"for {', '.join(names)} came {_shown(replies)}"
        accepted, answered = of_kind(replies, What.ACCEPTED), of_kind(replies, What.ANSWERED)
        expected = list(names) if self.acknowledges else []
        promised(accepted == expected, "each message is acknowledged once, in this order", COMMITTED, found)
        expected = sorted(names) if self.answers else []
        promised(sorted(answered) == expected, "each message gets the server's answer once", ANSWER, found)
        promised(not of_kind(replies, What.REFUSED), "what is committed is not refused", COMMITTED, found)


def _shown(replies: list[Reply]) -> str:
    return ", ".join(f"{reply.what.value} {reply.name}" for reply in replies) or "nothing"
