"""Good and bad frames in one read."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing.mllp import framed
from medagent.testing.site import Acknowledged, Site, adt, read_ack


async def test_a_bad_frame_costs_no_other_frame_of_its_read(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        device = await site.device()
        third = framed(adt("G3"))
        await device.send_raw(framed(adt("G1")) + framed(b"hello world") + framed(b"") + framed(adt("G2")) + third[:40])
        assert [read_ack(await device.receive()) for _ in range(2)] == [Acknowledged("AA", "G1"), Acknowledged("AA", "G2")]
        await device.send_raw(third[40:] + b"junk" + framed(adt("G4")))
        assert [read_ack(await device.receive()) for _ in range(2)] == [Acknowledged("AA", "G3"), Acknowledged("AA", "G4")]
        notices = (await site.status())["channels"][0]["notices"]
        assert sum(notices.values()) >= 3, "each of the bad ones is counted"


@pytest.mark.parametrize(("query", "acknowledged"), [("", ["G6"]), ("?lenientEnd=true", ["G5", "G6"])])
async def test_an_end_without_a_carriage_return_swallows_no_frame(tmp_path: Path, query: str, acknowledged: list[str]) -> None:
    async with Site(tmp_path, {"adt": query}) as site:
        await site.start()
        device = await site.device()
        await device.send_raw(framed(adt("G5"))[:-1] + framed(adt("G6")))
        assert [read_ack(await device.receive()).control_id for _ in acknowledged] == acknowledged
        assert [frame["body"].split("|")[9] for frame in site.fhir.transmits] == acknowledged


async def test_a_message_without_a_control_id_is_answered(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        assert await site.exchange(adt("")) == [Acknowledged("AA", "")]
