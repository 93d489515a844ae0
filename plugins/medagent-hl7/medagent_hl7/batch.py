"""The batch protocol: several messages in one frame (HL7 v2.5.1, chapter 2.10.3). Without I/O.

    [FHS] { [BHS] { MSH ... } [BTS] } [FTS]

A frame is a batch if it begins with FHS or BHS, or with MSH and holds a further MSH segment: headers and trailers are optional.
Each header has delimiters of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from medagent.config.model import Value
from medagent.config.settings import Parameter
from medagent_hl7.message import BOM
from medagent_hl7.schemes import SCHEMES

MAX_MESSAGES = 10_000

PARAMETERS = (
    Parameter(
        "batchCounts",
        SCHEMES,
        str,
        "warn",
        "when BTS-1 or FTS-1 is not the number of messages or batches: log a warning, or reject the whole batch with error 207",
        choices=("warn", "reject"),
    ),
    Parameter(
        "batchAck",
        SCHEMES,
        str,
        "message",
        "how a batch is answered: message for a frame for each message, batch for one batch of acknowledgments",
        choices=("message", "batch"),
    ),
    Parameter(
        "maxBatchMessages",
        SCHEMES,
        int,
        MAX_MESSAGES,
        "messages that one frame may hold as a batch; one with more is refused by one answer",
        minimum=1,
        maximum=100_000,
    ),
)

_HEADERS = (b"FHS", b"BHS")
_SEGMENT = re.compile(rb"(?:^|(?<=[\r\n]))(FHS|BHS|BTS|FTS|MSH)")
_AFTER_CR = re.compile(rb"\rMSH")  # faster than `in`
_FURTHER_MESSAGE = re.compile(rb"[\r\n]MSH[^\w\s]")
"""With its separator: a line of text may begin with these letters too."""
_LINE_END = re.compile(rb"[\r\n]")
_FIELDS = 12
"""The last field of a header that is read is BHS-12; BHS-1 is the separator itself."""
_BLANK = b" \t\r\n\0"


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """What the address of a channel asks for."""

    reject_miscounts: bool = False
    answer_together: bool = False
    max_messages: int = MAX_MESSAGES

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Value]) -> BatchSettings:
        """Read checked parameters."""
        max_messages = parameters.get("maxBatchMessages", MAX_MESSAGES)
        if not isinstance(max_messages, int):
            raise TypeError("maxBatchMessages")
        return cls(parameters.get("batchCounts") == "reject", parameters.get("batchAck") == "batch", max_messages)


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """An FHS or BHS segment, read as latin-1. Their fields stand at the same places."""

    name: str
    separator: str
    fields: tuple[str, ...]

    def get(self, number: int) -> str:
        """FHS-`number` or BHS-`number`, from 2 on; "" if it is missing."""
        return self.fields[number - 1] if number <= len(self.fields) else ""


@dataclass(slots=True)
class Batch:
    """One batch of a frame."""

    header: BatchHeader | None
    messages: list[bytes] = field(default_factory=list)
    """As sent, each from its MSH on."""
    trailer: bool = False


@dataclass(slots=True)
class BatchFile:
    """What one frame holds."""

    header: BatchHeader | None = None
    batches: list[Batch] = field(default_factory=list)
    fault: str = ""
    """Why it cannot be taken apart without doubt (error 100); "" if it can."""
    miscounts: list[str] = field(default_factory=list)
    """Counts of trailers that are wrong."""
    missing: list[str] = field(default_factory=list)
    """Trailers that are not there."""
    excess: bool = False
    """There are too many segments of one kind; it was not read further."""

    @property
    def messages(self) -> list[bytes]:
        return [message for batch in self.batches for message in batch.messages]


def is_batch(body: bytes) -> bool:
    """Whether a frame's data is a batch."""
    if body.startswith(BOM):
        body = body.removeprefix(BOM)
    # what one message costs, and a long one too
    if _AFTER_CR.search(body) is None and (b"\n" not in body or b"\nMSH" not in body):
        return body.startswith(_HEADERS)
    return body.startswith(_HEADERS) or (body.startswith(b"MSH") and _FURTHER_MESSAGE.search(body) is not None)


def split(body: bytes, max_messages: int = MAX_MESSAGES) -> BatchFile:
    """Take a batch apart. Never raises: what is wrong is said in the result.

    One with more than `max_messages` messages, or segments of an envelope of one kind, is read so far and no further.
    """
    body = body.removeprefix(BOM)
    return _Splitter(body).split(max_messages)


class _Splitter:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._file = BatchFile()
        self._open: Batch | None = None
        """The batch that messages go to."""
        self._ended = False
        """FTS has come."""

    def split(self, max_messages: int) -> BatchFile:
        found = _SEGMENT.finditer(self._body)
        following = next(found, None)
        counts: Counter[str] = Counter()
        while (segment := following) is not None:
            following = next(found, None)
            end = len(self._body) if following is None else following.start()
            name = segment[1].decode("ascii")
            counts[name] += 1
            if counts[name] > max_messages:
                self._file.excess = True
                return self._file
            if self._ended:
                self._fault("FTS is not the last segment")
            if name == "MSH":
                self._take_message(self._body[segment.start() : end])
            else:
                self._take_envelope(name, self._body[segment.start() : end])
        self._close_batch()
        if self._file.header is not None and not self._ended:
            self._file.missing.append("FTS")
        return self._file

    def _take_message(self, message: bytes) -> None:
        if self._open is None:
            self._open = Batch(None)
            self._file.batches.append(self._open)
        self._open.messages.append(message)

    def _take_envelope(self, name: str, data: bytes) -> None:
        line, *rest = _LINE_END.split(data, maxsplit=1)
        if any(part.strip(_BLANK) for part in rest):
            self._fault(f"a segment that does not belong there follows {name}")
        separator = line[3:4].decode("latin-1")
        fields = tuple(line.decode("latin-1").split(separator, _FIELDS)[:_FIELDS]) if separator else (name,)
        if name in ("FHS", "BHS"):
            self._take_header(BatchHeader(name, separator, fields))
        else:
            self._take_trailer(name, fields[1].strip() if len(fields) > 1 else "")

    def _take_header(self, header: BatchHeader) -> None:
        if header.separator <= " " or header.separator.isalnum() or not header.get(2):
            self._fault(f"{header.name}-1 and {header.name}-2 do not hold the delimiters")
        self._close_batch()
        if header.name == "BHS":
            self._open = Batch(header)
            self._file.batches.append(self._open)
        elif self._file.header is not None or self._file.batches:
            self._fault("FHS is not the first segment")
        else:
            self._file.header = header

    def _take_trailer(self, name: str, count: str) -> None:
        if name == "BTS":
            if self._open is None:
                self._fault("BTS without a batch before it")
                return
            self._open.trailer = True
            self._check("BTS-1", count, "batch", len(self._open.messages), "message", "messages")
            self._open = None
        else:
            self._close_batch()
            self._ended = True
            self._check("FTS-1", count, "file", len(self._file.batches), "batch", "batches")

    def _close_batch(self) -> None:
        """The batch at hand ends; only one with a header owes a trailer."""
        if self._open is not None and self._open.header is not None:
            self._file.missing.append("BTS")
        self._open = None

    def _check(self, where: str, count: str, holder: str, actual: int, one: str, many: str) -> None:
        """A count that is not given is not checked."""
        if count and count.lstrip("0") != str(actual).lstrip("0"):
            self._file.miscounts.append(f"{where} is wrong: the {holder} has {actual} {one if actual == 1 else many}")

    def _fault(self, text: str) -> None:
        self._file.fault = self._file.fault or text
