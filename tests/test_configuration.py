"""A start without the server: by what was kept, whatever keeps the server away, until the server gives its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medagent import loading
from medagent.agent import Agent
from medagent.config.bootstrap import Bootstrap
from medagent.config.snapshot import SNAPSHOT_NAME
from medagent.testing.fhir_server import FhirServer
from medagent.testing.fhir_server.faults import HttpFailure
from medagent.testing.in_process import bootstrap, free_port, running
from medagent.testing.mllp import MllpClient
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

MESSAGE = b"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01^ADT_A01|K1|P|2.5\rPID|1||4711\r"


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "FIRST_RETRY", 0.05)
    monkeypatch.setattr(loading, "RETRY_CAP", 0.05)


def server(port: int) -> FhirServer:
    return FhirServer(agent_resource({"adt": "adt"}), [endpoint_resource("adt", f"mllp://127.0.0.1:{port}?enhanced=true")])


async def started_once(tmp_path: Path, port: int) -> Bootstrap:
    """An agent has worked with the server, and both are gone."""
    async with server(port) as fhir:
        start = bootstrap(fhir, tmp_path)
        async with running(start) as agent:
            await listening(agent)
    return start


async def listening(agent: Agent) -> None:
    assert agent.pipeline is not None
    while any(channel.state != "listening" for channel in agent.pipeline.supervisor.channels):
        await asyncio.sleep(0)


async def acknowledged(port: int) -> bytes:
    async with await MllpClient.connect("127.0.0.1", port) as device:
        await device.send(MESSAGE)
        return await device.receive()


async def test_the_configuration_that_worked_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    await started_once(tmp_path, free_port())
    kept = tmp_path / SNAPSHOT_NAME
    assert kept.stat().st_mode & 0o777 == 0o600
    assert b"secret" not in kept.read_bytes()


async def test_without_the_server_it_listens_and_catches_up_when_the_server_is_back(tmp_path: Path) -> None:
    port, moved = free_port(), free_port()
    start = await started_once(tmp_path, port)
    async with running(start) as agent:
        await listening(agent)
        assert b"MSA|CA|K1" in await acknowledged(port)
        assert agent.configuration is not None
        assert agent.configuration.saved_at is not None
        assert agent.not_configured.startswith("cannot load the configuration: ")
        async with _at(start, server(moved)) as fhir:
            await fhir.wait_for(1)
            while agent.configuration.saved_at is not None:
                await asyncio.sleep(0.01)  # until the next try
            assert agent.not_configured == ""
            assert agent.configuration.changes == f"adt: moved to port {moved}"
            assert b"MSA|CA|K1" in await acknowledged(moved)


class _at:  # noqa: N801  reads as what it does
    """The server at the address that the agent knows."""

    def __init__(self, start: Bootstrap, fhir: FhirServer) -> None:
        self._port = int(start.base_url.rstrip("/").rpartition(":")[2])
        self._fhir = fhir

    async def __aenter__(self) -> FhirServer:
        await self._fhir.start(port=self._port)
        return self._fhir

    async def __aexit__(self, *_: object) -> None:
        await self._fhir.close()


def _down(fhir: FhirServer) -> None:
    fhir.faults.token_failure = HttpFailure(503)


def _other_id(fhir: FhirServer) -> None:
    fhir.delete("Agent", AGENT_ID)


@pytest.mark.parametrize("fault", [_down, _other_id], ids=["token server down", "no such Agent"])
async def test_whatever_the_fault_it_listens_by_what_was_kept(tmp_path: Path, fault: Callable[[FhirServer], None]) -> None:
    port = free_port()
    start = await started_once(tmp_path, port)
    async with _at(start, server(port)) as fhir:
        fault(fhir)
        async with running(start) as agent:
            await listening(agent)
            assert b"MSA|CA|K1" in await acknowledged(port)


async def test_with_a_wrong_secret_too(tmp_path: Path) -> None:
    port = free_port()
    start = await started_once(tmp_path, port)
    async with _at(start, server(port)), running(replace(start, client_secret="wrong")) as agent:
        await listening(agent)
        assert "refuses client" in agent.not_configured


async def test_a_server_that_does_not_answer_holds_it_up_only_for_a_moment(tmp_path: Path) -> None:
    port = free_port()
    start = await started_once(tmp_path, port)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, *start.base_url[7:-1].split(":"))
    async with silent, running(start) as agent:
        await listening(agent)
        assert b"MSA|CA|K1" in await acknowledged(port)


async def test_another_agents_configuration_is_not_used(tmp_path: Path) -> None:
    start = await started_once(tmp_path, free_port())
    agent, stop = Agent(replace(start, agent_id="another")), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.run(stop))
        while not agent.not_configured.startswith("cannot load"):
            await asyncio.sleep(0.01)  # until the first try has failed
        assert agent.pipeline is None
        stop.set()


async def test_what_cannot_run_is_not_kept_and_does_not_take_the_place_of_what_was(tmp_path: Path) -> None:
    port = free_port()
    start = await started_once(tmp_path, port)
    async with running(start) as agent:
        await listening(agent)
        fhir = server(port)
        fhir.put(agent_resource({"adt": "gone"}))
        async with _at(start, fhir):
            assert agent.configuration is not None
            while not agent.configuration.refused:
                await asyncio.sleep(0.01)  # until the next try
            assert "Endpoint/gone" in agent.configuration.refused[0]
            assert b"MSA|CA|K1" in await acknowledged(port)
    assert "gone" not in json.dumps((tmp_path / SNAPSHOT_NAME).read_text())


async def test_a_configuration_that_would_cost_a_channel_does_not_come_into_force_by_a_restart_either(tmp_path: Path) -> None:
    port = free_port()
    start = await started_once(tmp_path, port)
    fhir = server(port)
    fhir.put(agent_resource({"adt": "gone"}, {"maxInFlight": 7}))
    async with _at(start, fhir), running(start) as agent:
        await listening(agent)
        assert b"MSA|CA|K1" in await acknowledged(port)
        assert agent.config is not None
        assert agent.config.max_in_flight == 1000
        assert agent.configuration is not None
        assert "Endpoint/gone" in agent.configuration.refused[0]
        fhir.put(agent_resource({"adt": "adt"}, {"maxInFlight": 7}))
        assert await agent.reload() == []
        assert agent.config.max_in_flight == 7
        assert agent.configuration.saved_at is None


async def test_a_channel_that_could_not_run_from_the_beginning_holds_up_no_reload(tmp_path: Path) -> None:
    port = free_port()
    async with server(port) as fhir:
        fhir.put(agent_resource({"adt": "adt", "lab": "gone"}))
        async with running(bootstrap(fhir, tmp_path)) as agent:
            await listening(agent)
            fhir.put(agent_resource({"adt": "adt", "lab": "gone"}, {"maxInFlight": 7}))
            assert await agent.reload() == []
            assert agent.configuration is not None
            assert agent.configuration.changes == "maxInFlight 1000 → 7"
            assert any("Endpoint/gone" in fault for fault in agent.configuration.faults)
            fhir.put(agent_resource({"adt": "gone", "lab": "gone"}))
            assert "Endpoint/gone" in (await agent.reload())[0]
            assert b"MSA|CA|K1" in await acknowledged(port)
