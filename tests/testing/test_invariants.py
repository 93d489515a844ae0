"""The checker: a good run has no violations, and every planted one is found under its number."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medagent.queue.base import Change
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.evidence import Delivery, Evidence, Figure, Flush, Start, figures_of
from medagent.testing.invariants import check
from medagent.testing.ledger import Ledger, sha256_of
from medagent.types import InboundMessage, State

BODIES = {f"A{number}": f"MSH|^~\\&|||||||ADT^A01|A{number}|P|2.5\r".encode() for number in range(1, 5)}


class Run:
    """A good run of four messages, ready to be spoiled."""

    def __init__(self, folder: Path) -> None:
        self.queue = folder / "queue.db"
        self.ledger = Ledger(folder / "ledger")
        self.ledger.sent("device", "device/1", "adt", BODIES.items())
        self.ledger.acknowledged("device/1", "adt", [(name, "CA") for name in BODIES])
        deliveries = [Delivery.of(f"key-{name}", "adt", body.decode()) for name, body in BODIES.items()]
        self.evidence = Evidence(
            ledgers=[self.ledger.path],
            ordered_senders=True,
            # a second attempt under the same key is well
            deliveries=[*deliveries, deliveries[0]],
            queues=[self.queue],
            drained=True,
            accepted=4,
            flushes=[Flush("adt", "A1", acknowledged_at=7, flushed_at=6)],
            logs={"the log": ["channel adt listens on 127.0.0.1:2575"]},
            canaries=["ZZCANARY"],
            figures=[Figure("the number of open files", 40, 100)],
            starts=[Start("start 2", works=True)],
        )

    async def fill(self) -> None:
        store = SqliteStore(self.queue)
        await store.open()
        messages = [
            InboundMessage(body, name, "10.0.0.7:41022", channel="adt", seq=seq, callback=f"key-{name}")
            for seq, (name, body) in enumerate(BODIES.items(), 1)
        ]
        await store.commit(messages, ())
        await store.commit((), [Change(message, State.RESPONSE_SENT, response="MSA|AA") for message in messages])
        await store.close()

    def sql(self, statement: str) -> None:
        with contextlib.closing(sqlite3.connect(self.queue)) as connection, connection:
            connection.executescript(statement)


@pytest.fixture
async def run(tmp_path):
    run = Run(tmp_path)
    await run.fill()
    yield run
    run.ledger.close()


async def test_a_good_run_has_no_violation(run):
    assert check(run.evidence) == []
    assert check(Evidence()) == []


def change_ledger(run: Run, *, connection: str = "device/1", name: str = "A9", code: str = "AA", sent: bool = True) -> None:
    if sent:
        run.ledger.sent("device", connection, "adt", [(name, b"MSH|^~\\&")])
    run.ledger.acknowledged(connection if sent else "device/2", "adt", [(name, code)])


def lost(run: Run) -> None:
    change_ledger(run)


def out_of_order(run: Run) -> None:
    first, second, *rest = run.evidence.deliveries
    run.evidence.deliveries = [second, first, *rest]
    run.evidence.ordered_senders = False


def out_of_order_of_sending(run: Run) -> None:
    # the agent itself believes in its order
    run.sql("UPDATE message SET callback = 'key-x' WHERE seq = 1; UPDATE message SET callback = 'key-A1' WHERE seq = 2;")
    run.sql("UPDATE message SET callback = 'key-A2' WHERE seq = 1")
    first, second, *rest = run.evidence.deliveries
    run.evidence.deliveries = [second, first, *rest]


def second_key(run: Run) -> None:
    run.evidence.deliveries = [*run.evidence.deliveries, replace(run.evidence.deliveries[1], callback="key-other")]


def shared_key(run: Run) -> None:
    run.evidence.deliveries = [*run.evidence.deliveries, replace(run.evidence.deliveries[1], callback="key-A1")]


def wrong_counters(run: Run) -> None:
    run.sql("UPDATE counter SET count = count + 1")


def row_without_body(run: Run) -> None:
    run.sql("DELETE FROM body WHERE seq = 2")


def body_without_row(run: Run) -> None:
    run.sql("INSERT INTO body SELECT 99, data FROM body WHERE seq = 1")


def live_after_the_drain(run: Run) -> None:
    run.sql(
        "UPDATE message SET state = 1 WHERE seq = 2; "
        "UPDATE counter SET count = 3 WHERE count <> 0; REPLACE INTO counter VALUES ('adt', 1, 1)"
    )


def stored_twice(run: Run) -> None:
    run.sql(
        "INSERT INTO message (seq, copy, callback, channel, control_id, digest, state, accepted_at, remote, link)"
        " SELECT 99, 99, 'key-99', channel, control_id, digest, state, accepted_at, remote, link FROM message WHERE seq = 1;"
        "INSERT INTO body SELECT 99, data FROM body WHERE seq = 1; UPDATE counter SET count = 5 WHERE count <> 0"
    )
    run.evidence.accepted = 5


def one_has_vanished(run: Run) -> None:
    run.evidence.accepted = 5


def answer_on_another_connection(run: Run) -> None:
    change_ledger(run, name="A1", sent=False)


def two_answers_on_one_connection(run: Run) -> None:
    run.ledger.acknowledged("device/1", "adt", [("A1", "AA"), ("A1", "AA")])


def answer_to_another_message(run: Run) -> None:
    run.ledger.acknowledged("device/1", "adt", [("A1", "AA", sha256_of(BODIES["A2"]))])


def no_answer(run: Run) -> None:
    run.ledger.acknowledged("device/1", "adt", [(name, "AA", sha256_of(BODIES[name])) for name in ("A1", "A2", "A3")])
    run.evidence.answered = ["device"]


def ended_without_the_server(run: Run) -> None:
    run.evidence.deliveries = [each for each in run.evidence.deliveries if each.callback != "key-A2"]


def too_early(run: Run) -> None:
    run.evidence.flushes = [Flush("adt", "A1", acknowledged_at=5, flushed_at=6)]


def never_flushed(run: Run) -> None:
    run.evidence.flushes = [Flush("adt", "A1", acknowledged_at=5, flushed_at=None)]


def changed_in_the_queue(run: Run) -> None:
    run.sql("UPDATE body SET data = CAST('other' AS BLOB) WHERE seq = 3")


def changed_on_the_way(run: Run) -> None:
    first, *rest = run.evidence.deliveries
    run.evidence.deliveries = [replace(each, sha256=sha256_of(b"x")) if each == first else each for each in (first, *rest)]


def sent_by_nobody(run: Run) -> None:
    run.evidence.deliveries = [*run.evidence.deliveries, Delivery("key-9", "adt", "A9", sha256_of(b"x"))]


def spoken_of_in_the_log(run: Run) -> None:
    run.evidence.logs = {"the log": ["well", "ZZCANARY^ANNA could not be admitted"]}


def too_many_files(run: Run) -> None:
    run.evidence.figures = [Figure("the number of open files", 101, 100)]


def too_many_threads(run: Run) -> None:
    run.evidence.figures = figures_of(os.getpid(), rss_mb=1e6, files=1_000_000, threads=0)


def does_not_start(run: Run) -> None:
    run.evidence.starts = [Start("start 2", works=False, reason="exit code 70")]


PLANTED = [
    ("I1", lost),
    ("I1", ended_without_the_server),
    ("I2", out_of_order),
    ("I2", out_of_order_of_sending),
    ("I3", second_key),
    ("I3", shared_key),
    ("I4", wrong_counters),
    ("I4", row_without_body),
    ("I4", body_without_row),
    ("I4", live_after_the_drain),
    ("I4", stored_twice),
    ("I4", one_has_vanished),
    ("I5", answer_on_another_connection),
    ("I5", two_answers_on_one_connection),
    ("I5", answer_to_another_message),
    ("I5", no_answer),
    ("I6", too_early),
    ("I6", never_flushed),
    ("I7", changed_in_the_queue),
    ("I7", changed_on_the_way),
    ("I7", sent_by_nobody),
    ("I8", spoken_of_in_the_log),
    ("I9", too_many_files),
    ("I9", too_many_threads),
    ("I10", does_not_start),
]


@pytest.mark.parametrize(("number", "plant"), PLANTED, ids=[plant.__name__ for _, plant in PLANTED])
async def test_a_planted_violation_is_found(run, number: str, plant: Callable[[Run], None]):
    plant(run)
    violations = check(run.evidence)
    assert number in {violation.partition(":")[0] for violation in violations}
    assert "ZZCANARY" not in " ".join(violations)


async def test_what_was_never_acknowledged_may_be_lost(run):
    run.ledger.sent("device", "device/1", "adt", [("A9", b"MSH|^~\\&")])
    change_ledger(run, name="A10", code="CE")
    assert check(run.evidence) == []


async def test_what_was_delivered_need_not_be_in_the_queue_any_more(run):
    run.sql("DELETE FROM message WHERE seq = 1; DELETE FROM body WHERE seq = 1; UPDATE counter SET count = 3 WHERE count <> 0")
    run.evidence.accepted = 3
    assert check(run.evidence) == []


async def test_a_resend_after_a_refusal_has_a_key_of_its_own(run):
    run.sql(
        "UPDATE message SET state = 13 WHERE seq = 2; "
        "UPDATE counter SET count = 3 WHERE count <> 0; REPLACE INTO counter VALUES ('adt', 13, 1)"
    )
    run.evidence.deliveries = [*run.evidence.deliveries, replace(run.evidence.deliveries[1], callback="key-other")]
    run.evidence.ordered_senders = False
    assert check(run.evidence) == []


def test_a_loss_is_told_in_words(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.sent("device", "device/1", "adt", [("A17", b"MSH|^~\\&")])
    ledger.acknowledged("device/1", "adt", [("A17", "CA")])
    ledger.close()
    other = Delivery("key", "adt", "A18", sha256_of(b"MSH|^~\\&"))
    violations = check(Evidence(ledgers=[ledger.path], deliveries=[other]))
    assert violations == [
        "I1: message adt/A17 was acknowledged and is neither in the queue nor at the server",
        "I7: message adt/A18 is at the server, and nobody has sent it",
    ]
