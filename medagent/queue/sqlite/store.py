"""The queue on SQLite: one file, one connection, one thread, one transaction a commit (`medagent.queue.sqlite.file`).

It never stays down for the state of its file: a damaged one is moved aside and read anew, a full disk is waited for.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from medagent.clock import Clock
from medagent.errors import QueueError, StorageFailed
from medagent.failpoints import reach
from medagent.folders import make_folder
from medagent.queue.base import Change, ChannelDepth, Receipt, Removal, Removed
from medagent.queue.buffer import MOST_BYTES
from medagent.queue.sqlite import damage, statements
from medagent.queue.sqlite.counting import Counts, counted, depths_of, move, read_counts, states_of, write_counters
from medagent.queue.sqlite.file import QueueFile, Spoilt
from medagent.queue.sqlite.high_water import HighWater
from medagent.queue.sqlite.hold import Hold
from medagent.queue.sqlite.insertion import Inserted, insert_batch
from medagent.queue.sqlite.late_checkpoint import LateCheckpoint
from medagent.queue.sqlite.registers import Registers, by_channel
from medagent.queue.sqlite.removal import give_back, remove_ended, used_bytes
from medagent.queue.sqlite.reserve import Reserve
from medagent.queue.sqlite.salvage import salvage
from medagent.queue.sqlite.sizes import LIVE_BYTES_REGISTER, LiveBytes
from medagent.queue.sqlite.storage import Storage
from medagent.queue.sqlite.transaction import transaction
from medagent.types import InboundMessage, State

log = logging.getLogger(__name__)

T = TypeVar("T")

QUEUE_NAME = "queue.db"
"""The queue's file in a state folder."""
MARK_SECONDS = 1.0
"""How far the high-water mark may be behind."""
CHANGED = "its bytes on disk are not those that were stored"


