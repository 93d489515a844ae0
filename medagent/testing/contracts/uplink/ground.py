"""What the parts of `UplinkContract` share."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from medagent.testing.contracts.promise import Contract, expect
from medagent.testing.contracts.uplink.site import ServerControl, UplinkSite, transmits
from medagent.uplink.base import Transmit, Uplink, UplinkContext

UPLINK = "medagent.uplink.base.Uplink"
HANDLER = "medagent.uplink.base.UplinkHandler"
PLENTY = 256
"""Messages of `LONG` characters: more than any socket or buffer should take at once."""
LONG = 256 * 1024
AWAY = ("waiting", "connecting")
"""States of an uplink that runs and is not connected."""


# the control that the author's server has
Server = TypeVar("Server", bound=ServerControl)


class UplinkGround(Contract, Generic[Server]):
    """The factories, and uplinks at work."""

    @abstractmethod
    def server(self) -> AbstractAsyncContextManager[Server]:
        """A server that listens, and has ended after the block."""

    @abstractmethod
    def make(self, server: Server, context: UplinkContext) -> Uplink:
        """A new uplink to that server."""

    @contextlib.asynccontextmanager
    async def site(self) -> AsyncIterator[UplinkSite]:
        """Not started yet."""
        async with self.server() as server:
            site = UplinkSite(server, lambda context: self.make(server, context))
            try:
                yield site
            finally:
                server.read(True)
                await self.stop(site)

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[UplinkSite]:
        async with self.site() as site:
            site.start()
            await self.told(site, "connected", 1)
            yield site

    async def stop(self, site: UplinkSite) -> None:
        if site.run is not None:
            site.run.cancel()
            await self.within(asyncio.wait([site.run]), "run() has not ended after it was cancelled")

    async def told(self, site: UplinkSite, call: str, times: int) -> None:
        """Wait until the core was told so often."""
        await self.until(
            lambda: site.times(call) >= times,
            lambda: f"the core was not told {call!r} {times} time(s), but {site.times(call)}; {site.state}",
        )

    async def arrived(self, site: UplinkSite, messages: Sequence[Transmit]) -> None:
        """Wait until the server has got as many messages, and see that they are these."""
        wanted = [(one.callback, one.body) for one in messages]
        await self.until(
            lambda: len(site.server.received) >= len(wanted),
            lambda: f"the server has got {len(site.server.received)} of {len(wanted)} messages; {site.state}",
        )
        got = [name for name, _ in site.server.received]
        expect(list(site.server.received) == wanted, f"the server has got {got[:10]}, not {[name for name, _ in wanted][:10]}")

    async def works(self, site: UplinkSite, after: str) -> None:
        before = len(site.server.received)
        [one] = transmits(before, before + 1)
        expect(site.uplink.transmit([one]) == 1, f"{after} it takes no message; {site.state}")
        await self.until(
            lambda: site.server.received[before:] == [(one.callback, one.body)],
            lambda: f"{after} the message has not arrived; {site.state}",
        )
