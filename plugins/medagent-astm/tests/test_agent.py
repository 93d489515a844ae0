"""The whole: an analyser, an agent with its queue, and the embedded FHIR server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from medagent.testing.bots import BotRequest
from medagent.testing.site import Site
from medagent.types import State
from medagent_astm.testing import ACK, ENQ, Analyser, frame, frames

RESULT = b"H|\\^&|17||Chem^2\rP|1||4711||M\xfcller\rR|1|^^^GLU|93\rL|1|N\r"
QUERY = b"H|\\^&|18||Chem^2\rQ|1|^S-18||ALL\rL|1|N\r"
ORDER = b"H|\\^&|||Host\rP|1||4711\rO|1|S-18||^^^GLU\rL|1|F\r"


def orders(request: BotRequest) -> str:
    """A host that answers queries with orders, and results with a text that is no message."""
    return ORDER.decode() if "\rQ|" in request.body else "stored"


@contextlib.asynccontextmanager
async def running(folder: Path, parameters: str = "") -> AsyncIterator[tuple[Site, str, int]]:
    async with Site(folder, {"lab": f"astm://127.0.0.1:0{parameters}"}, bot=orders) as site:
        await site.start()
        [channel] = (await site.status())["channels"]
        host, _, port = channel["address"].rpartition(":")
        yield site, host, int(port)


async def test_a_result_is_stored_forwarded_and_settled(tmp_path: Path) -> None:
    async with running(tmp_path) as (site, host, port):
        async with await Analyser.connect(host, port) as analyser:
            assert await analyser.send(RESULT)
        await site.drained()
        await site.stop()
        [transmit] = site.fhir.transmits
        assert (transmit["contentType"], transmit["body"]) == ("x-application/astm-e1394", RESULT.decode("latin-1"))
        [row] = site.rows()
        assert (row.state, row.body, row.control_id) == (State.PROCESSED, RESULT, "17")


async def test_a_query_is_answered_through_refusals_and_contention(tmp_path: Path) -> None:
    async with running(tmp_path, "?contentionWaitMs=5&busyWaitMs=5") as (site, host, port):
        async with await Analyser.connect(host, port) as analyser:
            analyser.crossings, analyser.busy, analyser.refusals = 1, 1, 2
            assert await analyser.send(QUERY)
            assert await analyser.received.get() == ORDER
            await site.drained()
            [channel] = (await site.status())["channels"]
            assert channel["notices"] == {"contention": 1, "line not granted": 1}
        await site.stop()
        assert [row.state for row in site.rows()] == [State.RESPONSE_SENT]


async def test_a_message_sent_again_is_stored_once_and_answered_again(tmp_path: Path) -> None:
    async with running(tmp_path) as (site, host, port):
        async with await Analyser.connect(host, port) as analyser:
            await analyser.begin(frames(QUERY))
        await site.drained()
        async with await Analyser.connect(host, port) as analyser:
            assert await analyser.send(QUERY)
            assert await analyser.received.get() == ORDER
            assert await analyser.say(ENQ) == ACK
        await site.stop()
        assert [row.state for row in site.rows()] == [State.RESPONSE_SENT]
        assert len(site.fhir.transmits) == 1


async def test_damaged_frames_are_sent_again(tmp_path: Path) -> None:
    async with running(tmp_path) as (site, host, port), await Analyser.connect(host, port) as analyser:
        await analyser.ask()
        for number, record in enumerate(RESULT.split(b"\r")[:-1], 1):
            good = frame(number, record + b"\r")
            assert await analyser.say(good.replace(b"|", b"!", 1)) != ACK
            assert await analyser.say(good) == ACK
            if number == 1:
                assert await analyser.say(good) == ACK
        assert await analyser.say(b"\x04" + ENQ) == ACK
        await site.drained()
        assert [transmit["body"] for transmit in site.fhir.transmits] == [RESULT.decode("latin-1")]


async def test_what_was_acknowledged_outlives_an_agent_that_the_server_does_not_answer(tmp_path: Path) -> None:
    async with running(tmp_path) as (site, host, port):
        site.fhir.faults.mute = True
        async with await Analyser.connect(host, port) as analyser:
            assert await analyser.send(RESULT)
        await site.stop()
        assert [row.body for row in site.rows()] == [RESULT]
