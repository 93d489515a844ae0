"""What a run has left behind, for `medagent.testing.invariants` to judge. Everything is optional but what a check is about."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medagent.testing.bots import Bot, BotRequest, BotResult, identify
from medagent.testing.ledger import sha256_of


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message that reached the server, once for every attempt that did."""

    callback: str
    channel: str
    control_id: str
    sha256: str

    @classmethod
    def of(cls, callback: object, channel: str, body: str) -> Delivery:
        """From the fields of a transmit request; the control ID is MSH-10."""
        fields = body.split("|", 10)
        return cls(str(callback), channel, fields[9] if len(fields) > 9 else "", sha256_of(body.encode()))


class Deliveries:
    """A bot that notes every message before another bot answers it."""

    def __init__(self, bot: Bot = identify) -> None:
        self._bot = bot
        self.noted: list[Delivery] = []
        """In the order of arrival."""

    def __call__(self, request: BotRequest) -> BotResult | Awaitable[BotResult]:
        self.noted.append(Delivery.of(request.callback, request.channel, request.body))
        return self._bot(request)


@dataclass(frozen=True, slots=True)
class Flush:
    """The order of a positive acknowledgment and of the flush that covers it, from a record of system calls."""

    channel: str
    control_id: str
    acknowledged_at: int
    """Position of the write to the socket in the record."""
    flushed_at: int | None
    """Position of the end of the first flush after the row was written; None if there was none."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that may not grow without bound, such as the open files of the agent's process."""

    name: str
    value: float
    limit: float


def figures_of(process_id: int, *, rss_mb: float, files: int, threads: int) -> list[Figure]:
    """What a running process uses now, beside what it may use at most."""
    folder = Path(f"/proc/{process_id}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return [
        Figure("the memory in MB", int(status["VmRSS"].split()[0]) / 1024, rss_mb),
        Figure("the number of open files", len(list((folder / "fd").iterdir())), files),
        Figure("the number of threads", int(status["Threads"]), threads),
    ]


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the agent on a state folder that an earlier one left behind."""

    name: str
    works: bool
    """Whether it came to listen, or the store to open."""
    reason: str = ""
    """Why not."""


@dataclass(slots=True)
class Evidence:
    """The evidence of one run."""

    ledgers: Sequence[Path] = ()
    """Of the senders (`medagent.testing.ledger`)."""
    ordered_senders: bool = False
    """Whether each sender has resent, in order, what was not acknowledged before it sent anything new, so that its order of
    sending is the order in which its messages were accepted."""
    answered: Collection[str] = ()
    """Senders that have stayed on their connections until each of their messages should have had an application
    acknowledgment."""
    deliveries: Sequence[Delivery] = ()
    """In the order of arrival at the server."""
    queues: Sequence[Path] = ()
    """Queue files that no agent holds."""
    drained: bool = False
    """Whether everything in the queue should have ended."""
    accepted: int | None = None
    """How many messages the agent says it has accepted into these queues."""
    flushes: Sequence[Flush] = ()
    logs: Mapping[str, Iterable[str]] = field(default_factory=dict)
    """Lines of logs, metrics and the like, by a name for the report."""
    canaries: Sequence[str] = ()
    """Texts of the messages' bodies, and secrets, that no log may hold."""
    figures: Sequence[Figure] = ()
    starts: Sequence[Start] = ()
