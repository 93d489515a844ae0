"""Answering a batch by a batch: acknowledgments are gathered until each message has its own. Without I/O."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from medagent.types import InboundMessage
from medagent_hl7.acknowledgment import next_control_id, timestamp, without_controls
from medagent_hl7.batch import BatchFile, BatchHeader
from medagent_hl7.framing import END, START, encode_frame


@dataclass(frozen=True, slots=True)
class Outline:
    """What the answers to a batch need of it: a batch waits for the server as long as that takes."""

    header: BatchHeader | None
    batches: tuple[tuple[BatchHeader | None, int], ...]
    """The header and the number of messages of each."""

    @classmethod
    def of(cls, file: BatchFile) -> Outline:
        return cls(file.header, tuple((batch.header, len(batch.messages)) for batch in file.batches))


class Gathering:
    """Acknowledgments of one kind, one for each message of a batch."""

    def __init__(self, outline: Outline, indexes: Sequence[int]) -> None:
        """`indexes`: of the messages that are waited for."""
        self._outline = outline
        self._frames: dict[int, bytes] = {}
        self._waiting = set(indexes)

    @property
    def pending(self) -> bool:
        """Whether some message is waited for."""
        return bool(self._waiting)

    def add(self, index: int, frame: bytes | None) -> bytes | None:
        """Take the frame of one message, None if none is owed; the last one brings the frame that holds them all, if any."""
        self._waiting.discard(index)
        if frame is not None:
            self._frames[index] = frame
        if self._waiting or not self._frames:
            return None
        frames, self._frames = self._frames, {}
        return build(self._outline, frames)


class BatchReply:
    """What the sender of one batch is told."""

    def __init__(self, outline: Outline, link: str, indexes: Sequence[int], *, together: bool) -> None:
        """`indexes`: of the messages that are to be stored."""
        self.link = link
        """The connection that the batch came on."""
        self.together = together
        """One batch of acknowledgments; otherwise a frame for each message."""
        self.on_commit = Gathering(outline, indexes)
        self.on_answer = Gathering(outline, indexes)
        self.answered: list[InboundMessage] = []
        """Those whose answer of the server waits for the others'."""
        self.undecided = len(indexes)
        """How many have been neither committed nor refused."""
        self.stored = False
        """Whether any of them is on disk."""
        self.behind_block: dict[int, bytes] = {}
        """In MLLP release 2: acknowledgments that follow the block, which waits until all are decided."""
        self.seqs: set[int] = set()
        """Of the stored messages whose answers are waited for."""


def build(outline: Outline, frames: dict[int, bytes]) -> bytes:
    """A frame with these acknowledgments, which are frames too, by the index of their message.

    It has the headers of the original with their delimiters, sender and receiver swapped; FHS-12 and BHS-12 name the original.
    """
    now = timestamp(int(time.time()))
    data: list[bytes] = []
    if outline.header is not None:
        data.append(_header(outline.header, now))
    index = 0
    for header, count in outline.batches:
        indexes = range(index, index + count)
        index += count
        bodies = [_body(frames[each]) for each in indexes if each in frames]
        if header is None:
            data += bodies
        else:
            data += [_header(header, now), *bodies, _trailer("BTS", header, len(bodies))]
    if outline.header is not None:
        data.append(_trailer("FTS", outline.header, len(outline.batches)))
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
        next_control_id(),
        original.get(11),
    ]
    return without_controls(original.separator.join(fields).encode("latin-1") + b"\r")


def _trailer(name: str, header: BatchHeader, count: int) -> bytes:
    return without_controls(f"{name}{header.separator}{count}\r".encode("latin-1"))


def _body(frame: bytes) -> bytes:
    body = frame.removeprefix(START).removesuffix(END)
    return body if body.endswith(b"\r") else body + b"\r"
