"""What else the server asks of an agent: ping, reload, logs, upgrade, and what nobody knows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from medagent import hookimpl
from medagent.agent import Agent
from medagent.errors import PluginError
from medagent.logs import recent_lines
from medagent.plugins import Plugins
from medagent.testing.fhir_server import FhirServer
from medagent.testing.fhir_server.journal import TO_SERVER
from medagent.testing.in_process import connected
from medagent.testing.resources import AGENT_ID, agent_resource
from medagent.uplink.base import ServerRequest

Frame = dict[str, Any]  # as decoded JSON
OFF = "Agent.status is currently set to off"


@pytest.fixture
async def server() -> AsyncIterator[FhirServer]:
    async with FhirServer(agent_resource()) as server:
        yield server


async def ask(server: FhirServer, kind: str, **fields: object) -> Frame:
    return await server.hub.request(AGENT_ID, {"type": kind, **fields}, 10.0)


def body_of(result: Any) -> str:  # an OperationResult with an OperationOutcome
    text: str = result.resource["issue"][0]["details"]["text"]
    return text


async def test_a_ping(server: FhirServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ping").write_text('#!/bin/sh\necho "args: $@"\n')
    (tmp_path / "ping").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    ping = {"destination": "127.0.0.1", "contentType": "x-application/ping", "waitForResponse": True}
    async with connected(server, tmp_path / "state"):
        result = await server.operations.post(AGENT_ID, "$push", {}, ping | {"body": "PING 3"})
        assert (result.status, result.content_type) == (200, "x-application/ping")
        assert result.text == "args: -c 3 -W 2 127.0.0.1"
        result = await server.operations.post(AGENT_ID, "$push", {}, ping | {"body": "PING x"})
        assert result.status == 400
        assert "PING and a number" in body_of(result)


async def test_a_reload_tells_all_problems_or_that_all_is_well(
    server: FhirServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = ["the first", "the second"]

    async def reload(self: Agent) -> list[str]:
        return problems

    monkeypatch.setattr(Agent, "reload", reload)
    async with connected(server, tmp_path):
        result = await server.operations.get(AGENT_ID, "$reload-config", {})
        assert (result.status, body_of(result)) == (400, "the first; the second")
        problems.clear()
        assert (await ask(server, "agent:reloadconfig:request"))["statusCode"] == 200
        assert (await server.operations.get(AGENT_ID, "$reload-config", {})).status == 200


async def test_logs(server: FhirServer, tmp_path: Path) -> None:
    root = logging.getLogger()
    root.addHandler(recent_lines)
    try:
        async with connected(server, tmp_path):
            logging.getLogger("medagent.test").error("the newest line")
            result = await server.operations.get(AGENT_ID, "$fetch-logs", {"limit": "1"})
            assert result.resource is not None
            assert '"msg":"the newest line"' in result.resource["parameter"][0]["valueString"]
            refused = await server.operations.get(AGENT_ID, "$fetch-logs", {"limit": "0"})
            assert body_of(refused) == "the limit must be a whole number from 1 to 1000, found 0"
    finally:
        root.removeHandler(recent_lines)


async def test_an_upgrade_is_refused_honestly(server: FhirServer, tmp_path: Path) -> None:
    async with connected(server, tmp_path):
        result = await server.operations.get(AGENT_ID, "$upgrade", {"version": "9.9.9"})
        assert result.status == 400
        assert "medagent is upgraded on its machine and not by the server" in body_of(result)


async def test_what_nobody_knows_is_an_error_or_without_callback_a_log_line(
    server: FhirServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(server, tmp_path):
        server.hub.publish(AGENT_ID, {"type": "agent:dance:request"})
        frame = await ask(server, "agent:dance:request")
        assert frame["type"] == "agent:error"
        assert "does not serve agent:dance:request" in frame["body"]
        assert caplog.text.count("does not serve agent:dance:request") == 1
        errors = [e.frame for e in server.frames if e.direction == TO_SERVER and e.frame["type"] == "agent:error"]
        assert errors == [frame]


async def test_off_refuses_pushes_and_pings_and_serves_the_rest(server: FhirServer, tmp_path: Path) -> None:
    server.put(agent_resource(status="off"))
    async with connected(server, tmp_path):
        for content_type in ("x-application/hl7-v2+er7", "x-application/ping"):
            frame = await ask(server, "agent:transmit:request", remote="127.0.0.1", contentType=content_type, body="PING")
            assert (frame["type"], frame["body"]) == ("agent:error", OFF)
        assert (await ask(server, "agent:logs:request"))["type"] == "agent:logs:response"
        assert "upgraded on its machine" in (await ask(server, "agent:upgrade:request"))["body"]


class Third:
    """Somebody else's plugin."""

    @hookimpl
    async def medagent_handle_frame(self, frame: ServerRequest) -> bool:
        await asyncio.sleep(0)
        if frame.fields.get("limit") == 1:
            raise PluginError
        return frame.fields.get("limit") == 2


async def test_other_plugins_are_asked_first_and_their_faults_are_their_own(server: FhirServer, tmp_path: Path) -> None:
    plugins = Plugins(entry_points=False)
    plugins.register(Third(), "third")
    async with connected(server, tmp_path, plugins=plugins):
        for limit in (1, 3):
            assert (await ask(server, "agent:logs:request", limit=limit))["type"] == "agent:logs:response"
        with pytest.raises(TimeoutError):
            await server.hub.request(AGENT_ID, {"type": "agent:logs:request", "limit": 2}, 0.1)


async def test_no_refusal_repeats_what_may_be_content_or_a_password(
    server: FhirServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    canary = "PID|1||8000001||CANARY^JANE"
    requests: list[Frame] = [
        {"remote": "10.0.0.1", "body": canary, "contentType": "x-application/ping"},
        {"remote": canary, "body": "PING", "contentType": "x-application/ping"},
        {"remote": canary, "body": "x"},
        {"remote": "mllp://h:1", "body": "x", "contentType": canary},
        {"remote": "mllp://user:CANARY@host", "body": "x"},
        {"remote": "tcp://user:CANARY@host:99", "body": "x"},
    ]
    async with connected(server, tmp_path):
        for fields in requests:
            frame = await ask(server, "agent:transmit:request", **fields)
            assert frame["statusCode"] == 400
            assert "CANARY" not in frame["body"]
        assert "CANARY" not in (await ask(server, f"{canary}:request"))["body"]
    assert "CANARY" not in caplog.text