class SqliteStore:
    """A `medagent.queue.base.QueueStore` in one file."""

    def __init__(self, path: Path, *, clock: Clock = time) -> None:
        self._path = path
        self._clock = clock
        self._file = QueueFile(path)
        self._mark = HighWater(path.parent)
        self._storage = Storage(Reserve(path.parent), self._file.checkpoint, clock)
        self._hold = Hold(self._storage, self._file.checkpoint)
        self._late_checkpoint = LateCheckpoint()
        self._newest = 0
        """The highest seq that is committed."""
        self._mark_due = 0.0
        self._commits = 0
        self._counts: Counts = {}
        self._live_bytes = LiveBytes()
        self._registers: Registers = {}
        self._findings: list[str] = []
        """What was found when the queue was opened."""
        self._changed = 0
        """Messages whose bytes had changed on the disk."""
        self._given_up: list[InboundMessage] = []
        self.damage = ""

    async def open(self) -> int:
        self._findings = []
        try:
            make_folder(self._path.parent)
            self._storage.before_opening()
            if self.damage:
                self._set_aside(self.damage)
            for folder in damage.pending(self._path):
                await self._read_anew(folder)
            try:
                newest = await self._open_file()
            except (sqlite3.Error, QueueError, ValueError, TypeError, KeyError) as error:
                if not damage.is_damage(error):
                    raise
                await self._file.close()
                await self._read_anew(self._set_aside(_reason(error)))
                newest = await self._open_file()
            self.damage = ""
            marked = self._mark.open()
        except (sqlite3.Error, QueueError, OSError) as error:
            await self.close()
            raise QueueError(f"cannot open the queue {self._path}: {_reason(error)}") from error
        if newest < marked:
            self._find(f"acknowledged messages are missing from the queue: seq {newest + 1}..{marked}")
        self._newest = max(newest, marked)
        return self._newest

    async def _open_file(self) -> int:
        await self._file.open()
        return await self._file.run(self._begin)

    def _find(self, finding: str) -> None:
        log.error("%s", finding)
        self._findings.append(finding)

    def _set_aside(self, reason: str) -> Path:
        folder = damage.move_aside(self._path)
        log.error("the queue %s cannot be used (%s): it is in %s now", self._path, reason, folder)
        return folder

    async def _read_anew(self, folder: Path) -> None:
        """Make a new queue of what can be read of the one in this folder."""
        # a crash may have left half of it
        for name in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(self._path.name + name).unlink()
        fresh = QueueFile(self._path)
        await fresh.open()
        try:
            salvaged = await fresh.run(lambda connection: salvage(folder / self._path.name, connection))
        finally:
            await fresh.close()
        damage.done(folder)
        self._find(f"the queue was damaged: {salvaged}; the file is in {folder}")

    def _begin(self, connection: sqlite3.Connection) -> int:
        self._counts = read_counts(connection)
        rows = connection.execute("SELECT channel, name, value FROM register WHERE name <> ?", (LIVE_BYTES_REGISTER,))
        self._registers = {(channel, name): value for channel, name, value in rows}
        if not all(isinstance(value, int) for value in self._registers.values()):
            raise ValueError("a register holds no number")
        self._recover(connection)
        return int(connection.execute("SELECT coalesce(max(seq), 0) FROM message").fetchone()[0])

    def _recover(self, connection: sqlite3.Connection) -> None:
        """No connection outlives the agent: what was sent will be sent again, and what was being told cannot be told."""
        moves = {State.SENT: State.RECEIVED, State.RESPONSE_QUEUED: State.RESPONSE_UNDELIVERED}
        touched = set()
        channels = {channel for channel, _ in self._counts}
        with transaction(connection):
            self._live_bytes.load(connection, channels)
            for channel in channels:
                for old, new in moves.items():
                    if new.ended:
                        self._live_bytes.end_all(connection, channel, old)
                    count = connection.execute(statements.RECOVER, (new, channel, old)).rowcount
                    if count:
                        touched |= move(self._counts, channel, old, new, count)
            write_counters(connection, self._counts, touched)

    async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
        return await self._file.run(lambda connection: self._commit(connection, messages, changes))

    def _commit(self, connection: sqlite3.Connection, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
        if self.damage:
            raise StorageFailed(f"the queue is damaged ({self.damage}): it is opened anew")
        self._file.check_in_place()
        self._storage.before_commit(connection, storing=bool(messages))
        large = sum(message.size for message in messages) > MOST_BYTES
        try:
            if large and not self._hold.active:
                self._late_checkpoint.before_large_commit(connection)
            connection.execute("BEGIN IMMEDIATE")
            states = states_of(connection, changes)
            # changes first: a resend of a message whose answer is in this batch then finds the answer
            statements.mark_batch(connection, changes, self._clock.time())
            inserted = insert_batch(connection, messages, self._registers) if messages else Inserted()
            counts, touched = counted(self._counts, inserted.stored, changes, states)
            write_counters(connection, counts, touched)
            sums = self._live_bytes.after(inserted.stored, changes, states)
            self._live_bytes.write(connection, sums)
            for (channel, name), value in inserted.registers.items():
                connection.execute(statements.SET_REGISTER, (channel, name, value))
            reach("before_commit")
            connection.execute("COMMIT")
            reach("after_commit")
            self._file.committed()
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            self._note(error)
            raise self._storage.failed(connection, error) from error
        self._counts = counts
        self._live_bytes.committed(sums)
        self._registers |= inserted.registers
        for message in inserted.stored:
            message.stored_state = State.RECEIVED
        for change in changes:
            change.message.stored_state = change.state
        self._commits += 1
        stored = inserted.stored
        if stored:
            self._newest = max(self._newest, stored[-1].seq)
            if self._clock.monotonic() >= self._mark_due:
                self._raise_mark()
        return Receipt(
            self._commits,
            stored,
            inserted.duplicates,
            inserted.rejected,
            inserted.reused,
            inserted.noted,
            inserted.refused,
            by_channel(inserted.registers),
            self._checkpoint if messages and not large and self._late_checkpoint.due else None,
        )

    async def _checkpoint(self) -> None:
        with contextlib.suppress(QueueError):
            await self._file.run(self._late_checkpoint.make)

    def _note(self, error: BaseException) -> None:
        """Damage that shows while the queue is in use: it must be opened anew."""
        if damage.is_damage(error):
            self._is_damaged(_reason(error))

    def _is_damaged(self, reason: str) -> None:
        if not self.damage:
            self.damage = reason
            log.error("the queue %s is damaged: %s", self._path, reason)

    def _look(self) -> None:
        try:
            self._file.look()
        except Spoilt as error:
            self._is_damaged(str(error))
        except (OSError, QueueError):
            pass  # the next commit tells

    def _raise_mark(self) -> None:
        # without the mark the queue is as safe, only a damaged end would not be noticed
        with contextlib.suppress(OSError):
            self._mark.raise_to(self._newest)
            self._mark_due = self._clock.monotonic() + MARK_SECONDS

    async def fetch(self, channel: str, after: int, limit: int, max_bytes: int) -> list[InboundMessage]:
        def read(connection: sqlite3.Connection) -> list[InboundMessage]:
            found: list[InboundMessage] = []
            size, position = 0, after
            while len(found) < limit and size < max_bytes:
                changed = []
                cursor = connection.execute(statements.FETCH, (channel, position, limit - len(found)))
                for row in cursor:
                    position = row[0]
                    if (message := statements.to_message(row)) is None:
                        changed.append(position)
                        continue
                    found.append(message)
                    size += len(row[8])
                    if size >= max_bytes:
                        break
                cursor.close()
                if not changed:
                    break
                self._give_up(connection, channel, changed)
            return found

        return await self._read(read)

    async def fetch_one(self, seq: int) -> InboundMessage | None:
        def read(connection: sqlite3.Connection) -> InboundMessage | None:
            row = connection.execute(statements.FETCH_ONE, (seq,)).fetchone()
            if row is None:
                return None
            message = statements.to_message(row)
            if message is None:
                self._give_up(connection, row[9], [seq])
            return message

        return await self._read(read)

    def _give_up(self, connection: sqlite3.Connection, channel: str, seqs: Sequence[int]) -> None:
        """These messages have changed on the disk: they are not sent, and end as `dead_letter`."""
        log.error("channel %s: %s: seq %s", channel, CHANGED, ", ".join(map(str, seqs)))
        counts, touched, sizes = dict(self._counts), set(), {}
        with transaction(connection):
            for seq in seqs:
                [(state, size)] = connection.execute(statements.STATE_AND_SIZE, (seq,)).fetchall()
                before = State(state) if state in statements.STATES else State.RECEIVED
                touched |= move(counts, channel, before, State.DEAD_LETTER)
                sizes[seq] = size or 0
            rows = [(State.DEAD_LETTER, 0, self._clock.time(), None, None, CHANGED, seq) for seq in seqs]
            statements.MARK_ANSWERED.write(connection, rows)
            write_counters(connection, counts, touched)
            live = {channel: self._live_bytes.of(channel) - sum(sizes.values())}
            self._live_bytes.write(connection, live)
        self._counts = counts
        self._live_bytes.committed(live)
        self._changed += len(seqs)
        self._given_up += [InboundMessage(bytes(sizes[seq]), "", "", channel=channel, seq=seq) for seq in seqs]

    def given_up(self) -> list[InboundMessage]:
        given_up, self._given_up = self._given_up, []
        return given_up

    async def retries(self, channel: str) -> list[tuple[int, float]]:
        return await self._read(lambda connection: connection.execute(statements.RETRIES, (channel,)).fetchall())

    async def registers(self) -> dict[str, dict[str, int]]:
        return by_channel(self._registers)

    async def depths(self) -> dict[str, ChannelDepth]:
        return await self._read(lambda connection: depths_of(connection, self._counts, self._registers, self._live_bytes))

    async def maintain(self) -> None:
        # what fails here fails again at the next commit, which tells
        with contextlib.suppress(sqlite3.Error, QueueError):
            await self._file.run(self._maintain)

    def _maintain(self, connection: sqlite3.Connection) -> None:
        self._raise_mark()
        self._look()
        if not self.damage:
            self._late_checkpoint.make(connection)
            self._storage.maintain(connection)
            self._hold.look(connection, self._clock.monotonic())

    async def remove_ended(self, removal: Removal, after: int, limit: int) -> Removed:
        def remove(connection: sqlite3.Connection) -> Removed:
            removed, self._counts, self._registers = remove_ended(
                connection, removal, after, limit, self._counts, self._registers
            )
            return removed

        return await self._read(remove)

    async def used_bytes(self) -> int:
        return await self._read(used_bytes)

    async def hold(self, token: str) -> str:
        """Leave the file as it is for `HOLD_SECONDS`, and write to its log only; returns a token.

        With the token of an earlier call: for as long from now. Raises `QueueError` if the file has been written since then, or
        somebody else holds it.
        """

        def begin(connection: sqlite3.Connection) -> str:
            token_given = self._hold.begin(connection, token, self._clock.monotonic())
            self._late_checkpoint.forget()
            return token_given

        return await self._read(begin)

    async def release(self, token: str) -> bool:
        """Go on as ever; whether the file has been left as it was since `hold`."""
        return await self._read(lambda connection: self._hold.end(connection, token))

    async def give_back(self) -> bool:
        return await self._read(give_back)

    def reasons(self) -> list[str]:
        changed = f"{self._changed} message(s) had changed on the disk and were not sent" if self._changed else ""
        damaged = f"the queue is damaged ({self.damage})" if self.damage else ""
        return [*self._findings, *filter(None, (damaged, changed)), *self._storage.reasons()]

    async def close(self) -> None:
        self._hold.forget()
        self._late_checkpoint.forget()
        with contextlib.suppress(sqlite3.Error, QueueError):
            await self._file.run(lambda _: self._raise_mark())
        await self._file.close()
        self._mark.close()

    async def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        def run(connection: sqlite3.Connection) -> T:
            try:
                return function(connection)
            except sqlite3.Error as error:
                self._note(error)
                # some of what reads also writes: what has failed then is treated like a failed commit
                raise self._storage.failed(connection, error) from error
            except (ValueError, TypeError, KeyError) as error:
                self._note(error)
                raise

        return await self._file.run(run)


def _reason(error: BaseException) -> str:
    """In words that hold no data: SQLite's own texts may quote a statement, or what is stored."""
    if isinstance(error, QueueError | OSError) or str(error) == "database is locked":
        return str(error)
    return getattr(error, "sqlite_errorname", None) or type(error).__name__
