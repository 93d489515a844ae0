"""What a channel promises within a whole agent: delivery in order, and that what a device was told is safe survives a kill."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from medagent.agent import Agent
from medagent.errors import NotReady
from medagent.testing.bots import BotRequest, BotResult
from medagent.testing.contracts.channel.base import CHANNEL, ChannelBase
from medagent.testing.contracts.channel.sender import Sender
from medagent.testing.contracts.channel.site import Peer, new_names, together
from medagent.testing.contracts.promise import Broken, expect, promise
from medagent.testing.fhir_server import FhirServer
from medagent.testing.in_process import connected
from medagent.testing.installed import environ_with
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

SENDERS, WINDOW, SAFE_A_LIFE = 3, 20, 40
"""Devices; messages on the way of each; messages that were told safe before an agent is killed."""
RELIABILITY = "docs/reliability.md, I1 and I2"


@dataclass(slots=True)
class Arrivals:
    """What the server got."""

    names: list[str] = field(default_factory=list)
    """In the order of arrival, repeats included; "" where there is none."""
    callbacks: dict[object, set[str]] = field(default_factory=dict)

    def lost(self, safe: Iterable[str]) -> list[str]:
        return sorted(set(safe) - set(self.names))

    def first_out_of_order(self, sent: Sequence[str]) -> str:
        """A message of one device that came first after a later one; "" if there is none."""
        places = {name: place for place, name in enumerate(sent)}
        newest = -1
        for name in dict.fromkeys(self.names):
            if (place := places.get(name, newest)) < newest:
                return f"{name} was sent before {sent[newest]}, and reached the server after it"
            newest = place
        return ""


class Agents(ChannelBase):
    """In an agent with its server."""

    @promise(RELIABILITY)
    async def test_an_agent_delivers_in_the_order_of_sending(self, tmp_path: Path) -> None:
        """What a device sends reaches the server once, in order, and the device is told what is due."""
        arrivals = Arrivals()
        async with self._server(arrivals) as server, connected(server, tmp_path, plugins=self.loaded()) as agent:
            address = await self._address(agent)
            sent = {await self._at(address): tuple(new_names(20)) for _ in range(SENDERS)}
            try:
                await together(*(self._exchange(peer, names) for peer, names in sent.items()))
                every = [name for names in sent.values() for name in names]
                await self.until(
                    lambda: len(arrivals.names) >= len(every),
                    lambda: f"of {len(every)} messages the server got {len(arrivals.names)}",
                )
            finally:
                for peer in sent:
                    await peer.close()
        expect(Counter(arrivals.names) == Counter(every), f"sent were {every}, the server got {arrivals.names}")
        for names in sent.values():
            disorder = arrivals.first_out_of_order(names)
            expect(not disorder, disorder)

    @promise(RELIABILITY)
    async def test_what_a_device_was_told_is_safe_survives_a_kill(self, tmp_path: Path) -> None:
        """After any number of kills (SIGKILL) every message that was acknowledged reaches the server, in order."""
        if not self.kills:
            pytest.skip("kills is 0")
        arrivals = Arrivals()
        window = WINDOW if self.sends_ahead else 1
        senders = [Sender(self.connect, window=window, told_of=self.due > 0, patience=self.patience) for _ in range(SENDERS)]
        environ = SERVER_ENVIRON | environ_with(self.plugins, tmp_path / "installed")
        async with self._server(arrivals) as server:
            arguments = server_arguments(server.base_url, AGENT_ID, tmp_path / "state")
            for life in range(1, self.kills + 1):
                async with AgentProcess(*arguments, environ=environ) as agent:
                    await self._started(agent, life)
                    await self._load_and_kill(agent, senders, life)
            async with AgentProcess(*arguments, environ=environ) as agent:
                await self._started(agent, self.kills + 1)
                await self._resend(agent, senders)
                await self._drained(agent, tmp_path / "state")
                await agent.stop()
        safe = {name for sender in senders for name in sender.safe}
        lost = arrivals.lost(safe)
        expect(not lost, f"of {len(safe)} messages that were acknowledged, {len(lost)} are lost: {', '.join(lost[:5])}")
        for sender in senders:
            disorder = arrivals.first_out_of_order(sender.sent)
            expect(not disorder, disorder)
        unknown = set(arrivals.names) - {name for sender in senders for name in sender.sent}
        expect(not unknown, f"the server got {len(unknown)} messages that nobody has sent")
        mixed = [names for names in arrivals.callbacks.values() if len(names) > 1]
        expect(not mixed, f"different messages came under one key: {mixed[:3]}")

    def _server(self, arrivals: Arrivals) -> FhirServer:
        def bot(request: BotRequest) -> BotResult:
            name = self.name_in(request.body)
            arrivals.names.append(name)
            arrivals.callbacks.setdefault(request.callback, set()).add(name)
            return self.answer_to(request.body)

        return FhirServer(agent_resource({CHANNEL: "1"}), [endpoint_resource("1", self.address)], bot=bot, keep_journal=False)

    async def _address(self, agent: Agent) -> tuple[str, int]:
        hosted = agent.pipeline.supervisor.channels if agent.pipeline is not None else []
        await self.until(
            lambda: [one.state for one in hosted] == ["listening"],
            lambda: f"the channel does not listen: {', '.join(one.reason for one in hosted)}",
        )
        host, _, port = hosted[0].address.rpartition(":")
        return host.strip("[]"), int(port)

    async def _at(self, address: tuple[str, int]) -> Peer:
        return Peer(await self.within(self.connect(*address), "a device could not connect"), self.patience)

    async def _exchange(self, peer: Peer, names: tuple[str, ...]) -> None:
        for some in [names] if self.sends_ahead else [(name,) for name in names]:
            await peer.send(*some)
            self.served(some, await peer.receive(self.due * len(some)))

    async def _started(self, agent: AgentProcess, life: int) -> None:
        try:
            await agent.logged(f"channel {CHANNEL} listens on", 3 * self.patience)
        except (RuntimeError, TimeoutError) as error:
            log = "\n".join(agent.log[-20:])
            raise Broken(
                f"the channel of agent {life} does not come to listen ({type(error).__name__}); its log:\n{log}"
            ) from None

    async def _load_and_kill(self, agent: AgentProcess, senders: list[Sender], life: int) -> None:
        def safe() -> int:
            return sum(len(sender.safe) for sender in senders)

        before = safe()
        loading = [asyncio.ensure_future(sender.run(agent.addresses[CHANNEL])) for sender in senders]
        try:
            if self.due:
                await self.until(
                    lambda: safe() >= before + SAFE_A_LIFE,
                    lambda: f"agent {life}: of its messages the devices were told that {safe() - before} are safe",
                )
            await asyncio.sleep(0.03 * life)
        finally:
            await agent.kill()
            await asyncio.gather(*loading)

    async def _resend(self, agent: AgentProcess, senders: list[Sender]) -> None:
        try:
            async with asyncio.timeout(3 * self.patience):
                while any(sender.unsafe for sender in senders):
                    await asyncio.gather(*(sender.run(agent.addresses[CHANNEL], new=False) for sender in senders))
        except TimeoutError:
            waiting = sum(len(sender.unsafe) for sender in senders)
            raise Broken(f"{waiting} messages were sent again to the last agent, and never acknowledged") from None

    async def _drained(self, agent: AgentProcess, state_dir: Path) -> None:
        try:
            await agent.drained(state_dir, 3 * self.patience)
        except (TimeoutError, NotReady):
            raise Broken("the last agent does not bring all that is in its queue to its end") from None
