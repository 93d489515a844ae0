"""Looking at and waiting for what happened."""

from __future__ import annotations

import asyncio

import pytest

from medagent.testing.fhir_server.journal import TO_AGENT, TO_SERVER, Journal


async def test_waiting_ends_with_the_change_that_was_waited_for() -> None:
    journal = Journal(keep=True)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(journal.wait_until(lambda: journal.transmit_count >= 2, 10))
        await asyncio.sleep(0)
        journal.transmitted({"n": 1})
        await asyncio.sleep(0)
        assert not waiting.done()
        journal.transmitted({"n": 2})
    assert journal.transmits == [{"n": 1}, {"n": 2}]
    await journal.wait_until(lambda: True, 0)


async def test_waiting_in_vain_times_out() -> None:
    with pytest.raises(TimeoutError):
        await Journal(keep=True).wait_until(lambda: False, 0.01)


async def test_a_journal_can_keep_counters_only() -> None:
    journal = Journal(keep=False)
    journal.exchanged(TO_SERVER, {})
    journal.exchanged(TO_AGENT, {})
    journal.transmitted({})
    journal.execute({})
    assert (journal.frames, journal.transmits, journal.executed) == ([], [], [])
    assert (journal.transmit_count, journal.executed_count) == (1, 1)
