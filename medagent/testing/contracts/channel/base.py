"""What a channel's author gives, and how the suite's tests use it."""

from __future__ import annotations

import contextlib
import re
from abc import abstractmethod
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import ClassVar
from urllib.parse import urlsplit

from medagent.channel import Channel, ChannelContext, ChannelFactory
from medagent.config.build import build
from medagent.config.model import ChannelConfig
from medagent.config.problems import Severity
from medagent.fhir.source import Source
from medagent.plugins import Plugins
from medagent.supervisor import CLOSE_TIMEOUT
from medagent.tasks import Tasks
from medagent.testing.contracts.channel.device import Device, Reply, What
from medagent.testing.contracts.channel.site import GONE, ChannelSite, Peer, told
from medagent.testing.contracts.promise import Contract, expect
from medagent.testing.installed import plugins_with
from medagent.testing.queue import QueueWorld
from medagent.testing.resources import agent_resource, endpoint_resource

CHANNEL = "device"
"""What the channel under test is called."""

_NAME = re.compile(r"M\d{6}")


class ChannelBase(Contract):
    """The attributes and methods that a subclass of `ChannelContract` sets, and what the suite's tests share."""

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
    addresses_are_senders: ClassVar[bool] = True
    """Whether what devices at two IP addresses send is never taken for the same; False if the message names its sender."""
    message_start: ClassVar[bytes] = b""
    """Bytes that a message may begin with; the suite goes on with `x` without an end, to see that nothing grows."""
    closes_within: ClassVar[float] = CLOSE_TIMEOUT
    """Seconds that `stop_accepting` and `close` may take; by default what the core gives them."""
    kills: ClassVar[int] = 3
    """How often an agent under load is killed; 0 for a variation of a channel whose kills another class tests."""

    @abstractmethod
    async def connect(self, host: str, port: int) -> Device:
        """Connect a device. Raises `OSError`."""

    def name_in(self, text: str) -> str:
        """The name of a message from the text that is forwarded to the server; "" if there is none."""
        found = _NAME.search(text)
        return found[0] if found else ""

    def answer_to(self, text: str) -> str:
        """The server's positive answer to this forwarded text: by default the same text."""
        return text

    # what follows is the suite's

    @property
    def plugins(self) -> tuple[ModuleType, ...]:
        """Those that need not be installed."""
        return (self.plugin,) if self.plugin is not None else ()

    def loaded(self) -> Plugins:
        """The installed plugins, and the one under test."""
        plugins = plugins_with(*self.plugins)
        scheme = urlsplit(self.address).scheme
        known = ", ".join(f"{info.name} ({info.error})" if info.error else info.name for info in plugins.infos)
        expect(scheme in plugins.schemes, f"no plugin has registered the scheme {scheme}; there are {known}")
        return plugins

    def under_test(self) -> tuple[ChannelFactory, ChannelConfig]:
        """The plugin's factory, and its configuration from the address."""
        plugins = self.loaded()
        source = Source(agent_resource({CHANNEL: "1"}), {"Endpoint/1": endpoint_resource("1", self.address)})
        config, problems = build(source, plugins.registry, schemes=plugins.schemes, local=False)
        errors = [str(problem) for problem in problems if problem.severity is Severity.ERROR]
        expect(not errors, f"the address {self.address} has problems: {'; '.join(errors)}")
        channel = next(iter(config.channels)) if config is not None else None
        assert channel is not None  # noqa: S101  there is one without problems
        return plugins.channel_types.factories[channel.scheme], channel

    @contextlib.asynccontextmanager
    async def silent(
        self, folder: Path, *, port: int | None = None, max_body_bytes: int = 1_000_000
    ) -> AsyncIterator[ChannelSite]:
        """A queue on disk behind a channel that does not listen yet; all is closed at the end."""
        factory, config = self.under_test()
        if port is not None:
            config = replace(config, port=port)
        folder.mkdir(exist_ok=True)  # noqa: ASYNC240  one folder of a test
        async with QueueWorld(folder, channels=(CHANNEL,), max_body_bytes=max_body_bytes) as queue:
            queue.raised = self.raised
            contexts: list[ChannelContext] = []

            def make(context: ChannelContext) -> Channel:
                contexts.append(context)
                return factory(context)

            site = ChannelSite(queue, queue.make(make, config))
            site.record(contexts[0])
            queue.uplink.connect()
            try:
                yield site
            finally:
                for peer in site.peers:
                    await peer.close()

    @contextlib.asynccontextmanager
    async def listening(
        self, folder: Path, *, answered: bool = True, max_body_bytes: int = 1_000_000
    ) -> AsyncIterator[ChannelSite]:
        """A channel that listens. `answered`: the server answers whatever it gets."""
        tasks = Tasks()
        async with self.silent(folder, max_body_bytes=max_body_bytes) as site:
            await site.channel.start()
            if answered:
                tasks.spawn(self._answer_all(site.queue), "server")
            try:
                yield site
            finally:
                await tasks.cancel()

    async def _answer_all(self, queue: QueueWorld) -> None:
        answered = 0

        def any_new() -> bool:
            return len(queue.uplink.transmitted) > answered

        while True:
            await queue.uplink.until(any_new)
            new = queue.uplink.transmitted[answered:]
            answered += len(new)
            for message in new:
                queue.uplink.answer(message, body=self.answer_to(message.body))

    async def peer(self, site: ChannelSite, address: tuple[str, int] | None = None) -> Peer:
        """A new device, at the channel or at another address that leads there."""
        device = await self.within(self.connect(*(address or site.address)), "a device could not connect")
        site.peers.append(Peer(device, self.patience))
        return site.peers[-1]

    async def handed_over(self, site: ChannelSite, count: int = 1) -> None:
        """Wait until the channel has handed over so many messages."""
        await self.until(
            lambda: len(site.accepted) >= count, lambda: f"{len(site.accepted)} messages were handed over, {count} were sent"
        )

    @property
    def at_a_time(self) -> int:
        """How many messages a device sends before it has heard of the first."""
        return 20 if self.sends_ahead else 1

    @property
    def due(self) -> int:
        """How many replies a message gets that goes well."""
        return self.acknowledges + self.answers

    async def exchange(self, site: ChannelSite, peer: Peer, *names: str) -> list[Reply]:
        """Send these, and see that each is told what is due and reaches the server."""
        if not self.sends_ahead and len(names) > 1:
            return [reply for name in names for reply in await self.exchange(site, peer, name)]
        try:
            await peer.send(*names)
        except GONE as error:
            expect(False, f"{_shown(names)} could not be sent: {error!r}")
        replies = await peer.receive(self.due * len(names))
        self.served(names, replies)
        await self.until(
            lambda: {self.name_in(frame.body) for frame in site.queue.uplink.transmitted} >= set(names),
            f"of {_shown(names)} not all have reached the server",
        )
        return replies

    def served(self, names: tuple[str, ...], replies: list[Reply]) -> None:
        """Expect that each was told what is due, once."""
        happened = f"for {_shown(names)} came {_shown([f'{reply.what.value} {reply.name}' for reply in replies])}"
        expect(sorted(told(replies, What.ACCEPTED)) == sorted(names) * self.acknowledges, happened)
        expect(sorted(told(replies, What.ANSWERED)) == sorted(names) * self.answers, happened)
        expect(not told(replies, What.REFUSED), happened)


def _shown(items: list[str] | tuple[str, ...]) -> str:
    if len(items) > 8:
        return f"{', '.join(items[:8])} and {len(items) - 8} more"
    return ", ".join(items) or "nothing"
