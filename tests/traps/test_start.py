"""Starting while something is wrong: the agent says what, waits, and starts when it is mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing.fhir_server import HttpFailure
from medagent.testing.in_process import free_port
from medagent.testing.resources import AGENT_ID
from medagent.testing.site import Acknowledged, Site, adt


async def test_a_wrong_agent_id_ends_nothing(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        right = site.fhir.get("Agent", AGENT_ID)
        assert right is not None
        site.fhir.delete("Agent", AGENT_ID)
        site.launch()
        shown = await site.until(lambda shown: AGENT_ID in str(shown["reasons"]))
        assert shown["state"] == "degraded"
        assert site.running
        site.fhir.put(right)
        await site.until(lambda shown: shown["state"] == "ok")
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]


async def test_a_server_that_is_down_is_waited_for(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.fhir.close()
        port = free_port()
        site.launch(f"http://127.0.0.1:{port}/")
        shown = await site.until(lambda shown: shown["reasons"] and "starting" not in shown["reasons"])
        assert f"127.0.0.1:{port}" in str(shown["reasons"])
        assert site.running
        await site.fhir.start(port=port)
        await site.until(lambda shown: shown["state"] == "ok")
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]


@pytest.mark.parametrize("part", ["token_failure", "fhir_failure", "upgrade_failure"])
async def test_a_server_that_fails_in_part_is_waited_for(tmp_path: Path, part: str) -> None:
    async with Site(tmp_path) as site:
        setattr(site.fhir.faults, part, HttpFailure(503))
        site.launch()
        await site.until(lambda shown: "503" in str(shown["reasons"]))
        setattr(site.fhir.faults, part, None)
        await site.until(lambda shown: shown["state"] == "ok")
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]


async def test_an_endpoint_that_is_missing_sets_only_its_channel_aside(tmp_path: Path) -> None:
    async with Site(tmp_path, {"adt": "", "oru": ""}) as site:
        site.fhir.delete("Endpoint", "oru")
        site.launch()
        shown = await site.until(lambda shown: [channel["state"] for channel in shown["channels"]] == ["listening"])
        assert "Endpoint/oru" in str(shown["reasons"])
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]


async def test_a_port_that_is_taken_holds_up_no_other_channel(tmp_path: Path) -> None:
    port = free_port()
    async with Site(tmp_path / "first", {"held": f"mllp://127.0.0.1:{port}"}) as first:
        await first.start()
        async with Site(tmp_path / "second", {"held": f"mllp://127.0.0.1:{port}", "adt": ""}) as second:
            second.launch()
            shown = await second.until(
                lambda shown: [channel["state"] for channel in shown["channels"]] == ["waiting", "listening"]
            )
            assert f"{port}" in shown["channels"][0]["reason"]
            assert await second.exchange(adt("A")) == [Acknowledged("AA", "A")]
            await first.stop()
            await second.until(lambda shown: shown["state"] == "ok")
            assert await second.exchange(adt("B"), channel="held") == [Acknowledged("AA", "B")]
