"""The channel keeps the promises of every channel."""

from __future__ import annotations

import asyncio
import re

from medagent.tasks import Tasks
from medagent.testing.contracts.channel import ChannelContract, Device, Reply, What
from medagent_astm.testing import Analyser, frames


class Instrument:
    """An analyser as the suite wants it."""

    def __init__(self, analyser: Analyser) -> None:
        self._analyser = analyser
        self._replies: asyncio.Queue[Reply | None] = asyncio.Queue()
        self._tasks = Tasks()
        self._tasks.spawn(self._answers(), "answers")
        self._finishing: asyncio.Task[None] | None = None

    async def send(self, name: str) -> None:
        if self._finishing is not None:
            await self._finishing
        if not await self._analyser.begin(frames(f"H|\\^&|{name}||Chem\rP|1\rR|1|^^^GLU|93\rL|1|N\r".encode())):
            self._replies.put_nowait(Reply(name, What.REFUSED))
            return
        self._finishing = self._tasks.spawn(self._finish(name), "reply")

    async def _finish(self, name: str) -> None:
        try:
            taken = await self._analyser.finish()
        except EOFError:
            return
        self._replies.put_nowait(Reply(name, What.ACCEPTED if taken else What.REFUSED))

    async def _answers(self) -> None:
        while text := await self._analyser.received.get():
            [name] = re.findall(r"M\d{6}", text.decode())
            self._replies.put_nowait(Reply(name, What.ANSWERED))
        self._replies.put_nowait(None)

    async def receive(self) -> Reply:
        reply = await self._replies.get()
        if reply is None:
            self._replies.put_nowait(None)
            raise EOFError
        return reply

    async def close(self) -> None:
        await self._tasks.cancel()
        await self._analyser.close()


class TestAstmChannel(ChannelContract):
    address = "astm://127.0.0.1:0?contentionWaitMs=20&busyWaitMs=20&refusalWaitMs=1"
    sends_ahead = False
    kills = 1
    message_start = b"\x05\x021H|\\^&"

    async def connect(self, host: str, port: int) -> Device:
        return Instrument(await Analyser.connect(host, port))
