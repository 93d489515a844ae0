"""A device, a real agent and a FHIR server whose Bot reads and writes hexadecimal text."""

from __future__ import annotations

import asyncio

from medagent.testing.bots import BotRequest, BotResult
from medagent.testing.pytest_plugin import MakeSite
from medagent.types import State

ADDRESS = "tcp://127.0.0.1:0?startChar=%02&endChar=%03&ackBytes=06&nakBytes=15"


def bot(request: BotRequest) -> BotResult:
    """Says the message backwards, or nothing."""
    text = bytes.fromhex(request.body)[1:-1]
    return "" if text == b"quiet" else (b"\x02" + text[::-1] + b"\x03").hex()


async def test_a_message_goes_to_the_bot_and_its_answer_to_the_device(medagent_agent: MakeSite) -> None:
    async with medagent_agent(channels={"monitor": ADDRESS}, bot=bot) as site, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(*await site.address("monitor"))
        writer.write(b"\x02HR 72\x03")
        assert await reader.readexactly(8) == b"\x06\x0227 RH\x03"
        writer.write(b"\x02quiet\x03")
        assert await reader.readexactly(1) == b"\x06"
        await site.drained()
        writer.close()
        await site.stop()
        first, second = site.fhir.transmits
        stored = site.rows()
    assert (first["contentType"], first["body"]) == ("application/octet-stream", "02485220373203")
    assert second["body"] == b"\x02quiet\x03".hex()
    assert [(message.body, message.state) for message in stored] == [
        (b"\x02HR 72\x03", State.RESPONSE_SENT),
        (b"\x02quiet\x03", State.PROCESSED),
    ]
