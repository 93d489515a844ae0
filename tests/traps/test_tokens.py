"""Access tokens: short lives, refused clients, and a server that forgets them all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from medagent.testing.site import Acknowledged, Site, adt


@pytest.mark.parametrize("lifetime", [20.0, 60.0, 300.0])
async def test_a_short_lifetime_makes_no_storm_of_logins(tmp_path: Path, lifetime: float) -> None:
    async with Site(tmp_path, expires_in=lifetime) as site:
        await site.start()
        assert await site.exchange(*(adt(f"M{number}") for number in range(50))) == [
            Acknowledged("AA", f"M{number}") for number in range(50)
        ]
        assert site.fhir.journal.token_requests == 1


async def test_tokens_of_a_second_are_renewed_one_at_a_time_on_the_open_connection(tmp_path: Path) -> None:
    async with Site(tmp_path, expires_in=1.0) as site:
        await site.start()
        device = await site.device()
        loop = asyncio.get_running_loop()
        begin = loop.time()
        number = 0
        while loop.time() - begin < 2.5:
            number += 1
            await device.send(adt(f"M{number}"))
            await device.receive()
        assert 2 <= site.fhir.journal.token_requests <= 6
        assert site.fhir.journal.upgrades == 1
        assert len(site.fhir.journal.executed) == number


async def test_a_server_that_loses_all_tokens_costs_one_login_and_no_message(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        device = await site.device()
        await device.send(adt("A"))
        await device.receive()
        site.fhir.forget_tokens()
        await device.send(*(adt(f"B{number}") for number in range(20)))
        answers = {(await device.receive()).split(b"MSA|")[1].split(b"|")[1] for _ in range(20)}
        assert answers == {b"B%d" % number for number in range(20)}
        assert site.fhir.journal.token_requests == 2
        executed = [frame["body"].split("|")[9] for frame in site.fhir.journal.executed]
        assert sorted(executed) == sorted(["A", *(f"B{number}" for number in range(20))])


async def test_a_wrong_secret_is_told_and_waited_for(tmp_path: Path) -> None:
    async with Site(tmp_path, client_secret="5ecret-of-old") as site:
        site.launch()
        shown = await site.until(lambda shown: "Invalid secret" in str(shown["reasons"]))
        assert "check --client-id and the client secret" in str(shown["reasons"])
        assert "5ecret" not in str(shown)
        assert site.fhir.journal.token_requests <= 2
        # the operator gives the client the secret that the agent has
        site.fhir.client_secret = "5ecret-of-old"
        await site.until(lambda shown: shown["state"] == "ok")
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]


async def test_a_mended_secret_file_ends_the_wait(tmp_path: Path) -> None:
    file = tmp_path / "client-secret"
    file.write_text("5ecret-of-old")
    async with Site(tmp_path, client_secret="5ecret-of-old", secret_file=file) as site:
        site.launch()
        shown = await site.until(lambda shown: "Invalid secret" in str(shown["reasons"]))
        assert f"{file} is read again" in str(shown["reasons"])
        file.write_text(site.fhir.client_secret)
        await site.until(lambda shown: shown["state"] == "ok")
