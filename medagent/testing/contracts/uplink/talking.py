"""What an uplink promises of messages, answers, requests and replies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from medagent.testing.contracts.promise import expect, promise
from medagent.testing.contracts.uplink.ground import HANDLER, LONG, PLENTY, UPLINK, Server, UplinkGround
from medagent.testing.contracts.uplink.site import TEXT, ClosesOverSize, UplinkSite, callback, transmits
from medagent.uplink.base import TOO_BIG


class Talking(UplinkGround[Server]):
    """A part of `UplinkContract`."""

    @promise(f"{UPLINK}.transmit")
    async def test_messages_arrive_in_order(self) -> None:
        """`transmit` writes messages in order, each once, and returns how many it has taken."""
        async with self.connected() as site:
            messages = transmits(0, 200)
            for start in range(0, 200, 40):
                taken = site.uplink.transmit(messages[start : start + 40])
                expect(taken == 40, f"connected and idle, it returned {taken!r} for 40 short messages")
            expect(site.uplink.transmit([]) == 0, "for no messages it returned another number than 0")
            await self.arrived(site, messages)

    @promise(f"{HANDLER}.connected")
    async def test_it_takes_messages_from_the_moment_it_is_connected(self) -> None:
        """`connected` is called when the server has accepted the agent; `transmit` works from then on, within the call too."""
        async with self.site() as site:
            taken: list[int] = []
            messages = transmits(0, 3)
            expect(site.uplink.transmit(messages) == 0, "it took messages before run()")
            site.core.on_connected = lambda: taken.append(site.uplink.transmit(messages))
            site.start()
            await self.told(site, "connected", 1)
            expect(taken == [3], f"called from connected(), transmit returned {taken}, not 3")
            expect(site.server.accepted == 1, f"connected() was called when the server had accepted {site.server.accepted}")
            await self.arrived(site, messages)

    @promise(f"{UPLINK}.transmit")
    async def test_it_takes_nothing_before_the_server_has_accepted(self) -> None:
        """`transmit` takes no message, and `connected` is not called, while the server has not accepted the agent."""
        async with self.site() as site:
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
        async with self.connected() as site:
            site.server.refuse(True)
            site.server.cut()
            await self.told(site, "disconnected", 1)
            taken = site.uplink.transmit(transmits(0, 3))
            expect(taken == 0, f"after disconnected() it took {taken} of 3")
            site.server.refuse(False)
            await self.told(site, "connected", 2)
            messages = transmits(10, 13)
            expect(site.uplink.transmit(messages) == 3, "connected again, it did not take 3 messages")
            await self.arrived(site, messages)

    @promise(f"{UPLINK}.transmit")
    async def test_a_full_buffer_takes_a_part_and_says_when_there_is_room(self) -> None:
        """While the server does not read, `transmit` takes fewer than it is given; then `writable` follows, and all arrive."""
        async with self.connected() as site:
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
                    await self.told(site, "writable", told + 1)
            await self.arrived(site, messages)

    @promise(f"{HANDLER}.answered")
    async def test_answers_come_with_the_callback_they_belong_to(self) -> None:
        """Each answer reaches `answered` with the callback of its message, its body and its status, in the server's order."""
        async with self.connected() as site:
            messages = transmits(0, 5)
            site.uplink.transmit(messages)
            await self.arrived(site, messages)
            await self._answered(site, {3: 200, 0: 500, 4: 202, 1: 400, 2: 200})

    @promise(f"{HANDLER}.disconnected")
    async def test_what_was_not_answered_is_not_sent_again(self) -> None:
        """After a lost connection it sends nothing again by itself: the core does, with all it knows of each message."""
        async with self.connected() as site:
            messages = transmits(0, 3)
            site.uplink.transmit(messages)
            await self.arrived(site, messages)
            site.server.cut()
            await self.told(site, "connected", 2)
            later = transmits(10, 12)
            site.uplink.transmit(later)
            await self.arrived(site, [*messages, *later])

    @promise(f"{HANDLER}.answered")
    async def test_on_a_new_connection_answers_belong_to_its_own_messages(self) -> None:
        """After a lost connection answers reach the core as before, whatever was left without one."""
        async with self.connected() as site:
            messages = transmits(0, 3)
            site.uplink.transmit(messages)
            await self.arrived(site, messages)
            site.server.cut()
            await self.told(site, "connected", 2)
            # two of those before, which the core sends again, and one that is new
            again = [messages[2], messages[1], *transmits(10, 11)]
            site.uplink.transmit(again)
            await self.arrived(site, [*messages, *again])
            await self._answered(site, {1: 200, 10: 500, 2: 200})

    @promise(f"{UPLINK}.reply")
    async def test_requests_are_handed_over_and_answered(self) -> None:
        """A request of the server reaches `UplinkContext.requested`, and `reply` brings the answer back."""
        async with self.connected() as site:
            await site.server.request("R1")
            await self.until(lambda: site.core.requests, lambda: f"the request has not reached the core; {site.state}")
            asked = [request.callback for request in site.core.requests]
            expect(asked == ["R1"], f"requests reached the core with the callbacks {asked}, not R1")
            self._reply(site, "R1")
            await self._replied(site, ["R1"])
            site.server.cut()
            await self.told(site, "connected", 2)
            await site.server.request("R2")
            await self.until(
                lambda: len(site.core.requests) >= 2, lambda: f"after a cut the request has not reached the core; {site.state}"
            )
            self._reply(site, "R2")
            await self._replied(site, ["R1", "R2"])

    @promise(f"{UPLINK}.reply")
    async def test_replies_are_kept_while_the_connection_is_away(self) -> None:
        """`reply` while the connection is away does not raise, and the frames are written in order when it is back."""
        async with self.connected() as site:
            site.server.refuse(True)
            site.server.cut()
            await self.told(site, "disconnected", 1)
            for name in ("R1", "R2", "R3"):
                self._reply(site, name)
            site.server.refuse(False)
            await self.told(site, "connected", 2)
            await self._replied(site, ["R1", "R2", "R3"])

    @promise(f"{UPLINK}.overhead_bytes")
    async def test_the_overhead_is_a_number(self) -> None:
        """`overhead_bytes` is a whole number of bytes, before and after connecting."""
        async with self.site() as site:
            numbers = [site.uplink.overhead_bytes]
            site.start()
            await self.told(site, "connected", 1)
            numbers.append(site.uplink.overhead_bytes)
            expect(all(isinstance(number, int) and number >= 0 for number in numbers), f"it is {numbers}")

    @promise("medagent.uplink.base.TOO_BIG")
    async def test_a_message_too_long_for_the_server_is_told(self) -> None:
        """If the server ends the connection over the size of a message, `failed(TOO_BIG)` comes before `disconnected`."""
        async with self.connected() as site:
            if not isinstance(site.server, ClosesOverSize):
                pytest.skip("the server's control has no close_over_size: its protocol does not say this")
            await site.server.close_over_size()
            await self.told(site, "connected", 2)
            told = [f"failed: {TOO_BIG}", "disconnected", "connected"]
            expect(site.core.calls[1:] == told, f"the core was told {site.core.calls[1:]}, not {told}")

    async def _answered(self, site: UplinkSite, codes: Mapping[int, int]) -> None:
        """Have the server answer the messages with these numbers by these status codes, and see that the core hears it."""
        wanted = [(callback(number), f"MSA|AA|{number}|{TEXT}", code) for number, code in codes.items()]
        for name, body, code in wanted:
            await site.server.answer(name, body, code)
        await self.until(
            lambda: len(site.core.responses) >= len(wanted),
            lambda: f"{len(site.core.responses)} of {len(wanted)} answers have reached the core; {site.state}",
        )
        got = [(one.callback, one.body, one.status_code) for one in site.core.responses]
        expect(got == wanted, f"the core got {got}, not {wanted}")

    def _reply(self, site: UplinkSite, name: str) -> None:
        site.uplink.reply({"type": "agent:reloadconfig:response", "statusCode": 200, "callback": name})

    async def _replied(self, site: UplinkSite, names: list[str]) -> None:
        await self.until(
            lambda: list(site.server.replies) == names,
            lambda: f"the server has got the replies {list(site.server.replies)}, not {names}; {site.state}",
        )
