"""The agent in the test's own process."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing.site import Acknowledged, Site, adt, read_ack


def test_an_acknowledgment_is_read_wherever_its_msa_segment_stands() -> None:
    assert read_ack(b"MSH|^~\\&|A\rSFT|x\rMSA|CE|7|why\r") == Acknowledged("CE", "7")
    with pytest.raises(ValueError, match="MSA"):
        read_ack(b"MSH|^~\\&|A\r")


async def test_it_runs_is_asked_and_ends(tmp_path: Path) -> None:
    async with Site(tmp_path, {"adt": "", "oru": "?enhanced=true"}) as site:
        await site.start()
        assert site.running
        assert await site.exchange(adt("A"), channel="oru", answers=2) == [Acknowledged("CA", "A"), Acknowledged("AA", "A")]
        await site.drained()
        await site.stop()
        assert not site.running
        assert [(row.channel, row.control_id) for row in site.rows()] == [("oru", "A")]
