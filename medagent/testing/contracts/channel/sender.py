"""A device that lives longer than the agents it talks to: it resends what it was not told is safe, before anything new."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from medagent.testing.contracts.channel.device import Device, What
from medagent.testing.contracts.channel.site import GONE, Peer, new_names

Connect = Callable[[str, int], Awaitable[Device]]


class Sender:
    """Messages in order, over one connection after the other."""

    def __init__(self, connect: Connect, *, window: int, told_of: bool, patience: float) -> None:
        """`window`: messages on the way at most; `told_of`: whether the protocol has a positive reply at all."""
        self._connect = connect
        self._window = window
        self._told_of = told_of
        self._patience = patience
        self.sent: list[str] = []
        """Names, in the order in which they were sent first."""
        self.unsafe: list[str] = []
        """Those of which it does not know that they are safe."""
        self.safe: set[str] = set()
        """Those of which it was told that they are."""

    async def run(self, address: tuple[str, int], *, new: bool = True) -> None:
        """Send until the agent goes; without `new` messages until all are safe. Raises nothing that a lost agent causes."""
        with contextlib.suppress(*GONE):
            peer = Peer(await self._connect(*address), self._patience)
            try:
                await self._talk(peer, new=new)
            finally:
                await peer.close()

    async def _talk(self, peer: Peer, *, new: bool) -> None:
        waiting = list(self.unsafe)
        on_the_way = 0
        while waiting or on_the_way or new:
            while on_the_way < self._window and (waiting or new):
                name = waiting.pop(0) if waiting else self._next()
                on_the_way += 1
                await peer.send(name)
            if not self._told_of:
                on_the_way = 0
                self.unsafe.clear()
                await asyncio.sleep(0.01)
                continue
            replies = await peer.receive()
            if not replies:
                return
            for reply in replies:
                if reply.what is not What.REFUSED and reply.name in self.unsafe:
                    self.unsafe.remove(reply.name)
                    self.safe.add(reply.name)
                    on_the_way -= 1

    def _next(self) -> str:
        (name,) = new_names(1)
        self.sent.append(name)
        self.unsafe.append(name)
        return name
