"""What a channel promises about what comes over its connections: sound, broken, too much or too slow."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tracemalloc
from pathlib import Path

from medagent.testing.contracts.channel.acceptance import FORWARD, POSITIVE
from medagent.testing.contracts.channel.base import ChannelBase
from medagent.testing.contracts.channel.site import SILENCE, ChannelSite, new_names, of_kind
from medagent.testing.contracts.channel.wire import Wire
from medagent.testing.contracts.promise import promised
from medagent.testing.mllp import reset

PAUSE = "medagent.channel.Channel.pause_reading"
LIMIT = "medagent.channel.ChannelContext.max_body_bytes"
ISOLATION = "medagent.channel (one device's fault is not another's)"
MOST_CUTS = 100
ENDLESS_BYTES, MOST_GROWTH = 24 << 20, 8 << 20
GONE = (OSError, EOFError, TimeoutError)


class Reading(ChannelBase):
    """Tests of what a channel reads, and when."""

    async def test_a_message_that_comes_byte_by_byte(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path) as site, Wire(*site.address, piece=1) as wire:
            await self.exchange(site, await self.peer(site, wire.address), *new_names(2))

    async def test_a_connection_that_ends_at_any_byte(self, tmp_path: Path) -> None:
        (name,) = new_names(1)
        async with self.listening(tmp_path) as site:
            async with Wire(*site.address) as wire:
                await self.exchange(site, await self.peer(site, wire.address), name)
            whole = site.queue.uplink.transmitted[0].body
            step = max(1, wire.passed // MOST_CUTS)
            for number, cut in enumerate(range(1, wire.passed, step)):
                async with Wire(*site.address, cut_after=cut, by_reset=bool(number % 2)) as wire:
                    with contextlib.suppress(*GONE):
                        peer = await self.peer(site, wire.address)
                        sending = asyncio.ensure_future(peer.send(name))
                        await asyncio.wait((sending, asyncio.ensure_future(wire.was_cut.wait())), return_when="FIRST_COMPLETED")
                        sending.cancel()
                        await asyncio.gather(sending, return_exceptions=True)
            await self._nobody_left(site)
            bodies = {frame.body for frame in site.queue.uplink.transmitted}
            promised(
                bodies == {whole},
                "what is handed over is a whole message",
                "medagent.types.InboundMessage.body",
                f"of a message that was cut short, this was forwarded: {bodies - {whole}}",
            )
            await self.exchange(site, await self.peer(site), *new_names(1))

    async def test_garbage_disturbs_nobody(self, tmp_path: Path) -> None:
        rng = random.Random(7)  # noqa: S311  makes garbage, and keeps no secret
        async with self.listening(tmp_path) as site:
            neighbour = await self.peer(site)
            await self.exchange(site, neighbour, *new_names(1))
            for size in (1, 2, 100, 5_000):
                _, writer = await asyncio.open_connection(*site.address)
                writer.write(self.message_start + rng.randbytes(size))
                with contextlib.suppress(OSError):
                    await writer.drain()
                await self.exchange(site, neighbour, *new_names(1))
                reset(writer)
            await self.exchange(site, await self.peer(site), *new_names(1))
            for message in site.accepted:
                try:
                    text = site.channel.forward(message)
                    text.encode()
                # a plugin may raise anything
                except Exception as error:  # noqa: BLE001  as said above
                    promised(False, "`forward` does not raise for what was accepted", FORWARD, f"it raised {error!r}")

    async def test_a_device_that_does_not_read_disturbs_nobody(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path) as site:
            deaf, neighbour = await self.peer(site), await self.peer(site)
            names = new_names(2_000 if self.sends_ahead else 1)

            async def send() -> None:
                with contextlib.suppress(*GONE):
                    await deaf.send(*names)

            sending = asyncio.ensure_future(send())
            for _ in range(3):
                await self.exchange(site, neighbour, *new_names(1))
            sending.cancel()
            await asyncio.wait((sending,))

    async def test_a_pause_holds_reading_back_and_loses_nothing(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path) as site:
            before = await self.peer(site)
            await self.exchange(site, before, *new_names(1))
            read = len(site.accepted)
            site.channel.pause_reading()
            after = await self.peer(site)
            count = 50 if self.sends_ahead else 3
            exchanges = [asyncio.ensure_future(self.exchange(site, peer, *new_names(count))) for peer in (before, after)]
            await asyncio.sleep(SILENCE)
            held = len(site.accepted) == read
            site.channel.resume_reading()
            await asyncio.gather(*exchanges)
            promised(
                held,
                "nothing is read from any connection, new ones included, until `resume_reading`",
                PAUSE,
                "messages were handed over meanwhile",
            )

    async def test_a_message_that_is_too_long_is_not_acknowledged(self, tmp_path: Path) -> None:
        async with self.listening(tmp_path, max_body_bytes=8) as site:
            peer = await self.peer(site)
            with contextlib.suppress(*GONE):
                await peer.send(*new_names(1))
            replies = await peer.replies()
            promised(
                not of_kind(replies, *POSITIVE),
                "a body longer than `max_body_bytes` is refused or cut off",
                LIMIT,
                f"the device was told: {replies}",
            )

    async def test_a_message_without_an_end_takes_no_memory(self, tmp_path: Path) -> None:
        chunk = b"x" * 65_536
        async with self.listening(tmp_path, max_body_bytes=20_000) as site:
            await self.exchange(site, await self.peer(site), *new_names(1))
            reader, writer = await asyncio.open_connection(*site.address)
            tracemalloc.start()
            try:
                writer.write(self.message_start)
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(5):
                        for _ in range(ENDLESS_BYTES // len(chunk)):
                            writer.write(chunk)
                            await writer.drain()
                growth = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                reset(writer)
            del reader
            promised(
                growth < MOST_GROWTH,
                "a channel need not keep more than `max_body_bytes` of a message",
                LIMIT,
                f"{ENDLESS_BYTES >> 20} MiB of one message without an end took {growth >> 20} MiB of memory",
            )
            await self.exchange(site, await self.peer(site), *new_names(1))

    async def _nobody_left(self, site: ChannelSite) -> None:
        await site.until(
            lambda: site.channel.connections == 0,
            "a connection that has ended is no longer counted",
            "medagent.channel.Channel.connections",
            f"`connections` is {site.channel.connections}",
        )
