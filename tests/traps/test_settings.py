"""What a FHIR server stores without complaint and no agent can mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing.fhir_server.jsontext import JsonObject
from medagent.testing.in_process import free_port
from medagent.testing.resources import AGENT_ID, channel
from medagent.testing.site import Acknowledged, Site, adt

SETTINGS: list[tuple[str, JsonObject]] = [
    ("a wrong type", {"name": "batchSize", "valueString": "50"}),
    ("a decimal", {"name": "maxInFlight", "valueDecimal": 5.5}),
    ("two values", {"name": "batchFlushMs", "valueInteger": 50, "valueString": "50"}),
    ("out of bounds", {"name": "maxFrameBytes", "valueInteger": -5}),
    ("misspelt", {"name": "batchsize", "valueInteger": 50}),
]


async def test_settings_that_cannot_be_meant_are_told_and_the_agent_runs(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        agent = site.fhir.get("Agent", AGENT_ID)
        assert agent is not None
        site.fhir.put(agent | {"setting": [setting for _, setting in SETTINGS]})
        site.launch()
        shown = await site.until(lambda shown: [each["state"] for each in shown["channels"]] == ["listening"])
        for index, (what, _) in enumerate(SETTINGS):
            assert f"Agent.setting[{index}]" in str(shown["problems"]), what
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]


@pytest.mark.parametrize("query", ["?enhanced=banana", "?messagesPerMin=12abc", "?enhanced=true&appLevelAck=XX"])
async def test_parameters_that_cannot_be_meant_are_told(tmp_path: Path, query: str) -> None:
    async with Site(tmp_path, {"adt": query}) as site:
        site.launch()
        shown = await site.until(lambda shown: [each["state"] for each in shown["channels"]] == ["listening"])
        assert query.rpartition("=")[0].rpartition("&")[2].strip("?") in str(shown["problems"])


@pytest.mark.parametrize("same", ["name", "port"])
async def test_channels_that_are_in_each_others_way_are_told_and_the_first_runs(tmp_path: Path, same: str) -> None:
    async with Site(tmp_path, {"adt": f"mllp://127.0.0.1:{free_port()}"}) as site:
        agent = site.fhir.get("Agent", AGENT_ID)
        assert agent is not None
        second = channel("adt" if same == "name" else "oru", "adt")
        site.fhir.put(agent | {"channel": [channel("adt", "adt"), second]})
        site.launch()
        shown = await site.until(lambda shown: [each["state"] for each in shown["channels"]] == ["listening"])
        assert shown["channels"][0]["name"] == "adt"
        assert "Agent.channel[1]" in str(shown["problems"])
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]
