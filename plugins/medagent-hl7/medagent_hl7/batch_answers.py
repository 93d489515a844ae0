"""Answering a batch by a batch: acknowledgments are gathered until each message has its own. Without I/O."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from medagent.types import InboundMessage
from medagent_hl7.acknowledgment import timestamp
from medagent_hl7.batch import BatchFile, BatchHeader
from medagent_hl7.framing import END, START, encode_frame

# one sequence for all channels; the clock's start keeps it apart from those of earlier runs, 16 digits
_control_ids = itertools.count(time.time_ns() // 1000)


class Gathering:
    """Acknowledgments of one kind, one for each message of a batch."""

    def __init__(self, batch: BatchFile, indexes: Sequence[int]) -> None:
        """`indexes`: of the messages that are waited for."""
        self._batch = batch
        self._frames: dict[int, bytes] = {}
        self._waiting = set(indexes)

    @property
    def pending(self) -> bool:
        """Whether some message is waited for."""
        return bool(self._waiting)

    def waits_for(self, index: int) -> bool:
        return index in self._waiting

    def add(self, index: int, frame: bytes | None) -> bytes | None:
        """Take the frame of one message, None if none is owed; the last one brings the frame that holds them all, if any."""
        self._waiting.discard(index)
        if frame is not None:
            self._frames[index] = frame
        return build(self._batch, self._frames) if self._frames and not self._waiting else None


class BatchReply:
    """What the sender of one batch is told."""

    def __init__(self, batch: BatchFile, control_ids: Sequence[str], indexes: Sequence[int], *, together: bool) -> None:
        """`control_ids` of the messages at these `indexes`."""
        self._messages = batch.messages
        self._indexes: dict[str, list[int]] = {}
        for control_id, index in zip(control_ids, indexes, strict=True):
            self._indexes.setdefault(control_id, []).append(index)
        self.together = together
        """One batch of acknowledgments; otherwise a frame for each message."""
        self.on_commit = Gathering(batch, indexes)
        self.on_answer = Gathering(batch, indexes)
        self.answered: list[InboundMessage] = []
        """Those whose answer of the server waits for the others'."""
        self.decided = False
        """Whether the first of them has been committed or refused."""
        self.copies: set[int] = set()
        """Those that were in the queue already: what is stored is answered once, for all its copies."""

    def called(self, control_id: str) -> list[int]:
        """The messages with this control ID."""
        return self._indexes.get(control_id, [])

    def same_as(self, other: BatchReply, index: int, control_id: str) -> list[int]:
        """The messages that are byte for byte that of another batch, or of this one; itself left out."""
        body = other._messages[index]
        called = self.called(control_id)
        return [at for at in called if self._messages[at] == body and (self is not other or at != index)]


def build(batch: BatchFile, frames: dict[int, bytes]) -> bytes:
    """A frame with these acknowledgments, which are frames too, by the index of their message.

    It has the headers of the original with their delimiters, sender and receiver swapped; FHS-12 and BHS-12 name the original.
    """
    now = timestamp(int(time.time()))
    data: list[bytes] = []
    if batch.header is not None:
        data.append(_header(batch.header, now))
    index = 0
    for one in batch.batches:
        indexes = range(index, index + len(one.messages))
        index += len(one.messages)
        bodies = [_body(frames[each]) for each in indexes if each in frames]
        if one.header is None:
            data += bodies
        else:
            data += [_header(one.header, now), *bodies, _trailer("BTS", one.header, len(bodies))]
    if batch.header is not None:
        data.append(_trailer("FTS", batch.header, len(batch.batches)))
    return encode_frame(b"".join(data))


def _header(original: BatchHeader, now: str) -> bytes:
    fields = [
        original.name,
        original.get(2),
        original.get(5),
        original.get(6),
        original.get(3),
        original.get(4),
        now,
        "",
        "",
        "",
        str(next(_control_ids)),
        original.get(11),
    ]
    return original.separator.join(fields).encode("latin-1") + b"\r"


def _trailer(name: str, header: BatchHeader, count: int) -> bytes:
    return f"{name}{header.separator}{count}\r".encode("latin-1")


def _body(frame: bytes) -> bytes:
    body = frame.removeprefix(START).removesuffix(END)
    return body if body.endswith(b"\r") else body + b"\r"
