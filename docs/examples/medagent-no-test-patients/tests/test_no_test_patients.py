"""Tests of the transform: by itself, and in an agent between a device and a FHIR server."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.config.model import ChannelConfig, Value
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.queue_file import read_messages
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent.types import State
from medagent_no_test_patients import medagent_make_transform


def message(control_id: str, processing_id: str) -> str:
    header = (
        f"MSH|^~\\&|LAB|NORTH|AGENT|MAIN|20260102||ADT^A08|{control_id}|{processing_id}|2.5.1"
    )
    return header + "\rPID|1||8000001\r"


def transformed(text: str, **parameters: Value) -> str | None:
    """What the plugin makes of a text."""
    transform = medagent_make_transform(
        ChannelConfig("adt", "mllp", "127.0.0.1", 2575, "mllp://127.0.0.1:2575", parameters)
    )
    assert transform is not None
    return transform(text)


@pytest.mark.parametrize(
    ("processing_id", "kept"),
    [("P", False), ("T", True), ("t^I", True), ("D", True), ("", False)],
)
def test_the_processing_id_decides(processing_id: str, kept: bool) -> None:
    assert (transformed(message("1", processing_id), notForwarded="T, D") is None) is kept


def test_only_the_receiving_facility_is_changed() -> None:
    assert transformed(message("1", "T"), forwardedFacility="H1") == message("1", "T").replace(
        "|MAIN|", "|H1|"
    )
    assert transformed("MSH#*\r", forwardedFacility="H1") == "MSH#*\r", (
        "a short header stays as it is"
    )


def test_a_channel_without_the_parameters_has_no_transform() -> None:
    assert (
        medagent_make_transform(
            ChannelConfig("adt", "mllp", "127.0.0.1", 2575, "mllp://127.0.0.1:2575")
        )
        is None
    )


MODES = {
    "original": ("enhanced=false", ["AA"]),
    "enhanced": ("enhanced=true", ["CA", "AA"]),
    "aa": ("enhanced=aa", ["AA"]),
}


async def test_the_device_is_told_that_all_is_well_and_the_server_hears_nothing(
    tmp_path: Path,
) -> None:
    endpoints = [
        endpoint_resource(
            name, f"mllp://127.0.0.1:0?{mode}&notForwarded=T&forwardedFacility=H1"
        )
        for name, (mode, _) in MODES.items()
    ]
    async with FhirServer(agent_resource({name: name for name in MODES}), endpoints) as server:
        arguments = server_arguments(server.base_url, AGENT_ID, tmp_path)
        async with AgentProcess(*arguments, environ=SERVER_ENVIRON) as agent:
            await agent.listening(*MODES)
            for name, (_, codes) in MODES.items():
                async with await MllpClient.connect(*agent.addresses[name]) as device:
                    for _ in ("sent", "sent again"):
                        await device.send(message("TEST1", "T").encode())
                        for code in codes:
                            assert f"\rMSA|{code}|TEST1" in (await device.receive()).decode()
                    await device.send(message("REAL1", "P").encode())
                    for _ in codes:
                        await device.receive()
            await server.wait_for(len(MODES))
            assert await agent.stop() == 0
    assert {transmit["body"] for transmit in server.transmits} == {
        message("REAL1", "P").replace("|MAIN|", "|H1|")
    }
    rows = read_messages(tmp_path / "queue.db")
    assert [row.control_id for row in rows if row.state is State.FILTERED] == ["TEST1"] * len(
        MODES
    )
    assert len(rows) == 2 * len(MODES)
