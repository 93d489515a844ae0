"""A sender's own record of what it sent and what was acknowledged, on disk before it counts."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

POSITIVE_CODES = frozenset({"AA", "CA"})
"""The codes of MSA-1 that say that a message is safe."""


def sha256_of(body: bytes) -> str:
    """The digest by which ledgers, deliveries and queue files are compared."""
    return hashlib.sha256(body).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """An acknowledgment, as the sender got it."""

    code: str
    """MSA-1."""
    connection: str
    """The connection it came on."""
    at: float
    """Seconds since the epoch."""
    about: str = ""
    """Digest of the message that it says it is about; "" if it does not say."""


@dataclass(slots=True)
class Entry:
    """One message of one sender; a resend of the same bytes is the same message."""

    channel: str
    control_id: str
    sha256: str
    sender: str
    connections: Counter[str] = field(default_factory=Counter)
    """How often it was sent on each."""
    answers: list[Answer] = field(default_factory=list)

    @property
    def acknowledged(self) -> bool:
        """Whether the sender was told that the message is safe."""
        return any(answer.code in POSITIVE_CODES for answer in self.answers)

    def __str__(self) -> str:
        return f"{self.channel}/{self.control_id}"


@dataclass(slots=True)
class Record:
    """What a ledger's file says."""

    entries: list[Entry] = field(default_factory=list)
    """In the order in which the messages were sent first."""
    strays: list[tuple[str, str, Answer]] = field(default_factory=list)
    """Acknowledgments (channel, control ID, answer) of what was not sent on their connection."""


class Ledger:
    """An append-only file. What its methods were given is on disk when they return, unless it was made otherwise.

    A sender that uses a control ID for two messages waits for the first one's acknowledgment before it sends the second.
    """

    def __init__(self, path: Path, *, flushed: bool = True) -> None:
        """`flushed` False: for a run whose own machine and process are not what ends."""
        self.path = path
        self._flushed = flushed
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

    def sent(self, sender: str, connection: str, channel: str, messages: Iterable[tuple[str, bytes]]) -> None:
        """These messages, (control ID, body), are about to be written to the connection. Call it before writing."""
        self._append(f"sent\t{sender}\t{connection}\t{channel}\t{name}\t{sha256_of(body)}\n" for name, body in messages)

    def acknowledged(self, connection: str, channel: str, answers: Iterable[tuple[str, str] | tuple[str, str, str]]) -> None:
        """These acknowledgments, (control ID of MSA-2, code of MSA-1), have come in; a third text is `Answer.about`."""
        now = time.time()
        self._append(
            f"answer\t{connection}\t{channel}\t{name}\t{code}\t{now:.6f}\t{about[0] if about else ''}\n"
            for name, code, *about in answers
        )

    def _append(self, lines: Iterable[str]) -> None:
        if data := "".join(lines).encode():
            os.write(self._file, data)
            if self._flushed:
                os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


def read_ledger(path: Path) -> Record:
    """What the file says; a last line that a crash has cut short is left out."""
    record = Record()
    by_body: dict[tuple[str, str, str], Entry] = {}
    latest: dict[tuple[str, str, str], Entry] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                break
            kind, *fields = line[:-1].split("\t")
            if kind == "sent":
                sender, connection, channel, control_id, sha256 = fields
                entry = by_body.get((channel, control_id, sha256))
                if entry is None:
                    entry = by_body[channel, control_id, sha256] = Entry(channel, control_id, sha256, sender)
                    record.entries.append(entry)
                entry.connections[connection] += 1
                latest[connection, channel, control_id] = entry
            else:
                connection, channel, control_id, code, at, about = fields
                answer = Answer(code, connection, float(at), about)
                if (entry := latest.get((connection, channel, control_id))) is None:
                    record.strays.append((channel, control_id, answer))
                else:
                    entry.answers.append(answer)
    return record
