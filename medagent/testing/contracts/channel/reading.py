"""What a channel promises of what comes over its connections: sound, broken, too much or too slow."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tracemalloc
from pathlib import Path

from medagent.testing.contracts.channel.acceptance import POSITIVE
from medagent.testing.contracts.channel.base import ChannelBase
from medagent.testing.contracts.channel.site import GONE, SILENCE, ChannelSite, new_names, together, told
from medagent.testing.contracts.channel.wire import Wire
from medagent.testing.contracts.promise import expect, promise
from medagent.testing.mllp import reset

MOST_CUTS = 100
ENDLESS_BYTES, MOST_GROWTH = 24 << 20, 8 << 20
ISOLATION = "medagent.channel.Channel"
LIMIT = "medagent.channel.ChannelContext.max_body_bytes"


class Reading(ChannelBase):
    """What is read, and when."""

    @promise("medagent.types.InboundMessage.body")
    async def test_a_message_that_comes_byte_by_byte(self, tmp_path: Path) -> None:
        """A message is the same however the network cuts it."""
        async with self.listening(tmp_path) as site, Wire(*site.address, piece=1) as wire:
            await self.exchange(site, await self.peer(site, wire.address), *new_names(2))

    @promise("medagent.types.InboundMessage.body")
    async def test_a_connection_that_ends_at_any_byte(self, tmp_path: Path) -> None:
        """What is handed over is a whole message, and a device that goes away in the middle of one disturbs nobody."""
        (name,) = new_names(1)
        async with self.listening(tmp_path) as site:
            async with Wire(*site.address) as wire:
                await self.exchange(site, await self.peer(site, wire.address), name)
            whole = site.queue.uplink.transmitted[0].body
            for number, cut in enumerate(range(1, wire.passed, max(1, wire.passed // MOST_CUTS))):
                await self._send_part(site, name, cut, by_reset=bool(number % 2))
            await self.until(
                lambda: site.channel.connections == 0,
                lambda: f"all devices have gone, and `connections` is {site.channel.connections}",
            )
            others = {frame.body for frame in site.queue.uplink.transmitted} - {whole}
            expect(not others, f"the message is {whole!r}; cut short it became {others}")
            await self.exchange(site, await self.peer(site), *new_names(1))

    async def _send_part(self, site: ChannelSite, name: str, cut: int, *, by_reset: bool) -> None:
        async with Wire(*site.address, cut_after=cut, by_reset=by_reset) as wire:
            sending = asyncio.ensure_future(self._send_once(site, wire, name))
            # a device may get through with fewer bytes this time: one that was told to wait has asked more often
            cutting = asyncio.ensure_future(wire.was_cut.wait())
            await asyncio.wait((sending, cutting), return_when=asyncio.FIRST_COMPLETED)
            for task in (sending, cutting):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, *GONE):
                    await task

    async def _send_once(self, site: ChannelSite, wire: Wire, name: str) -> None:
        peer = await self.peer(site, wire.address)
        try:
            await peer.send(name)
            await peer.receive(max(1, self.due))
        finally:
            site.peers.remove(peer)
            await peer.close()

    @promise(ISOLATION)
    async def test_garbage_disturbs_nobody(self, tmp_path: Path) -> None:
        """Whatever a device sends, others are served, and `forward` does not raise for anything that was handed over."""
        rng = random.Random(7)  # noqa: S311  makes garbage, and keeps no secret
        async with self.listening(tmp_path) as site:
            neighbour = await self.peer(site)
            await self.exchange(site, neighbour, *new_names(1))
            for size in (1, 2, 100, 5_000):
                _, writer = await asyncio.open_connection(*site.address)
                try:
                    with contextlib.suppress(OSError):
                        writer.write(self.message_start + rng.randbytes(size))
                        await writer.drain()
                    await self.exchange(site, neighbour, *new_names(1))
                finally:
                    reset(writer)
            await self.exchange(site, await self.peer(site), *new_names(1))
            for taken in site.accepted:
                if (message := await site.read_back(taken)) is not None:
                    site.forward(message)

    @promise(ISOLATION)
    async def test_a_device_that_does_not_read_disturbs_nobody(self, tmp_path: Path) -> None:
        """While a device sends and never reads what it is told, others are served."""
        async with self.listening(tmp_path) as site:
            deaf, neighbour = await self.peer(site), await self.peer(site)
            sending = asyncio.ensure_future(deaf.send(*new_names(500 if self.sends_ahead else 1)))
            for _ in range(3):
                await self.exchange(site, neighbour, *new_names(1))
            sending.cancel()
            with contextlib.suppress(*GONE, asyncio.CancelledError):
                await sending

    @promise("medagent.channel.Channel.pause_reading")
    async def test_a_pause_holds_reading_back_and_loses_nothing(self, tmp_path: Path) -> None:
        """Nothing is read from any connection, new ones included, until `resume_reading`; then all is, in order."""
        async with self.listening(tmp_path) as site:
            old = await self.peer(site)
            await self.exchange(site, old, *new_names(1))
            before = len(site.accepted)
            site.channel.pause_reading()
            new = await self.peer(site)
            count = 50 if self.sends_ahead else 3
            exchanges = [asyncio.ensure_future(self.exchange(site, peer, *new_names(count))) for peer in (old, new)]
            await asyncio.sleep(SILENCE)
            meanwhile = len(site.accepted) - before
            site.channel.resume_reading()
            await together(*exchanges)
            expect(not meanwhile, f"{meanwhile} messages were handed over meanwhile")

    @promise(LIMIT)
    async def test_a_message_that_is_too_long_is_not_acknowledged(self, tmp_path: Path) -> None:
        """A body longer than `max_body_bytes` is refused or cut off."""
        async with self.listening(tmp_path, max_body_bytes=3) as site:
            peer = await self.peer(site)
            with contextlib.suppress(*GONE):
                await peer.send(*new_names(1))
            replies = await peer.rest()
            expect(not told(replies, *POSITIVE), f"the device was told: {replies}")

    @promise(LIMIT)
    async def test_a_message_without_an_end_takes_no_memory(self, tmp_path: Path) -> None:
        """A channel keeps not much more than `max_body_bytes` of what a device sends."""
        chunk = b"x" * 65_536
        async with self.listening(tmp_path, max_body_bytes=20_000) as site:
            _, writer = await asyncio.open_connection(*site.address)
            tracemalloc.start()
            try:
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(self.patience):
                        writer.write(self.message_start)
                        for _ in range(ENDLESS_BYTES // len(chunk)):
                            writer.write(chunk)
                            await writer.drain()
                growth = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                reset(writer)
            expect(growth < MOST_GROWTH, f"{ENDLESS_BYTES >> 20} MiB without an end took {growth >> 20} MiB of memory")
            await self.exchange(site, await self.peer(site), *new_names(1))
