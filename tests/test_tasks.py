"""Background tasks are kept, their failures are seen, and they end together."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from medagent.tasks import Tasks


async def test_a_task_nobody_holds_runs_to_its_end() -> None:
    tasks, done = Tasks(), asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0)
        done.set()

    tasks.spawn(work(), "work")
    await asyncio.wait_for(done.wait(), 5)


async def test_a_failure_is_logged_by_its_type_only(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()

    async def fail() -> None:
        raise ValueError("canary")

    with caplog.at_level(logging.DEBUG):
        with pytest.raises(ValueError, match="canary"):
            await tasks.spawn(fail(), "the task's name")
        await asyncio.sleep(0)
    [record] = caplog.records
    assert "the task's name" in record.getMessage()
    assert "ValueError" in record.getMessage()
    assert "canary" not in caplog.text


async def test_cancel_waits_until_all_have_cleaned_up(caplog: pytest.LogCaptureFixture) -> None:
    tasks, cleaned = Tasks(), []

    async def wait(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(name)

    for name in "ab":
        tasks.spawn(wait(name), name)
    await asyncio.sleep(0)
    await tasks.cancel()
    assert sorted(cleaned) == ["a", "b"]
    assert caplog.records == []
    await tasks.cancel()
