"""The real command behind a proxy, with a CA and a certificate of its own: https and wss, or the reason why not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from medagent.admin import call
from medagent.testing.certificates import Authority
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.proxy import ConnectProxy
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

MESSAGE = b"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01^ADT_A01|R1|P|2.5\rPID|1||4711^^^HOSP^MR\r"
LOGIN = "agent:s3cret"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def https_server(authority: Authority) -> FhirServer:
    tls = authority.server_context(authority.issue("server"), clients=True)
    return FhirServer(agent_resource({"adt": "adt"}), [endpoint_resource("adt", "mllp://127.0.0.1:0")], tls=tls)


def agent(fhir: FhirServer, proxy: ConnectProxy, state_dir: Path, ca_file: Path, identity: tuple[Path, Path]) -> AgentProcess:
    cert_file, key_file = identity
    return AgentProcess(
        *server_arguments(fhir.base_url, AGENT_ID, state_dir),
        *("--ca-file", str(ca_file), "--client-cert-file", str(cert_file), "--client-key-file", str(key_file)),
        environ=SERVER_ENVIRON | {"MEDAGENT_PROXY": proxy.url},
    )


async def test_a_message_by_https_and_wss_through_a_proxy(tmp_path: Path, authority: Authority) -> None:
    identity = authority.issue("agent", "agent.example.org")
    async with ConnectProxy(login=LOGIN) as proxy, https_server(authority) as fhir:
        assert fhir.base_url.startswith("https://")
        async with agent(fhir, proxy, tmp_path, authority.ca_file, identity) as process:
            await process.listening("adt")
            async with await MllpClient.connect(*process.addresses["adt"]) as client:
                await client.send(MESSAGE)
                assert b"MSA|AA|R1" in await client.receive()
            status = await asyncio.to_thread(call, tmp_path, "status")
            assert status["uplink"]["state"] == "connected"
            assert await process.stop() == 0
        assert set(proxy.requests) == {f"127.0.0.1:{fhir.port}"}
        assert len(fhir.transmits) == 1
    assert LOGIN not in "\n".join(process.log)


async def test_a_certificate_that_is_not_accepted_is_a_reason_and_no_end(tmp_path: Path, authority: Authority) -> None:
    stranger = Authority(tmp_path / "stranger")
    state_dir = tmp_path / "state"
    identity = authority.issue("agent", "agent.example.org")
    async with (
        ConnectProxy() as proxy,
        https_server(authority) as fhir,
        agent(fhir, proxy, state_dir, stranger.ca_file, identity) as process,
    ):
        line = await process.logged("cannot load the configuration")
        assert "the server's certificate is not accepted: " in line
        assert "; give its CA with --ca-file; trying again" in line
        status = await asyncio.to_thread(call, state_dir, "status")
        assert [reason for reason in status["reasons"] if "give its CA with --ca-file" in reason]
        assert await process.stop() == 0
