"""Access tokens that end, or are taken back, while messages are on their way."""

from __future__ import annotations

import asyncio
from pathlib import Path

from medagent.admin import call
from medagent.testing import bots
from medagent.testing.fhir_server import FhirServer, HttpFailure
from medagent.testing.mllp import MllpClient
from medagent.testing.resources import agent_resource, endpoint_resource
from medagent.testing.restartable import RestartableAgent

AGENT = agent_resource({"adt": "adt"}, {"maxInFlight": 10})
ENDPOINT = endpoint_resource("adt", "mllp://127.0.0.1:0?enhanced=true&appLevelAck=NE")


def message(number: int) -> bytes:
    return f"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01^ADT_A01|M{number}|P|2.5.1\rPID|1||4711\r".encode()


async def test_taken_back_they_cost_one_login_one_connection_and_no_message(tmp_path: Path) -> None:
    async with FhirServer(AGENT, [ENDPOINT], bot=bots.silent) as fhir:
        world = RestartableAgent(fhir, tmp_path, ["adt"])
        async with world.agent() as process, await MllpClient.connect(*process.addresses["adt"]) as device:
            await device.send(message(1), message(2))
            await fhir.wait_for(lambda fhir: fhir.journal.executed_count == 2)
            fhir.forget_tokens()
            fhir.bot = bots.acknowledge
            await device.send(message(3))
            await process.drained(tmp_path)
            assert await process.stop() == 0
    unanswered, refused, again = fhir.transmits[:2], fhir.transmits[2], fhir.transmits[3:]
    assert [frame["callback"] for frame in again] == [frame["callback"] for frame in [*unanswered, refused]]
    assert (fhir.journal.token_requests, fhir.journal.upgrades, fhir.journal.refused_tokens) == (2, 2, 1)


async def test_without_one_messages_are_accepted_and_wait_and_the_status_says_why(tmp_path: Path) -> None:
    async with FhirServer(AGENT, [ENDPOINT], expires_in=1) as fhir:
        world = RestartableAgent(fhir, tmp_path, ["adt"])
        async with world.agent() as process, await MllpClient.connect(*process.addresses["adt"]) as device:
            await fhir.wait_for(lambda fhir: fhir.journal.connects == 1)
            fhir.faults.token_failure = HttpFailure(429, retry_after=2)
            await process.logged("there is no access token")
            await device.send(message(1))
            assert b"MSA|CA|M1" in await device.receive()
            status = await asyncio.to_thread(call, tmp_path, "status")
            assert (status["state"], status["uplink"]["state"]) == ("degraded", "waiting")
            assert "429" in status["uplink"]["detail"]
            assert fhir.journal.transmit_count == 0
            fhir.faults.token_failure = None
            await process.drained(tmp_path)
            assert await process.stop() == 0
    assert fhir.journal.executed_count == 1
