"""Stores that each break a promise, for test_suites_can_fail.py to run pytest on; `fails` is what must fail."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from medagent.queue.base import Change, ChannelDepth, Receipt, Removal, Removed
from medagent.queue.sqlite.store import QUEUE_NAME, SqliteStore
from medagent.testing.contracts.store import QueueStoreContract
from medagent.types import AcceptanceRules, Duplicates, InboundMessage

PAGES = {"pages_are_in_order_and_keep_their_limits"}
BODIES = {"bodies_are_kept_byte_for_byte"}
KILLED = {"killed_while_committing_it_has_lost_nothing_it_gave_a_receipt_for"}
HIGHEST = {"reopened_it_knows_the_highest_seq"}
REOPENED = {"a_closed_store_can_be_opened_again"}
FAILED = {"a_failed_commit_leaves_no_trace"}
NEXT = {"after_a_failed_commit_the_next_one_works"}
CLOSED = {"a_closed_store_gives_no_receipt"}
OVERLAP = {"calls_that_overlap_take_effect_in_order"}
PARTS = {"parts_are_stored_all_or_not_at_all"}
RECEIPT = {"a_receipt_names_what_was_committed"}
JOINS = {"a_duplicate_joins_the_stored_message"}
KEEPS = {"the_connection_that_keeps_the_answer_keeps_it"}
USED = {"a_used_control_id_is_treated_by_the_rules"}
WINDOW = {"after_the_window_a_control_id_is_new"}
COPIES = {"copies_in_one_commit_are_stored_once"}
PRIVATE = {"its_files_are_private"}
GOES_ON = {"deleting_goes_on_where_it_stopped"}
OLD = {"only_old_ended_messages_are_deleted"}
WELL = {"a_healthy_queue_says_so"}
DEPTHS = {"depths_say_what_there_is"}
SENDERS = {"each_sender_has_its_own_control_ids", "another_sender_may_say_the_same"}
OUTLIVE = {"numbers_and_registers_outlive_their_messages"}
REGISTERS = {"registers_are_kept_with_their_message"}
RANDOM = {"at_random_it_does_what_the_contract_says"}

LONGEST = KILLED | RANDOM | BODIES


class Whole(QueueStoreContract):
    patience = float(os.environ.get("PATIENCE", "2.0"))
    store: ClassVar[type[SqliteStore]]
    fails: ClassVar[set[str]]

    def make(self, folder: Path) -> SqliteStore:
        return self.store(folder / QUEUE_NAME)


class Suite(Whole):
    """The tests that take longest are for those that must fail in them."""

    def __init_subclass__(cls) -> None:
        for test in LONGEST - cls.fails:
            setattr(cls, f"test_{test}", None)


class TestSound(Whole):
    store = SqliteStore
    fails: ClassVar[set[str]] = set()


class TestForgetsWhatWasNotClosed(Suite):
    class store(SqliteStore):  # noqa: N801
        async def open(self) -> int:
            closed = self._path.with_name("closed")
            if self._path.exists() and not closed.exists():
                self._path.unlink()
            closed.unlink(missing_ok=True)
            return await super().open()

        async def close(self) -> None:
            await super().close()
            self._path.with_name("closed").touch(mode=0o600)

    fails = KILLED


class TestChangesLineEnds(Suite):
    class store(SqliteStore):  # noqa: N801
        async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
            for message in messages:
                message.body = message.body and message.body.replace(b"\r\n", b"\n")
            return await super().commit(messages, changes)

    fails = BODIES


class TestIgnoresLimits(Suite):
    class store(SqliteStore):  # noqa: N801
        async def fetch(self, channel: str, after: int, limit: int, max_bytes: int) -> list[InboundMessage]:
            return await super().fetch(channel, after, 1 << 30, 1 << 40)

    fails = PAGES


class TestForgetsTheHighestSeq(Suite):
    class store(SqliteStore):  # noqa: N801
        async def open(self) -> int:
            await super().open()
            return 0

    fails = HIGHEST | RANDOM | KILLED | REOPENED


class TestCommitsOneByOne(Suite):
    class store(SqliteStore):  # noqa: N801
        async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
            receipt = await super().commit((), changes)
            for message in messages:
                one = await super().commit([message], ())
                receipt.number = one.number
                for kind in ("committed", "duplicates", "rejected", "reused", "noted", "refused"):
                    getattr(receipt, kind).extend(getattr(one, kind))
                for channel, values in one.registers.items():
                    receipt.registers.setdefault(channel, {}).update(values)
            return receipt

    fails = FAILED | NEXT | OVERLAP | PARTS


class TestHidesFailures(Suite):
    class store(SqliteStore):  # noqa: N801
        async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
            try:
                return await super().commit(messages, changes)
            except Exception:  # noqa: BLE001  as broken as that
                return Receipt(1, list(messages))

    fails = FAILED | CLOSED


class TestIsSpoiltByAFailure(Suite):
    class store(SqliteStore):  # noqa: N801
        failed = False

        async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
            if self.failed:
                await asyncio.Event().wait()
            try:
                return await super().commit(messages, changes)
            except Exception:
                self.failed = True
                raise

    fails = NEXT


class TestOvertakes(Suite):
    """Single messages wait for company."""

    class store(SqliteStore):  # noqa: N801
        async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
            if len(messages) == 1 and messages[0].seq % 2:
                await asyncio.sleep(0.01)
            return await super().commit(messages, changes)

    fails = OVERLAP


class TestStoresEveryCopy(Suite):
    class store(SqliteStore):  # noqa: N801
        async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
            for message in messages:
                message.rules = AcceptanceRules(Duplicates.ACCEPT, numbered=message.rules.numbered)
            return await super().commit(messages, changes)

    fails: ClassVar[set[str]] = {
        *(USED | SENDERS | WINDOW | JOINS | KEEPS | COPIES),
        "what_the_server_refused_is_tried_anew",
        "a_resend_finds_the_answer_of_its_own_commit",
        "numbers_have_no_gaps",
        "registers_are_kept_with_their_message",
        "reopened_nothing_is_on_its_way",
    }


class TestMixesSenders(Suite):
    class store(SqliteStore):  # noqa: N801
        async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
            for message in messages:
                message.sender = 0
            return await super().commit(messages, changes)

    fails = SENDERS


class TestDoesNotAskWhoKeepsTheAnswer(Suite):
    class store(SqliteStore):  # noqa: N801
        async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
            for message in messages:
                message.rules = replace(message.rules, keeps_answer=None)
            return await super().commit(messages, changes)

    fails = KEEPS


class TestDoesNotNoteTheState(Suite):
    class store(SqliteStore):  # noqa: N801
        async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
            receipt = await super().commit(messages, changes)
            for message in receipt.committed:
                message.stored_state = None
            return receipt

    fails = RECEIPT | FAILED


class TestNeverSeesTheEnd(Suite):
    class store(SqliteStore):  # noqa: N801
        async def remove_ended(self, removal: Removal, after: int, limit: int) -> Removed:
            removed = await super().remove_ended(removal, after, limit)
            return Removed(removed.count, removed.seen_up_to or after)

    fails = GOES_ON | OLD


class TestDeletesEarly(Suite):
    class store(SqliteStore):  # noqa: N801
        async def remove_ended(self, removal: Removal, after: int, limit: int) -> Removed:
            return await super().remove_ended(Removal(1e12, 1e12, removal.enough_bytes), after, limit)

    fails = OLD


class TestShowsItsFiles(Suite):
    class store(SqliteStore):  # noqa: N801
        async def open(self) -> int:
            newest = await super().open()
            self._path.chmod(0o644)
            return newest

    fails = PRIVATE


class TestMaintenanceRaises(Suite):
    class store(SqliteStore):  # noqa: N801
        async def maintain(self) -> None:
            raise OSError

    fails = WELL


class TestMiscounts(Suite):
    class store(SqliteStore):  # noqa: N801
        async def depths(self) -> dict[str, ChannelDepth]:
            return {name: replace(depth, live_bytes=0) for name, depth in (await super().depths()).items()}

    fails = DEPTHS


class TestKeepsSentAsSent(Suite):
    """After reopening what was `sent` is nowhere to be fetched."""

    class store(SqliteStore):  # noqa: N801
        def _recover(self, connection: Any) -> None:
            self._live_bytes.load(connection, {channel for channel, _ in self._counts})

    fails = {"reopened_nothing_is_on_its_way"} | RANDOM


class TestForgetsRegistersWithTheirMessages(Suite):
    class store(SqliteStore):  # noqa: N801
        async def remove_ended(self, removal: Removal, after: int, limit: int) -> Removed:
            self._path.with_name("removed").touch(mode=0o600)
            return await super().remove_ended(removal, after, limit)

        async def registers(self) -> dict[str, dict[str, int]]:
            return {} if self._path.with_name("removed").exists() else await super().registers()

    fails = OUTLIVE
