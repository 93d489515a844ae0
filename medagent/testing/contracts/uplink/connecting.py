"""What an uplink promises of its connections: made again by themselves, told of, ended."""

from __future__ import annotations

import asyncio

from medagent.errors import NotReady
from medagent.testing.contracts.promise import expect, promise
from medagent.testing.contracts.uplink.ground import AWAY, HANDLER, LONG, PLENTY, UPLINK, Server, UplinkGround
from medagent.testing.contracts.uplink.site import callback, transmits


class Connecting(UplinkGround[Server]):
    """A part of `UplinkContract`."""

    @promise(f"{HANDLER}.disconnected")
    async def test_each_connection_is_lost_once(self) -> None:
        """`connected` and `disconnected` come in turn: each connection that was accepted is lost exactly once."""
        async with self.connected() as site:
            for number in range(1, 4):
                site.server.cut()
                await self.told(site, "disconnected", number)
                await self.told(site, "connected", number + 1)
            await self.stop(site)
            told = [call for call in site.core.calls if call in ("connected", "disconnected")]
            expect(told == ["connected", "disconnected"] * 4, f"the core was told {told}")

    @promise(f"{UPLINK}.run")
    async def test_it_connects_again_after_a_cut(self) -> None:
        """It connects again by itself after its connection was cut."""
        async with self.connected() as site:
            site.server.cut()
            await self.told(site, "connected", 2)
            await self.works(site, "connected again after a cut,")

    @promise(f"{UPLINK}.run")
    async def test_it_connects_when_the_server_takes_it_at_last(self) -> None:
        """It tries again by itself for as long as the server refuses it, and says in its status why it is away."""
        async with self.site() as site:
            site.server.refuse(True)
            site.start()
            await self.until(
                lambda: site.uplink.status.state in AWAY and site.uplink.status.detail,
                lambda: f"refused by the server, {site.state}, and not one of {AWAY} with a reason",
            )
            expect(not site.core.calls, f"the server has accepted nobody, and the core was told {site.core.calls}")
            expect(site.run is not None and not site.run.done(), "run() has ended because the server refused the agent")
            site.server.refuse(False)
            await self.told(site, "connected", 1)
            await self.works(site, "connected after refusals,")

    @promise(f"{UPLINK}.run")
    async def test_it_leaves_a_server_that_says_nothing(self) -> None:
        """It gives up a connection on which the server never accepts it, and connects again by itself."""
        async with self.site() as site:
            site.server.mute(True)
            site.start()
            await self.until(lambda: site.server.connections, lambda: f"it has not connected; {site.state}")
            site.server.mute(False)
            await self.told(site, "connected", 1)
            await self.works(site, "connected after silence,")

    @promise(f"{UPLINK}.run")
    async def test_it_goes_on_without_a_token(self) -> None:
        """While there is no access token it waits and asks again (`UplinkContext.tokens`), and does not end."""
        async with self.site() as site:
            site.tokens.failures = [NotReady("the token server is away"), NotReady("the token server is away")]
            site.start()
            await self.told(site, "connected", 1)
            await self.works(site, "with a token at last,")

    @promise("medagent.uplink.base.UplinkStatus")
    async def test_its_status_says_how_it_stands(self) -> None:
        """`status` is `off` before and after `run`, `connected` with the number of reconnects, else another state and why."""
        async with self.site() as site:
            before = site.uplink.status.state
            expect(before == "off", f"before run() the state is {before!r}, not 'off'")
            site.start()
            for reconnects in (0, 1):
                await self.told(site, "connected", reconnects + 1)
                status = site.uplink.status
                expect(status.state == "connected", f"when connected, {site.state}")
                expect(status.reconnects == reconnects, f"after {reconnects} reconnect(s) it counts {status.reconnects}")
                site.server.refuse(True)
                site.server.cut()
                await self.told(site, "disconnected", reconnects + 1)
                status = site.uplink.status
                expect(status.state in AWAY, f"when away, {site.state}")
                expect(status.detail, "when away, the status has no detail")
                site.server.refuse(False)
            await self.stop(site)
            expect(site.uplink.status.state == "off", f"after run() {site.state}, not 'off'")

    @promise(f"{UPLINK}.reconnect")
    async def test_reconnect_makes_a_new_connection(self) -> None:
        """`reconnect` closes the connection and connects again; `disconnected` is told in between."""
        async with self.connected() as site:
            site.uplink.reconnect("a test wants it")
            await self.told(site, "connected", 2)
            told = [call for call in site.core.calls if call in ("connected", "disconnected")]
            expect(told == ["connected", "disconnected", "connected"], f"the core was told {told}")
            await self.until(lambda: site.server.connections == 1, lambda: f"{site.server.connections} connections are open")
            await self.works(site, "after reconnect()")

    @promise(f"{UPLINK}.run")
    async def test_it_ends_by_cancellation_and_leaves_nothing_behind(self) -> None:
        """`run` ends only when it is cancelled, and leaves no task and no connection behind; the core hears of its end."""
        async with self.site() as site:
            before = asyncio.all_tasks()
            site.start()
            await self.told(site, "connected", 1)
            await self.works(site, "when connected,")
            expect(site.run is not None and not site.run.done(), "run() has ended by itself")
            await self.stop(site)
            expect(site.run is not None and site.run.cancelled(), "cancelled, run() ended otherwise than by CancelledError")
            expect(site.times("disconnected") == 1, f"the core was told {site.core.calls}")
            await self.until(lambda: not site.server.connections, "connections are still open after the end of run()")
            await self.until(
                lambda: asyncio.all_tasks() <= before,
                lambda: f"tasks are left after the end of run(): {[task.get_name() for task in asyncio.all_tasks() - before]}",
            )
            expect(site.uplink.transmit(transmits(0, 1)) == 0, "after its end it takes messages")

    @promise(f"{UPLINK}.run")
    async def test_it_ends_while_the_server_is_stuck(self) -> None:
        """Cancelled while the server reads nothing and its buffer is full, `run` ends all the same."""
        async with self.connected() as site:
            site.server.read(False)
            site.uplink.transmit(transmits(0, PLENTY, LONG))
            await self.stop(site)
            site.server.cut()

    @promise(f"{UPLINK}.run")
    async def test_a_core_that_fails_does_not_end_it(self) -> None:
        """When the core raises on what it is told, `run` goes on; the connection may be made anew."""
        async with self.connected() as site:
            site.core.fail_on_answer = RuntimeError("the core has a fault")
            messages = transmits(0, 1)
            site.uplink.transmit(messages)
            await self.arrived(site, messages)
            await site.server.answer(callback(0), "MSA|AA|0")
            connects = site.times("disconnected")
            await asyncio.sleep(0.05)
            site.core.fail_on_answer = None
            expect(site.run is not None and not site.run.done(), "run() has ended")
            if site.times("disconnected") > connects:
                await self.told(site, "connected", 2)
            await self.works(site, "after a fault of the core")
