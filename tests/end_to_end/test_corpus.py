"""Public sample messages through the real command, in every acknowledgment mode, with both strategies."""

from __future__ import annotations

import pytest

from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.queue_file import counters_agree, read_messages
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent.testing.shared import corpus
from medagent.types import State

MODES = {"original": "", "enhanced": "?enhanced=true", "aa": "?enhanced=aa"}
CODES = {"original": [b"AA"], "enhanced": [b"CA", b"AA"], "aa": [b"AA"]}
ENDED = {"original": State.RESPONSE_SENT, "enhanced": State.RESPONSE_SENT, "aa": State.PROCESSED}
BOM = b"\xef\xbb\xbf"


def with_control_id(body: bytes, control_id: bytes) -> bytes:
    """The corpus repeats control IDs; nothing else of a message is changed."""
    start = body.index(b"MSH")
    separator = body[start + 3 : start + 4]
    fields = body[start:].split(separator, 10)
    fields[9] = control_id
    return body[:start] + separator.join(fields)


def forwarded(body: bytes) -> str:
    """What the server must see of it (the corpus is UTF-8): no BOM, segments ended by CR."""
    return body.removeprefix(BOM).decode().replace("\r\n", "\r").replace("\n", "\r")


@pytest.mark.skipif(corpus() is None, reason="the public corpus does not lie beside this checkout")
@pytest.mark.parametrize("strategy", ["batched", "immediate"])
async def test_every_message_goes_through(tmp_path, strategy):
    folder = corpus()
    assert folder is not None
    files = sorted(folder.glob("*.hl7"))
    assert len(files) == 74
    endpoints = [endpoint_resource(mode, f"mllp://127.0.0.1:0{query}") for mode, query in MODES.items()]
    agent = agent_resource({mode: mode for mode in MODES}, {"queueStrategy": strategy})
    sent: dict[tuple[str, str], bytes] = {}

    async with (
        FhirServer(agent, endpoints) as server,
        AgentProcess(*server_arguments(server.base_url, AGENT_ID, tmp_path), environ=SERVER_ENVIRON) as process,
    ):
        await process.listening(*MODES)
        for mode in MODES:
            async with await MllpClient.connect(*process.addresses[mode]) as client:
                for number, file in enumerate(files):
                    control_id = f"{mode}{number}"
                    body = with_control_id(file.read_bytes(), control_id.encode())
                    sent[mode, control_id] = body
                    await client.send(body)
                    for code in CODES[mode]:
                        answer = await client.receive()
                        assert b"\rMSA" in answer, file.name
                        msa = answer.split(b"\rMSA")[1].rstrip(b"\r").split(b"\r")[0]
                        separator = body[body.index(b"MSH") + 3 :][:1]
                        assert msa.split(separator)[1:3] == [code, control_id.encode()], file.name
        await process.drained(tmp_path)
        texts = {(frame["channel"], frame["body"]) for frame in server.transmits}
        assert await process.stop() == 0

    queue = tmp_path / "queue.db"
    stored = read_messages(queue)
    assert {(message.channel, message.control_id): message.body for message in stored} == sent
    assert texts == {(mode, forwarded(body)) for (mode, _), body in sent.items()}
    assert [message for message in stored if message.state is not ENDED[message.channel]] == []
    assert counters_agree(queue)
