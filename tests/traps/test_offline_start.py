"""The server is away when the agent starts, and it has been there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing.fhir_server import HttpFailure
from medagent.testing.resources import AGENT_ID
from medagent.testing.site import Acknowledged, Site, Status, adt


def listens(shown: Status) -> bool:
    return [channel["state"] for channel in shown["channels"]] == ["listening"]


@pytest.mark.parametrize("fault", ["down", "no token", "wrong id"])
async def test_it_listens_as_it_did_last_and_says_so(tmp_path: Path, fault: str) -> None:
    async with Site(tmp_path, {"adt": "?enhanced=true"}) as site:
        await site.start()
        await site.stop()
        agent, base_url = site.fhir.get("Agent", AGENT_ID), site.fhir.base_url
        assert agent is not None
        if fault == "down":
            port = site.fhir.port
            await site.fhir.close()
        elif fault == "no token":
            site.fhir.faults.token_failure = HttpFailure(503)
        else:
            site.fhir.delete("Agent", AGENT_ID)
        site.launch(base_url)
        shown = await site.until(listens, timeout=3.0)
        assert shown["state"] == "degraded"
        assert await site.exchange(adt("A")) == [Acknowledged("CA", "A")]
        if fault == "down":
            await site.fhir.start(port=port)
        site.fhir.faults.token_failure = None
        site.fhir.put(agent)
        await site.drained()
        assert [frame["body"].split("|")[9] for frame in site.fhir.journal.executed] == ["A"]


async def test_no_file_of_the_agent_holds_the_secret_or_a_token(tmp_path: Path) -> None:
    async with Site(tmp_path, client_secret="5ecret-of-old") as site:
        site.fhir.client_secret = "5ecret-of-old"
        await site.start()
        token = site.fhir.frames[0].frame["accessToken"]
        await site.stop()
        files = [path for path in tmp_path.iterdir() if path.is_file()]
        assert any("snapshot" in path.name for path in files)
        for path in files:
            assert path.stat().st_mode & 0o777 == 0o600
            assert b"5ecret" not in path.read_bytes()
            assert token.encode() not in path.read_bytes()
