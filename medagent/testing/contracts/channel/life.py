"""What a channel promises about its life: listening, stopping, closing, and never blocking the loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from medagent.errors import BindFailed
from medagent.testing.contracts.channel.base import ChannelBase
from medagent.testing.contracts.channel.device import Reply, What
from medagent.testing.contracts.channel.site import ChannelSite, new_names, of_kind
from medagent.testing.contracts.promise import promised
from medagent.testing.in_process import free_port

START = "medagent.channel.Channel.start"
STOP = "medagent.channel.Channel.stop_accepting"
CLOSE = "medagent.channel.Channel.close"
CLOSES_WITHIN = 3.0
"""Seconds; what the core gives a channel (`medagent.supervisor`)."""
MOST_BLOCKED = 0.2
"""Seconds."""


class Life(ChannelBase):
    """Tests of a channel's life."""

    async def test_a_taken_port_raises_bind_failed_and_is_listened_on_later(self, tmp_path: Path) -> None:
        port = free_port()
        taken = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
        async with self.world(tmp_path, port=port) as (queue, site):
            try:
                await site.channel.start()
            except BindFailed:
                pass
            # a plugin may raise anything
            except Exception as error:  # noqa: BLE001  as said above
                promised(False, "`start` on a taken port raises `medagent.errors.BindFailed`", START, f"it raised {error!r}")
            else:
                promised(False, "`start` on a taken port raises `medagent.errors.BindFailed`", START, "it returned")
            finally:
                taken.close()
                await taken.wait_closed()
            await site.channel.start()
            queue.uplink.connect()
            await (await self.peer(site)).send(*new_names(1))
            await queue.sent(1)

    async def test_its_address_is_where_it_listens(self, tmp_path: Path) -> None:
        async with self.world(tmp_path) as (_, site):
            where = "medagent.channel.Channel.address"
            promised(site.channel.address == "", "`address` is empty before `start`", where, f"it is {site.channel.address!r}")
            await site.channel.start()
            await self.peer(site)
            await self._stopped(site)
            promised(
                site.channel.address == "",
                "`address` is empty when it listens no more",
                where,
                f"it is {site.channel.address!r}",
            )

    async def test_after_stop_accepting_what_is_due_is_still_told(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path) as site:
            address = site.address
            peer = await self.peer(site)
            (name,) = new_names(1)
            site.queue.store.gate.clear()
            await peer.send(name)
            await site.until(
                lambda: site.accepted,
                "what a device has sent is handed over",
                "medagent.channel.ChannelContext.accept",
                "nothing was handed over",
            )
            await self._stopped(site)
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(*address)
                writer.close()
                promised(False, "the listener is closed", STOP, "another device could connect")
            site.queue.store.gate.set()
            if self.acknowledges:
                reply = await self._reply(site, 0)
                promised(
                    of_kind(reply, What.ACCEPTED) == [name],
                    "connections stay open for the acknowledgments that are due",
                    STOP,
                    f"the device was told: {reply}",
                )

    async def test_close_writes_out_what_is_buffered_and_ends_every_connection(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path) as site:
            busy = await self.peer(site)
            idle = await self.peer(site)
            (name,) = new_names(1)
            site.queue.store.gate.clear()
            await busy.send(name)
            await site.until(
                lambda: site.accepted, "what is sent is handed over", "ChannelContext.accept", "nothing was handed over"
            )
            await self._stopped(site)
            site.queue.store.gate.set()
            await site.queue.sent(1)
            await self._closed(site)
            if self.acknowledges:
                told = await busy.replies()
                promised(
                    name in of_kind(told, What.ACCEPTED),
                    "what is buffered is written out",
                    CLOSE,
                    f"the device was told: {told}",
                )
            for peer in (busy, idle):
                promised(await peer.hung_up(), "every connection is closed", CLOSE, "a device is still connected")
            promised(
                site.channel.connections == 0, "no connection is left", CLOSE, f"`connections` is {site.channel.connections}"
            )

    async def test_close_does_not_wait_for_a_device_that_does_not_read(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path) as site:
            deaf = await self.peer(site)
            names = new_names(2_000 if self.sends_ahead else 1)
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(1):
                    await deaf.send(*names)
            await self._stopped(site)
            await self._closed(site)

    async def test_no_method_blocks_the_loop(self, tmp_path: Path) -> None:
        longest = []
        for run in range(3):  # another process may have had the CPU once
            folder = tmp_path / str(run)
            folder.mkdir()
            async with self.listening(folder) as site:
                beating = asyncio.ensure_future(_longest_stall())
                await asyncio.sleep(0)
                peer = await self.peer(site)
                await self.exchange(site, peer, *new_names(3))
                site.channel.pause_reading()
                site.channel.resume_reading()
                await self.exchange(site, peer, *new_names(1))
                site.queue.store.refuse = lambda messages, changes: bool(messages)
                await peer.send(*new_names(1))
                await peer.replies()
                await self._stopped(site)
                await self._closed(site)
                beating.cancel()
                longest.append(await beating)
            if longest[-1] < MOST_BLOCKED:
                return
        promised(
            False,
            "all methods run on the event loop and do not block",
            "medagent.channel",
            f"the loop stood still for {min(longest):.2f} s at least, each of {len(longest)} times",
        )

    async def _reply(self, site: ChannelSite, number: int) -> list[Reply]:
        reply = await site.peers[number].receive()
        return [reply] if reply is not None else []

    async def _stopped(self, site: ChannelSite) -> None:
        await self._in_time(site, "stop_accepting", STOP)

    async def _closed(self, site: ChannelSite) -> None:
        await self._in_time(site, "close", CLOSE)

    async def _in_time(self, site: ChannelSite, method: str, where: str) -> None:
        try:
            async with asyncio.timeout(CLOSES_WITHIN):
                await getattr(site.channel, method)()
        except TimeoutError:
            promised(False, f"`{method}` ends within {CLOSES_WITHIN:g} s", where, "it did not")


async def _longest_stall() -> float:
    """Seconds; returns when it is cancelled."""
    longest, last = 0.0, time.monotonic()
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            longest, last = max(longest, now - last - 0.01), now
    return longest
