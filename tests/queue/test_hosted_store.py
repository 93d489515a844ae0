"""A plugin's store under guard."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from medagent.errors import QueueError
from medagent.guard import Guard
from medagent.queue import hosted_store
from medagent.queue.base import Duplicate, QueueStore, Receipt, Removal
from medagent.queue.hosted_store import HostedStore
from medagent.queue.intake import STORAGE_REFUSAL
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.queue import message
from medagent.types import Refusal, RefusalKind, State


class Faulty:
    """A store all of whose methods do the same wrong thing."""

    damage = ""

    def __init__(self, fault: BaseException | None = None, result: object = None) -> None:
        self._fault = fault
        self._result = result

    def __getattr__(self, name: str) -> Any:  # of any method
        if name in ("given_up", "reasons"):
            return self._at_once
        return self._do

    async def _do(self, *_: object) -> object:
        if self._fault is not None:
            raise self._fault
        return self._result

    def _at_once(self) -> object:
        if self._fault is not None:
            raise self._fault
        return self._result


def calls(store: QueueStore) -> list[Any]:  # coroutines of each their own type
    return [
        store.open(),
        store.commit([], []),
        store.fetch("adt", 0, 1, 1),
        store.fetch_one(1),
        store.retries("adt"),
        store.registers(),
        store.depths(),
        store.remove_ended(Removal(0, 0, 1), 0, 1),
        store.used_bytes(),
        store.give_back(),
        store.close(),
    ]


@pytest.mark.parametrize(
    "fault", [ValueError("CANARY"), SystemExit(3), asyncio.CancelledError()], ids=lambda fault: type(fault).__name__
)
async def test_whatever_it_raises_is_a_queue_error(fault: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard("lab", "queue store", stoppable=False)
    store = HostedStore(Faulty(fault), guard)
    for call in calls(store):
        with pytest.raises(QueueError):
            await call
    await store.maintain()
    assert guard.faults == 12
    assert "CANARY" not in caplog.text


async def test_what_it_says_by_itself_passes() -> None:
    guard = Guard("lab", "queue store", stoppable=False)
    store = HostedStore(Faulty(QueueError("the disk is full")), guard)
    with pytest.raises(QueueError, match="the disk is full"):
        await store.commit([], [])
    assert guard.faults == 0


async def test_a_receipt_that_is_none_is_no_commit() -> None:
    store = HostedStore(Faulty(result={"committed": ["a"]}), Guard("lab", "queue store", stoppable=False))
    with pytest.raises(QueueError, match="no Receipt"):
        await store.commit([message("a")], [])


async def test_a_receipt_counts_for_what_was_given_and_for_nothing_else() -> None:
    earlier, first, second = message("earlier"), message("first"), message("second")
    copy, refusal = Duplicate(earlier, 1, State.RECEIVED, None), Refusal(RefusalKind.UNACCEPTABLE, "")
    claimed = Receipt(7, [earlier, first, first], [copy], [earlier], [earlier, first], [earlier], [(earlier, refusal)])
    guard = Guard("lab", "queue store", stoppable=False)
    receipt = await HostedStore(Faulty(result=claimed), guard).commit([first, second], [])
    assert receipt == Receipt(7, [first], reused=[first], refused=[(second, STORAGE_REFUSAL)])
    assert guard.last_fault == "commit: its receipt names other messages than it was given"


def test_what_has_no_list_of_reasons_is_not_well() -> None:
    store = HostedStore(Faulty(ValueError("CANARY")), Guard("lab", "queue store", stoppable=False))
    assert store.given_up() == []
    assert store.reasons() == ["the store cannot tell how it is"]


async def test_a_call_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted_store, "LONG_SECONDS", 0.0)

    class Hanging(Faulty):
        async def commit(self, *_: object) -> None:
            await asyncio.Event().wait()

    store = HostedStore(Hanging(result=[]), Guard("lab", "queue store", stoppable=False))
    committing = asyncio.ensure_future(store.commit([], []))
    await asyncio.sleep(0)
    assert store.reasons() == ["the store has been at commit for 0 s"]
    committing.cancel()
    await asyncio.wait([committing])
    assert store.reasons() == []


async def test_one_that_works_is_passed_through(tmp_path: Path) -> None:
    store = HostedStore(SqliteStore(tmp_path / "queue.db"), Guard("lab", "queue store", stoppable=False))
    await store.open()
    one = message("a")
    one.seq, one.channel, one.callback = 1, "adt", "c-1"
    receipt = await store.commit([one], [])
    assert [each.control_id for each in receipt.committed] == ["a"]
    two = message("a")
    two.seq, two.channel, two.callback = 2, "adt", "c-2"
    assert [each.message for each in (await store.commit([two], [])).duplicates] == [two]
    assert (await store.depths())["adt"].live == 1
    found = await store.fetch_one(1)
    assert found is not None
    assert found.body == one.body
    assert (store.damage, store.reasons()) == ("", [])
    await store.maintain()
    await store.close()
    assert store._guard.faults == 0


async def test_its_work_after_a_receipt_may_fail() -> None:
    guard = Guard("lab", "queue store", stoppable=False)
    store = HostedStore(Faulty(result=Receipt(1, afterwards=Faulty(ValueError("CANARY")).maintain)), guard)
    receipt = await store.commit([], [])
    assert receipt.afterwards is not None
    await receipt.afterwards()
    assert guard.last_fault == "commit: ValueError"
