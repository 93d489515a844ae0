"""What a channel promises of its life: listening, stopping, closing, and never blocking the loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from medagent.errors import BindFailed
from medagent.testing.contracts.channel.base import ChannelBase
from medagent.testing.contracts.channel.device import What
from medagent.testing.contracts.channel.site import GONE, ChannelSite, new_names, told
from medagent.testing.contracts.promise import expect, promise
from medagent.testing.in_process import free_port

MOST_BLOCKED = 0.2
"""Seconds that the loop may stand still."""
TRIES = 4
"""Another process may have had the CPU in one or the other."""


class Life(ChannelBase):
    """From `start` to `close`."""

    @promise("medagent.channel.Channel.start")
    async def test_a_taken_port_raises_bind_failed_and_is_listened_on_later(self, tmp_path: Path) -> None:
        """`start` raises `medagent.errors.BindFailed` while the port is taken, and works when it is called again later."""
        port = free_port()
        taken = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
        async with self.silent(tmp_path, port=port) as site:
            raised: Exception | None = None
            try:
                await site.channel.start()
            # a plugin may raise anything
            except Exception as error:  # noqa: BLE001  as said above
                raised = error
            taken.close()
            await taken.wait_closed()
            expect(isinstance(raised, BindFailed), f"it raised {raised!r}" if raised else "it returned")
            await site.channel.start()
            await (await self.peer(site)).send(*new_names(1))
            await self.handed_over(site)

    @promise("medagent.channel.Channel.address")
    async def test_its_address_is_where_it_listens(self, tmp_path: Path) -> None:
        """`address` is host and port while the channel listens, and empty before and after."""
        async with self.silent(tmp_path) as site:
            expect(site.channel.address == "", f"before `start` it is {site.channel.address!r}")
            await site.channel.start()
            await self.peer(site)
            await self._ends(site, "stop_accepting")
            await self._ends(site, "close")
            expect(site.channel.address == "", f"in the end it is {site.channel.address!r}")

    @promise("medagent.channel.Channel.stop_accepting")
    async def test_after_stop_accepting_what_is_due_is_still_told(self, tmp_path: Path) -> None:
        """`stop_accepting` closes the listener in time; connections stay open for the acknowledgments that are due."""
        async with self.listening(tmp_path) as site:
            address, peer = site.address, await self.peer(site)
            (name,) = new_names(1)
            site.queue.store.gate.clear()
            await peer.send(name)
            await self.handed_over(site)
            await self._ends(site, "stop_accepting")
            expect(not await _listens(*address), "another device could connect")
            site.queue.store.gate.set()
            if self.acknowledges:
                replies = await peer.receive()
                expect(told(replies, What.ACCEPTED) == [name], f"the device was told: {replies}")

    @promise("medagent.channel.Channel.close")
    async def test_close_writes_out_what_is_buffered_and_ends_every_connection(self, tmp_path: Path) -> None:
        """`close` ends in time, every acknowledgment before it reaches its device, and no connection is left."""
        async with self.listening(tmp_path) as site:
            busy, idle = await self.peer(site), await self.peer(site)
            (name,) = new_names(1)
            site.queue.store.gate.clear()
            await busy.send(name)
            await self.handed_over(site)
            await self._ends(site, "stop_accepting")
            site.queue.store.gate.set()
            await self.within(site.queue.sent(1), "the message has not reached the server")
            await self._ends(site, "close")
            if self.acknowledges:
                replies = await busy.rest()
                expect(name in told(replies, What.ACCEPTED), f"the device was told: {replies}")
            for peer in (busy, idle):
                expect(await peer.hung_up(), "a device is still connected")
            expect(site.channel.connections == 0, f"`connections` is {site.channel.connections}")

    @promise("medagent.channel.Channel.close")
    async def test_close_does_not_wait_for_a_device_that_does_not_read(self, tmp_path: Path) -> None:
        """`stop_accepting` and `close` end in time, whatever the devices do."""
        async with self.listening(tmp_path) as site:
            deaf = await self.peer(site)
            with contextlib.suppress(*GONE):
                async with asyncio.timeout(0.5):
                    await deaf.send(*new_names(500 if self.sends_ahead else 1))
            await self._ends(site, "stop_accepting")
            await self._ends(site, "close")

    @promise("medagent.channel.Channel")
    async def test_no_method_blocks_the_loop(self, tmp_path: Path) -> None:
        """All methods run on the event loop, and none blocks it."""
        stalls: list[float] = []
        while not stalls or stalls[-1] > MOST_BLOCKED:
            found = f"the loop stood still for {min(stalls, default=0.0):.2f} s and more, each of {TRIES} times"
            expect(len(stalls) < TRIES, found)
            stalls.append(await self._longest_stall(tmp_path / str(len(stalls))))

    async def _longest_stall(self, folder: Path) -> float:
        async with self.listening(folder) as site:
            async with _Heartbeat() as heart:
                peer = await self.peer(site)
                await self.exchange(site, peer, *new_names(3))
                site.channel.pause_reading()
                site.channel.resume_reading()
                await self.exchange(site, peer, *new_names(1))
                site.queue.store.refuse = lambda messages, changes: bool(messages)
                with contextlib.suppress(*GONE):
                    await peer.send(*new_names(1))
                await peer.rest()
                await self._ends(site, "stop_accepting")
                await self._ends(site, "close")
            return heart.longest

    async def _ends(self, site: ChannelSite, method: str) -> None:
        try:
            async with asyncio.timeout(self.closes_within):
                await getattr(site.channel, method)()
        except TimeoutError:
            expect(False, f"`{method}` has not ended after {self.closes_within:g} s")


async def _listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


class _Heartbeat:
    """Measures how long the loop stands still."""

    def __init__(self) -> None:
        self.longest = 0.0
        """Seconds."""

    async def __aenter__(self) -> _Heartbeat:
        self._beating = asyncio.ensure_future(self._beat())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.02)  # for what has come to pass last
        self._beating.cancel()

    async def _beat(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last - 0.01), now
