"""The main job by the real command: server away, refusals, resends, statistics, stops and crashes."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medagent.admin import call
from medagent.testing import bots
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.queue_file import counters_agree, read_messages
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent.types import State

QUERIES = {"original": "", "enhanced": "?enhanced=true", "aa": "?enhanced=aa"}
CANARY = "ZZCANARY"


def message(control_id: str) -> bytes:
    return (
        f"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01^ADT_A01|{control_id}|P|2.5\r"
        f"PID|1||4711^^^HOSP^MR||{CANARY}^ANNA||19700101|F\r"
    ).encode()


def code_of(answer: bytes) -> str:
    return answer.split(b"MSA|")[1][:2].decode()


def server(**options) -> FhirServer:
    settings = options.pop("settings", {})
    endpoints = [endpoint_resource(name, f"mllp://127.0.0.1:0{query}") for name, query in QUERIES.items()]
    return FhirServer(agent_resource({name: name for name in QUERIES}, settings), endpoints, **options)


def agent(fhir: FhirServer, state_dir: Path, *more: str) -> AgentProcess:
    return AgentProcess(*server_arguments(fhir.base_url, AGENT_ID, state_dir), *more, environ=SERVER_ENVIRON)


async def exchange(process: AgentProcess, channel: str, *bodies: bytes, answers: int | None = None) -> list[str]:
    """Send messages over a connection of their own; returns the acknowledgment codes."""
    async with await MllpClient.connect(*process.addresses[channel]) as client:
        await client.send(*bodies)
        return [code_of(await client.receive()) for _ in range(len(bodies) if answers is None else answers)]


async def test_messages_are_kept_while_the_server_is_away(tmp_path):
    fhir = server()
    await fhir.start()
    port = fhir.port
    async with agent(fhir, tmp_path) as process:
        await process.listening(*QUERIES)
        await process.logged("connected to")
        await fhir.close()
        ids = [f"A{number}" for number in range(50)]
        codes = await exchange(process, "enhanced", *map(message, ids))
        assert codes == ["CA"] * 50
        assert call(tmp_path, "stats")["depth"] == 50
        await fhir.start(port=port)
        await process.drained(tmp_path)
        assert await process.stop() == 0
    await fhir.close()
    assert [control_id(frame["body"]) for frame in fhir.transmits] == ids
    assert {row.state for row in read_messages(tmp_path / "queue.db")} == {State.RESPONSE_UNDELIVERED}


def control_id(body: str) -> str:
    return body.split("|")[9]


NO_RETRY = {"channelAutoRetry": False, "channelGuaranteedDelivery": False}


@pytest.mark.parametrize("settings", [{}, NO_RETRY], ids=["guaranteed", "an end is no failure"])
async def test_what_is_queued_is_sent_after_a_restart(tmp_path, settings):
    fhir = server(bot=bots.silent, settings=settings)
    async with fhir:
        async with agent(fhir, tmp_path) as process:
            await process.listening(*QUERIES)
            assert await exchange(process, "aa", message("B1"), message("B2")) == ["AA", "AA"]
            await fhir.wait_for(2)
            assert await process.stop() == 0
        first = [frame["callback"] for frame in fhir.transmits]
        fhir.bot = bots.acknowledge
        async with agent(fhir, tmp_path) as process:
            await process.listening(*QUERIES)
            await process.drained(tmp_path)
            assert await process.stop() == 0
    # the same keys again, in the same order
    assert [frame["callback"] for frame in fhir.transmits] == first * 2
    rows = read_messages(tmp_path / "queue.db")
    # the one whose end nobody knows does not count
    assert [(row.state, row.attempts) for row in rows] == [(State.PROCESSED, 1)] * 2


async def test_a_refusal_of_the_server_becomes_an_ae(tmp_path):
    async with server(bot=bots.fail) as fhir, agent(fhir, tmp_path) as process:
        await process.listening(*QUERIES)
        assert await exchange(process, "original", message("C1")) == ["AE"]
        assert await exchange(process, "enhanced", message("C2"), answers=2) == ["CA", "AE"]
        assert await exchange(process, "aa", message("C3")) == ["AA"]
        await process.drained(tmp_path)
        assert await process.stop() == 0
    rows = read_messages(tmp_path / "queue.db")
    assert {row.state for row in rows} == {State.REJECTED}
    assert all("OperationOutcome" in (row.error or "") for row in rows)


async def test_what_the_retry_settings_give_up_becomes_an_ae(tmp_path):
    def busy(request: bots.BotRequest) -> bots.BotResult:
        return bots.Reply(503, "busy")

    settings = {"channelAutoRetryMaxAttempts": 2, "channelAutoRetryBaseDelayMs": 10}
    async with server(bot=busy, settings=settings) as fhir, agent(fhir, tmp_path) as process:
        await process.listening(*QUERIES)
        assert await exchange(process, "original", message("C1")) == ["AE"]
        assert await exchange(process, "enhanced", message("C2"), answers=2) == ["CA", "AE"]
        assert await exchange(process, "aa", message("C3")) == ["AA"]
        await process.drained(tmp_path)
        assert await process.stop() == 0
        assert len(fhir.transmits) == 6
    rows = read_messages(tmp_path / "queue.db")
    assert {(row.state, row.attempts, row.error) for row in rows} == {(State.DEAD_LETTER, 2, "busy")}


async def test_an_identical_resend_joins_its_row(tmp_path):
    answer_now = asyncio.Event()

    async def slow(request: bots.BotRequest) -> bots.BotResult:
        await answer_now.wait()
        return bots.acknowledge(request)

    async with server(bot=slow) as fhir, agent(fhir, tmp_path) as process:
        await process.listening(*QUERIES)
        first = await MllpClient.connect(*process.addresses["original"])
        await first.send(message("D1"))
        await fhir.wait_for(1)
        second = await MllpClient.connect(*process.addresses["original"])
        await second.send(message("D1"), message("D2"))
        await fhir.wait_for(2)  # D2: so D1's copy has been committed as well
        answer_now.set()
        answers = [await second.receive(), await second.receive()]
        assert sorted(answer.split(b"MSA|AA|")[1][:2] for answer in answers) == [b"D1", b"D2"]
        # once more, now that there is an answer: the stored one
        await first.send(message("D1"))
        assert code_of(await first.receive()) == "AA"
        await first.close()
        await second.close()
        assert len(fhir.transmits) == 2
        assert await process.stop() == 0
    assert [row.control_id for row in read_messages(tmp_path / "queue.db")] == ["D1", "D2"]


async def test_too_large_a_message_is_refused_before_acceptance(tmp_path):
    async with server(settings={"maxFrameBytes": 8192}) as fhir, agent(fhir, tmp_path) as process:
        await process.listening(*QUERIES)
        large = message("E1") + b"OBX|1|ED|||" + b"A" * 8000 + b"\r"
        assert await exchange(process, "original", large, message("E2")) == ["AR", "AA"]
        assert await exchange(process, "enhanced", large.replace(b"E1", b"E3")) == ["CR"]
        # small in bytes, too large as JSON text
        escaped = message("E4") + b"OBX|1|TX|||" + b"\x01" * 1500 + b"\r"
        assert await exchange(process, "original", escaped) == ["AR"]
        assert await process.stop() == 0
    assert [row.control_id for row in read_messages(tmp_path / "queue.db")] == ["E2"]


async def test_a_message_that_the_server_cannot_take_does_not_hold_up_the_others(tmp_path):
    # the server closes the connection over a frame above its limit, and does not say which one it was
    async with server(settings={"maxFrameBytes": 4_000_000}) as fhir, agent(fhir, tmp_path) as process:
        await process.listening(*QUERIES)
        await process.logged("connected to")
        large = message("L") + b"OBX|1|ED|||" + b"A" * 1_100_000 + b"\r"
        async with await MllpClient.connect(*process.addresses["enhanced"]) as client:
            await client.send(message("S1"), large, message("S2"))
            # the close code may reach the agent (then there is an AE) or get lost with the connection
            acknowledged: set[tuple[bytes, bytes]] = set()
            while (b"AA", b"S2") not in acknowledged:
                code, control = (await client.receive(timeout=60)).split(b"MSA|")[1].rstrip(b"\r").split(b"|")[:2]
                acknowledged.add((code, control))
        assert acknowledged - {(b"AE", b"L")} == {(b"CA", b"S1"), (b"CA", b"L"), (b"CA", b"S2"), (b"AA", b"S1"), (b"AA", b"S2")}
        assert await process.stop() == 0
    states = {row.control_id: row.state for row in read_messages(tmp_path / "queue.db")}
    assert states.pop("L") in (State.DEAD_LETTER, State.ERROR)
    assert states == {"S1": State.RESPONSE_SENT, "S2": State.RESPONSE_SENT}


async def test_statistics_are_logged_and_shown(tmp_path):
    async with server(settings={"logStatsFreqSecs": 1}) as fhir, agent(fhir, tmp_path) as process:
        await process.listening(*QUERIES)
        await exchange(process, "original", *(message(f"F{number}") for number in range(20)))
        await process.drained(tmp_path)
        line = await process.logged("durableQueueReceived=0 durableQueueSent=0 durableQueueResponseQueued=0")
        assert "Agent stats" in line
        stats = await medagent("queue", "stats", "--state-dir", str(tmp_path), "--format", "json")
        status = await medagent("status", "--state-dir", str(tmp_path), "--format", "json")
        assert json.loads(stats.stdout)["channels"]["original"]["states"]["response_sent"] == 20
        assert json.loads(stats.stdout)["channels"]["original"]["since_start"]["answer_ms"]["count"] == 20
        report = json.loads(status.stdout)
        assert (report["state"], report["uplink"]["state"]) == ("ok", "connected")
        assert report["queue"]["accepted"] == 20
        assert await process.stop() == 0
    stopped = await medagent("queue", "stats", "--state-dir", str(tmp_path), "--format", "json")
    assert json.loads(stopped.stdout)["states"]["response_sent"] == 20
    assert (await medagent("status", "--state-dir", str(tmp_path))).returncode == 69


async def medagent(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medagent", *arguments]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=30)


async def test_no_patient_data_in_logs_and_private_files(tmp_path):
    state_dir = tmp_path / "state"
    async with server(bot=bots.fail) as fhir, agent(fhir, state_dir, "--log-level", "debug") as process:
        await process.listening(*QUERIES)
        await exchange(process, "original", message("G1"))
        await exchange(process, "original", message("G2").replace(b"MSH", b"XXX"), answers=0)
        await exchange(process, "enhanced", message("G3"), answers=2)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state_dir.iterdir()}
        assert await process.stop() == 0
    assert set(modes) == {
        "queue.db",
        "queue.db-wal",
        "queue.lock",
        "queue.mark",
        "queue.reserve",
        "admin.sock",
        "snapshot.json",
    }
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    log = "\n".join(process.log)
    assert CANARY not in log
    assert "secret" not in log


@pytest.mark.parametrize("strategy", ["batched", "immediate"])
async def test_a_stop_under_load_loses_nothing_acknowledged(tmp_path, strategy):
    fhir = server(settings={"queueStrategy": strategy})
    async with fhir, agent(fhir, tmp_path) as process:
        await process.listening(*QUERIES)
        acknowledged: set[str] = set()
        halfway = asyncio.Event()
        senders = [
            asyncio.ensure_future(keep_sending(process, f"{channel}-{number}", channel, acknowledged, halfway))
            for channel in ("enhanced", "aa")
            for number in range(3)
        ]
        await halfway.wait()
        assert await process.stop() == 0
        await asyncio.gather(*senders)
    rows = read_messages(tmp_path / "queue.db")
    assert len(acknowledged) > 100
    assert acknowledged <= {row.control_id for row in rows}
    assert counters_agree(tmp_path / "queue.db")


async def keep_sending(process: AgentProcess, name: str, channel: str, acknowledged: set[str], halfway: asyncio.Event) -> None:
    """Send until the agent closes, noting what it has acknowledged."""
    client = await MllpClient.connect(*process.addresses[channel])
    try:
        for number in range(100_000):
            await client.send(message(f"{name}-{number}"))
            while code_of(answer := await client.receive()) == "AA" and channel == "enhanced":
                pass
            acknowledged.add(answer.split(b"MSA|")[1].split(b"|")[1].decode())
            if len(acknowledged) > 100:
                halfway.set()
    except (EOFError, ConnectionError):
        pass
    finally:
        await client.close()


@pytest.mark.parametrize("strategy", ["batched", "immediate"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated twice"])
async def test_a_sudden_end_loses_nothing_acknowledged(tmp_path, strategy, end):
    fhir = server(settings={"queueStrategy": strategy})
    async with fhir:
        acknowledged: set[str] = set()
        async with agent(fhir, tmp_path) as process:
            await process.listening(*QUERIES)
            halfway = asyncio.Event()
            senders = [
                asyncio.ensure_future(keep_sending(process, f"s{number}", "enhanced", acknowledged, halfway))
                for number in range(4)
            ]
            await halfway.wait()
            process.signal(end)
            process.signal(end)
            code = await process.wait()
            await asyncio.gather(*senders)
        assert code in ((-9,) if end is signal.SIGKILL else (0, 128 + 15))
        async with agent(fhir, tmp_path) as process:
            await process.listening(*QUERIES)
            await process.drained(tmp_path)
            assert await process.stop() == 0
    rows = read_messages(tmp_path / "queue.db")
    assert acknowledged <= {row.control_id for row in rows}
    assert {row.state for row in rows} <= {State.RESPONSE_SENT, State.RESPONSE_UNDELIVERED}
    delivered = {control_id(frame["body"]) for frame in fhir.transmits}
    assert acknowledged <= delivered
    assert counters_agree(tmp_path / "queue.db")


async def test_a_second_agent_leaves_or_waits(tmp_path):
    async with server() as fhir, agent(fhir, tmp_path) as first:
        await first.listening(*QUERIES)
        async with agent(fhir, tmp_path, "--no-wait") as refused:
            assert await refused.wait() == 75
            assert f"process {first.pid} holds the queue" in "\n".join(refused.log)
        async with agent(fhir, tmp_path) as waiting:
            await waiting.logged(f"process {first.pid} holds the queue")
            await first.kill()
            await waiting.listening(*QUERIES)
            assert await exchange(waiting, "original", message("H1")) == ["AA"]
            assert await waiting.stop() == 0


async def test_without_a_server_messages_are_kept(tmp_path):
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [
            {"resource": agent_resource({"lab": "lab"})},
            {"resource": endpoint_resource("lab", "mllp://127.0.0.1:0?enhanced=true")},
        ],
    }
    (tmp_path / "agent.json").write_text(json.dumps(bundle))
    state_dir = tmp_path / "state"
    async with AgentProcess("--agent", str(tmp_path / "agent.json"), "--state-dir", str(state_dir)) as process:
        await process.listening("lab")
        assert await exchange(process, "lab", message("I1")) == ["CA"]
        assert await process.stop() == 0
    assert [row.state for row in read_messages(state_dir / "queue.db")] == [State.RECEIVED]


async def test_a_missing_file_ends_the_start(tmp_path):
    async with AgentProcess("--agent", str(tmp_path / "none.json"), "--state-dir", str(tmp_path)) as process:
        assert await process.wait() == 78
    assert "none.json" in process.log[-1]
