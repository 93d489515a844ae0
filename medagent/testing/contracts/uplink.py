"""`UplinkContract`: what an uplink promises, checked against a server that the plugin's author puts under the suite's hand."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

import pytest

from medagent.errors import NotReady
from medagent.testing.contracts.promise import Contract, expect, promise
from medagent.testing.contracts.uplink_site import ClosesOverSize, ServerControl, UplinkSite, callback, transmits
from medagent.uplink.base import TOO_BIG, Transmit, Uplink, UplinkContext

UPLINK = "medagent.uplink.base.Uplink"
HANDLER = "medagent.uplink.base.UplinkHandler"
PLENTY = 256
"""Messages of `LONG` characters: more than any socket or buffer should take at once."""
LONG = 256 * 1024
AWAY = ("waiting", "connecting")
"""States of an uplink that runs and is not connected."""


# the control that the author's server has
Server = TypeVar("Server", bound=ServerControl)


class UplinkContract(Contract, Generic[Server]):
    """Subclass it, and define `server` and `make`; every test is a promise of `medagent.uplink.base.Uplink`.

    Many tests wait until the uplink connects again: have `make` give it short delays, or raise `patience`.
    """

    @abstractmethod
    def server(self) -> AbstractAsyncContextManager[Server]:
        """A server that listens, and has ended after the block."""

    @abstractmethod
    def make(self, server: Server, context: UplinkContext) -> Uplink:
        """A new uplink to that server."""

    @contextlib.asynccontextmanager
    async def _site(self) -> AsyncIterator[UplinkSite]:
        """Not started yet."""
        async with self.server() as server:
            site = UplinkSite(server, lambda context: self.make(server, context))
            try:
                yield site
            finally:
                server.read(True)
                await self._stop(site)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[UplinkSite]:
        async with self._site() as site:
            site.start()
            await self._told(site, "connected", 1)
            yield site

    async def _stop(self, site: UplinkSite) -> None:
        if site.run is not None:
            site.run.cancel()
            await self.within(asyncio.wait([site.run]), "run() has not ended after it was cancelled")

    async def _told(self, site: UplinkSite, call: str, times: int) -> None:
        """Wait until the core was told so often."""
        await self.until(
            lambda: site.times(call) >= times,
            lambda: f"the core was not told {call!r} {times} time(s), but {site.times(call)}; {site.state}",
        )

    async def _arrived(self, site: UplinkSite, messages: Sequence[Transmit]) -> None:
        """Wait until the server has got as many messages, and see that they are these."""
        wanted = [(one.callback, one.body) for one in messages]
        await self.until(
            lambda: len(site.server.received) >= len(wanted),
            lambda: f"the server has got {len(site.server.received)} of {len(wanted)} messages; {site.state}",
        )
        got = [name for name, _ in site.server.received]
        expect(list(site.server.received) == wanted, f"the server has got {got[:10]}, not {[name for name, _ in wanted][:10]}")

    @promise(f"{UPLINK}.transmit")
    async def test_messages_arrive_in_order(self) -> None:
        """`transmit` writes messages in order, each once, and returns how many it has taken."""
        async with self._connected() as site:
            messages = transmits(0, 200)
            for start in range(0, 200, 40):
                taken = site.uplink.transmit(messages[start : start + 40])
                expect(taken == 40, f"connected and idle, it returned {taken!r} for 40 short messages")
            expect(site.uplink.transmit([]) == 0, "for no messages it returned another number than 0")
            await self._arrived(site, messages)

    @promise(f"{HANDLER}.connected")
    async def test_it_takes_messages_from_the_moment_it_is_connected(self) -> None:
        """`connected` is called when the server has accepted the agent; `transmit` works from then on, within the call too."""
        async with self._site() as site:
            taken: list[int] = []
            messages = transmits(0, 3)
            expect(site.uplink.transmit(messages) == 0, "it took messages before run()")
            site.core.on_connected = lambda: taken.append(site.uplink.transmit(messages))
            site.start()
            await self._told(site, "connected", 1)
            expect(taken == [3], f"called from connected(), transmit returned {taken}, not 3")
            expect(site.server.accepted == 1, f"connected() was called when the server had accepted {site.server.accepted}")
            await self._arrived(site, messages)

    @promise(f"{UPLINK}.transmit")
    async def test_it_takes_nothing_before_the_server_has_accepted(self) -> None:
        """`transmit` takes no message, and `connected` is not called, while the server has not accepted the agent."""
        async with self._site() as site:
            site.server.mute(True)
            site.start()
            await self.until(lambda: site.server.connections, lambda: f"it has not connected; {site.state}")
            for _ in range(20):
                taken = site.uplink.transmit(transmits(0, 3))
                expect(taken == 0, f"the server has accepted nobody, and transmit took {taken}")
                await asyncio.sleep(0.002)
            expect(site.core.calls == [], f"the core was told {site.core.calls}")

    @promise(f"{UPLINK}.transmit")
    async def test_it_takes_nothing_while_the_connection_is_away(self) -> None:
        """`transmit` returns 0 while the connection is away, and what it has not taken is not sent later."""
        async with self._connected() as site:
            site.server.refuse(True)
            site.server.cut()
            await self._told(site, "disconnected", 1)
            taken = site.uplink.transmit(transmits(0, 3))
            expect(taken == 0, f"after disconnected() it took {taken} of 3")
            site.server.refuse(False)
            await self._told(site, "connected", 2)
            messages = transmits(10, 13)
            expect(site.uplink.transmit(messages) == 3, "connected again, it did not take 3 messages")
            await self._arrived(site, messages)

    @promise(f"{UPLINK}.transmit")
    async def test_a_full_buffer_takes_a_part_and_says_when_there_is_room(self) -> None:
        """While the server does not read, `transmit` takes fewer than it is given; then `writable` follows, and all arrive."""
        async with self._connected() as site:
            site.server.read(False)
            messages = transmits(0, PLENTY, LONG)
            taken = site.uplink.transmit(messages)
            expect(taken < PLENTY, f"the server reads nothing, and it took {taken} messages of {LONG} characters at once")
            expect(taken > 0, "connected and idle, it took no message")
            full = site.uplink.transmit(messages[taken:])
            expect(full == 0 or taken + full < PLENTY, f"the server reads nothing, and it took all {PLENTY} long messages")
            taken += full
            site.server.read(True)
            while taken < PLENTY:
                told = site.times("writable")
                more = site.uplink.transmit(messages[taken:])
                taken += more
                if taken < PLENTY:
                    await self._told(site, "writable", told + 1)
            await self._arrived(site, messages)

    @promise(f"{HANDLER}.answered")
    async def test_answers_come_with_the_callback_they_belong_to(self) -> None:
        """Each answer reaches `answered` with the callback of its message, its body and its status, in the server's order."""
        async with self._connected() as site:
            messages = transmits(0, 5)
            site.uplink.transmit(messages)
            await self._arrived(site, messages)
            order = (3, 0, 4, 1, 2)
            for number in order:
                await site.server.answer(callback(number), f"MSA|AA|{number}")
            await self.until(
                lambda: len(site.core.responses) >= 5,
                lambda: f"{len(site.core.responses)} of 5 answers have reached the core; {site.state}",
            )
            got = [(one.callback, one.body, one.status_code) for one in site.core.responses]
            wanted = [(callback(number), f"MSA|AA|{number}", 200) for number in order]
            expect(got == wanted, f"the core got {got}, not {wanted}")

    @promise(f"{HANDLER}.disconnected")
    async def test_each_connection_is_lost_once(self) -> None:
        """`connected` and `disconnected` come in turn: each connection that was accepted is lost exactly once."""
        async with self._connected() as site:
            for number in range(1, 4):
                site.server.cut()
                await self._told(site, "disconnected", number)
                await self._told(site, "connected", number + 1)
            await self._stop(site)
            told = [call for call in site.core.calls if call in ("connected", "disconnected")]
            expect(told == ["connected", "disconnected"] * 4, f"the core was told {told}")

    async def _works(self, site: UplinkSite, after: str) -> None:
        before = len(site.server.received)
        [one] = transmits(before, before + 1)
        expect(site.uplink.transmit([one]) == 1, f"{after} it takes no message; {site.state}")
        await self.until(
            lambda: site.server.received[before:] == [(one.callback, one.body)],
            lambda: f"{after} the message has not arrived; {site.state}",
        )

    @promise(f"{UPLINK}.run")
    async def test_it_connects_again_after_a_cut(self) -> None:
        """It connects again by itself after its connection was cut."""
        async with self._connected() as site:
            site.server.cut()
            await self._told(site, "connected", 2)
            await self._works(site, "connected again after a cut,")

    @promise(f"{UPLINK}.run")
    async def test_it_connects_when_the_server_takes_it_at_last(self) -> None:
        """It tries again by itself for as long as the server refuses it, and says in its status why it is away."""
        async with self._site() as site:
            site.server.refuse(True)
            site.start()
            await self.until(
                lambda: site.uplink.status.state in AWAY and site.uplink.status.detail,
                lambda: f"refused by the server, {site.state}, and not one of {AWAY} with a reason",
            )
            expect(not site.core.calls, f"the server has accepted nobody, and the core was told {site.core.calls}")
            expect(site.run is not None and not site.run.done(), "run() has ended because the server refused the agent")
            site.server.refuse(False)
            await self._told(site, "connected", 1)
            await self._works(site, "connected after refusals,")

    @promise(f"{UPLINK}.run")
    async def test_it_leaves_a_server_that_says_nothing(self) -> None:
        """It gives up a connection on which the server never accepts it, and connects again by itself."""
        async with self._site() as site:
            site.server.mute(True)
            site.start()
            await self.until(lambda: site.server.connections, lambda: f"it has not connected; {site.state}")
            site.server.mute(False)
            await self._told(site, "connected", 1)
            await self._works(site, "connected after silence,")

    @promise(f"{UPLINK}.run")
    async def test_it_goes_on_without_a_token(self) -> None:
        """While there is no access token it waits and asks again (`UplinkContext.tokens`), and does not end."""
        async with self._site() as site:
            site.tokens.failures = [NotReady("the token server is away"), NotReady("the token server is away")]
            site.start()
            await self._told(site, "connected", 1)
            await self._works(site, "with a token at last,")

    @promise(f"{HANDLER}.disconnected")
    async def test_what_was_not_answered_is_not_sent_again(self) -> None:
        """After a lost connection it sends nothing again by itself: the core does, with all it knows of each message."""
        async with self._connected() as site:
            messages = transmits(0, 3)
            site.uplink.transmit(messages)
            await self._arrived(site, messages)
            site.server.cut()
            await self._told(site, "connected", 2)
            later = transmits(10, 12)
            site.uplink.transmit(later)
            await self._arrived(site, [*messages, *later])

    @promise(f"{UPLINK}.reply")
    async def test_requests_are_handed_over_and_answered(self) -> None:
        """A request of the server reaches `UplinkContext.requested`, and `reply` brings the answer back."""
        async with self._connected() as site:
            await site.server.request("R1")
            await self.until(lambda: site.core.requests, lambda: f"the request has not reached the core; {site.state}")
            asked = [request.callback for request in site.core.requests]
            expect(asked == ["R1"], f"requests reached the core with the callbacks {asked}, not R1")
            self._reply(site, "R1")
            await self._replied(site, ["R1"])

    @promise(f"{UPLINK}.reply")
    async def test_replies_are_kept_while_the_connection_is_away(self) -> None:
        """`reply` while the connection is away does not raise, and the frames are written in order when it is back."""
        async with self._connected() as site:
            site.server.refuse(True)
            site.server.cut()
            await self._told(site, "disconnected", 1)
            for name in ("R1", "R2", "R3"):
                self._reply(site, name)
            site.server.refuse(False)
            await self._told(site, "connected", 2)
            await self._replied(site, ["R1", "R2", "R3"])

    def _reply(self, site: UplinkSite, name: str) -> None:
        site.uplink.reply({"type": "agent:reloadconfig:response", "statusCode": 200, "callback": name})

    async def _replied(self, site: UplinkSite, names: list[str]) -> None:
        await self.until(
            lambda: list(site.server.replies) == names,
            lambda: f"the server has got the replies {list(site.server.replies)}, not {names}; {site.state}",
        )

    @promise("medagent.uplink.base.UplinkStatus")
    async def test_its_status_says_how_it_stands(self) -> None:
        """`status` is `off` before and after `run`, `connected` with the number of reconnects, else another state and why."""
        async with self._site() as site:
            before = site.uplink.status.state
            expect(before == "off", f"before run() the state is {before!r}, not 'off'")
            site.start()
            for reconnects in (0, 1):
                await self._told(site, "connected", reconnects + 1)
                status = site.uplink.status
                expect(status.state == "connected", f"when connected, {site.state}")
                expect(status.reconnects == reconnects, f"after {reconnects} reconnect(s) it counts {status.reconnects}")
                site.server.refuse(True)
                site.server.cut()
                await self._told(site, "disconnected", reconnects + 1)
                status = site.uplink.status
                expect(status.state in AWAY, f"when away, {site.state}")
                expect(status.detail, "when away, the status has no detail")
                site.server.refuse(False)
            await self._stop(site)
            expect(site.uplink.status.state == "off", f"after run() {site.state}, not 'off'")

    @promise(f"{UPLINK}.reconnect")
    async def test_reconnect_makes_a_new_connection(self) -> None:
        """`reconnect` closes the connection and connects again; `disconnected` is told in between."""
        async with self._connected() as site:
            site.uplink.reconnect("a test wants it")
            await self._told(site, "connected", 2)
            told = [call for call in site.core.calls if call in ("connected", "disconnected")]
            expect(told == ["connected", "disconnected", "connected"], f"the core was told {told}")
            await self.until(lambda: site.server.connections == 1, lambda: f"{site.server.connections} connections are open")
            await self._works(site, "after reconnect()")

    @promise(f"{UPLINK}.run")
    async def test_it_ends_by_cancellation_and_leaves_nothing_behind(self) -> None:
        """`run` ends only when it is cancelled, and leaves no task and no connection behind; the core hears of its end."""
        async with self._site() as site:
            before = asyncio.all_tasks()
            site.start()
            await self._told(site, "connected", 1)
            await self._works(site, "when connected,")
            expect(site.run is not None and not site.run.done(), "run() has ended by itself")
            await self._stop(site)
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
        async with self._connected() as site:
            site.server.read(False)
            site.uplink.transmit(transmits(0, PLENTY, LONG))
            await self._stop(site)
            site.server.cut()

    @promise(f"{UPLINK}.run")
    async def test_a_core_that_fails_does_not_end_it(self) -> None:
        """When the core raises on what it is told, `run` goes on; the connection may be made anew."""
        async with self._connected() as site:
            site.core.fail_on_answer = RuntimeError("the core has a fault")
            messages = transmits(0, 1)
            site.uplink.transmit(messages)
            await self._arrived(site, messages)
            await site.server.answer(callback(0), "MSA|AA|0")
            connects = site.times("disconnected")
            await asyncio.sleep(0.05)
            site.core.fail_on_answer = None
            expect(site.run is not None and not site.run.done(), "run() has ended")
            if site.times("disconnected") > connects:
                await self._told(site, "connected", 2)
            await self._works(site, "after a fault of the core")

    @promise(f"{UPLINK}.overhead_bytes")
    async def test_the_overhead_covers_the_frame(self) -> None:
        """`overhead_bytes` is a whole number of bytes, before and after connecting."""
        async with self._site() as site:
            numbers = [site.uplink.overhead_bytes]
            site.start()
            await self._told(site, "connected", 1)
            numbers.append(site.uplink.overhead_bytes)
            expect(all(isinstance(number, int) and number >= 0 for number in numbers), f"it is {numbers}")

    @promise("medagent.uplink.base.TOO_BIG")
    async def test_a_message_too_long_for_the_server_is_told(self) -> None:
        """If the server ends the connection over the size of a message, `failed(TOO_BIG)` comes before `disconnected`."""
        async with self._connected() as site:
            if not isinstance(site.server, ClosesOverSize):
                pytest.skip("the server's control has no close_over_size: its protocol does not say this")
            await site.server.close_over_size()
            await self._told(site, "connected", 2)
            told = [f"failed: {TOO_BIG}", "disconnected", "connected"]
            expect(site.core.calls[1:] == told, f"the core was told {site.core.calls[1:]}, not {told}")
