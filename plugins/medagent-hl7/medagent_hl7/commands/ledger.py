"""What a load test has sent and what was answered: every acknowledgment is checked, and the figures come out. No I/O."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache

from medagent_hl7.answers import POSITIVE_CODES, Expect
from medagent_hl7.owed import APPLICATION_CODES, COMMIT_CODES
from medagent_hl7.samples.generate import NUMBER_DIGITS

_is_met = cache(Expect.is_met)


@dataclass(frozen=True, slots=True)
class Latency:
    """From the time a message was due to its acknowledgment: the time on the wire and every delay before it."""

    count: int
    p50: float
    p90: float
    p99: float
    p99_9: float
    max: float
    """Milliseconds, like the percentiles; each is a measured value (nearest rank)."""


def latency(seconds: Iterable[float]) -> Latency | None:
    """Sum up latencies; None without any."""
    ordered = sorted(seconds)
    if not ordered:
        return None
    picked = [ordered[max(0, math.ceil(len(ordered) * fraction) - 1)] for fraction in (0.5, 0.9, 0.99, 0.999, 1)]
    return Latency(len(ordered), *(round(value * 1000, 3) for value in picked))


@dataclass(frozen=True, slots=True)
class Result:
    """What a load test found."""

    sent: int
    answered: int
    """Messages that got all the acknowledgments expected."""
    missing: int
    """Messages that did not."""
    wrong: int
    """Answers with another code, without MSA, for no message of ours, or on another connection than the message's."""
    duplicate: int
    """Second acknowledgments of the same kind for one message."""
    negative: dict[str, int]
    """CE, CR, AE and AR, by code."""
    seconds: float
    """From the first message's due time to the last answer that counted."""
    rate: float
    """Answered messages a second."""
    commit: Latency | None
    application: Latency | None
    lateness: Latency | None
    """How long after their due time messages were written: a slow sender, or a receiver that does not read."""

    @property
    def clean(self) -> bool:
        """Nothing is missing, wrong, duplicate or negative."""
        return not (self.missing or self.wrong or self.duplicate or self.negative)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Ledger:
    """Accounts for messages of a `medagent_hl7.samples.generate.Generator`, numbered from 0 in the order of `sent`.

    All times are of one clock, in seconds.
    """

    def __init__(self, prefix: str, expect: Expect, connections: int) -> None:
        self._prefix = prefix
        self._expect = expect
        self._due = array("d")
        self._late = array("d")
        self._commit = array("d")
        self._application = array("d")
        self._connection = array("H")
        self._codes: list[tuple[str, ...]] = []
        self._negative: Counter[str] = Counter()
        self._last_answer = -math.inf
        self.answered_count = 0
        self.wrong = 0
        self.duplicate = 0
        self.outstanding = [0] * connections
        """By connection: messages that wait for what is expected."""

    @property
    def sent_count(self) -> int:
        return len(self._codes)

    @property
    def negative_count(self) -> int:
        return self._negative.total()

    def sent(self, connection: int, due: float, now: float) -> None:
        """The next message was written on this connection."""
        self._due.append(due)
        self._late.append(now - due)
        self._commit.append(math.nan)
        self._application.append(math.nan)
        self._connection.append(connection)
        self._codes.append(())
        self.outstanding[connection] += 1

    def answered(self, connection: int, code: str, control_id: str, now: float) -> None:
        """An acknowledgment came in on this connection; `code` is its MSA-1, `control_id` its MSA-2."""
        number = self._number(control_id)
        if number is None or self._connection[number] != connection:
            self.wrong += 1
            return
        if code in COMMIT_CODES:
            times = self._commit
        elif code in APPLICATION_CODES:
            times = self._application
        else:
            self.wrong += 1
            return
        if not math.isnan(times[number]):
            self.duplicate += 1
            return
        times[number] = now
        if code not in POSITIVE_CODES:
            self._negative[code] += 1
        before = self._codes[number]
        self._codes[number] = after = (*before, code)
        if _is_met(self._expect, after) and not _is_met(self._expect, before):
            self.answered_count += 1
            self.outstanding[connection] -= 1
            self._last_answer = now

    def unreadable(self, count: int = 1) -> None:
        """Answers came in that have no MSA segment, or something that was no MLLP frame."""
        self.wrong += count

    def _number(self, control_id: str) -> int | None:
        digits = control_id.removeprefix(self._prefix)
        if len(digits) != NUMBER_DIGITS or control_id == digits or not (digits.isascii() and digits.isdecimal()):
            return None
        number = int(digits)
        return number if number < len(self._codes) else None

    def result(self) -> Result:
        """The figures so far."""
        seconds = max(0.0, self._last_answer - self._due[0]) if self.answered_count else 0.0
        return Result(
            sent=self.sent_count,
            answered=self.answered_count,
            missing=self.sent_count - self.answered_count,
            wrong=self.wrong,
            duplicate=self.duplicate,
            negative=dict(self._negative),
            seconds=round(seconds, 3),
            rate=round(self.answered_count / seconds, 1) if seconds else 0.0,
            commit=self._latency(self._commit),
            application=self._latency(self._application),
            lateness=latency(self._late),
        )

    def _latency(self, times: array[float]) -> Latency | None:
        return latency(time - due for time, due in zip(times, self._due, strict=True) if time == time)
