"""The messages that flow through medagent, and the small values that go with them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

PUSH_CHANNEL = "$push"
"""What the queue calls messages of the server for devices; no channel of an Agent may have this name."""


class Duplicates(enum.Enum):
    """What becomes of a message whose control ID is already in the queue."""

    IDEMPOTENT = "idempotent"
    """The same bytes: not stored again, the sender gets the stored answer. Other bytes: accepted, since senders reuse IDs."""
    REJECT = "reject"
    """The same bytes as above; other bytes are refused."""
    ACCEPT = "accept"
    """Everything is a message of its own."""


KeepsAnswer = Callable[[str, str], bool]
"""Whether the connection of the first link gets the answer to a message although a copy of it has come over the second.

A device hangs up while reading is paused, and sends again over a new connection: its first copy may be read last. So what
counts is which connections are open, and which of them is the youngest, and that only their channel knows. It is called on the
store's thread, in the transaction, and must not block.
"""


@dataclass(frozen=True, slots=True)
class AcceptanceRules:
    """How the store takes a message; one value serves all messages of a channel."""

    duplicates: Duplicates = Duplicates.IDEMPOTENT
    """What becomes of a message whose control ID is used."""
    duplicate_window: float = 7 * 86_400.0
    """Seconds after which a control ID counts as new."""
    numbered: bool = False
    """Give each message the next number of its channel, without gaps, from 0."""
    keeps_answer: KeepsAnswer | None = field(default=None, compare=False)
    """None: a message is answered where its last copy came from."""
    changed_by: str = field(default="", compare=False)
    """The parameter of the channel's address that `duplicates` comes from, for the log; "" if there is none."""


DEFAULT_RULES = AcceptanceRules()
"""Of a channel that has no others: a sender's same bytes under the same control ID are stored once in seven days."""


class Admission(Protocol):
    """A channel's own decision on a message, made where it is known what is committed: in the store's transaction.

    It is called on the store's thread, in the order of acceptance, and again if the transaction has failed and is tried again.
    It may set on the message's `origin` what the acknowledgment needs, and must move nothing else.
    """

    def __call__(self, message: InboundMessage, registers: Mapping[str, int], twin: State | None) -> Decision:
        """Decide on `message`.

        `registers` are the channel's, those included that messages before it in this transaction have set.

        `twin`: where its sender's newest stored message with the same control ID and bytes stands, None if there is none within
        the duplicate window or the control ID is empty. A twin that the server did not refuse makes an admitted message a
        duplicate, with `Duplicates.ACCEPT` too; otherwise it is stored.
        """


@dataclass(frozen=True, slots=True)
class Decision:
    """What an `Admission` says of a message."""

    registers: tuple[tuple[str, int], ...] = ()
    """Values to be kept, also with a refusal, when they must not rest on parts of the same batch: those are not stored."""
    refusal: Refusal | None = None
    """Why the message is not stored; a batch of which one part is refused is refused as a whole."""


ADMITTED = Decision()
"""Nothing speaks against it, and nothing is to be kept."""


@dataclass(slots=True, eq=False)
class InboundMessage:
    """One message from a device, from the moment a channel has read it until it has ended.

    The channel fills the fields up to `parts`; the core fills the rest on acceptance.
    """

    body: bytes | None
    """The bytes as the device sent them, framing removed; None once they are on disk and not needed in memory."""
    control_id: str
    """What the sender calls the message (MSH-10 in HL7), for `rules.duplicate_window` seconds no other one of its own.

    "" if it has no such name: then the message is never taken for a resend.
    """
    remote: str
    """The peer, such as `10.0.0.7:41022`."""
    link: str = ""
    """The channel's name of the connection the answer goes to; never used for another connection, in this run or a later."""
    origin: object = None
    """The channel's own handle for the answer (a connection, a header); None for a message read back from disk."""
    rules: AcceptanceRules = DEFAULT_RULES
    """How the store takes it."""
    sender: int = 0
    """Stands for who has sent it, if one channel has several senders that make control IDs by themselves: 63 bits.

    What another sender has sent is never taken for a resend. `medagent.listening.sender_of` makes it.
    """
    admission: Admission | None = None
    """Asked in the transaction that would store the message; None for a message that nothing speaks against."""
    registers: tuple[tuple[str, int], ...] = ()
    """Values of the channel's own, by name, that are to be on disk exactly if this message is (`ChannelContext.registers`).

    A message that a channel hands over without a body is nothing but its registers and those of its `admission`: `committed`
    says that they are on disk, and it is not sent on.
    """
    parts: tuple[InboundMessage, ...] = ()
    """If not empty, this stands for its parts, which are committed together or not at all; the parts are what is stored."""

    whole: int = 0
    """The same for all parts of one message, and of no other; 0 for what is no part."""
    copy_of: int = 0
    """The seq of the stored message that this one is a duplicate of, known when it is `committed`; 0 if it is none."""
    number: int | None = None
    """By `AcceptanceRules.numbered`."""
    channel: str = ""
    """The name of the channel it came by."""
    seq: int = 0
    """Position in the queue: unique in it, increasing in the order of acceptance, with gaps."""
    callback: str = ""
    """The stable key of every attempt, such as `Agent/<id>-<uuid>`."""
    accepted_at: float = 0.0
    """Seconds since the epoch."""
    received_at: float = 0.0
    """Monotonic seconds; 0.0 for a message read back from disk. For latencies only."""
    attempts: int = 0
    """How many attempts have ended, with an answer or with a failure that counts by the channel's retry settings."""
    stored_state: State | None = None
    """What the queue file says of it; None until it is committed. For the store."""
    size: int = field(init=False)
    """Bytes of the body, also when that is no longer in memory."""

    def __post_init__(self) -> None:
        self.size = len(self.body or b"")

    def answer_to(self, copy: InboundMessage) -> None:
        """The device has sent it again: the connection of `copy` gets the answer."""
        self.link, self.remote, self.origin = copy.link, copy.remote, copy.origin


class State(enum.IntEnum):
    """Where a message stands; the numbers are what the queue file holds. Values from 10 on are ended ones."""

    RECEIVED = 0
    """Committed, not sent yet."""
    SENT = 1
    """Written to the uplink, not answered yet."""
    RESPONSE_QUEUED = 2
    """The server has answered; the device is being told."""
    ERROR = 3
    """Failed, and will be tried again."""
    RESPONSE_SENT = 10
    """The device was told the server's answer."""
    PROCESSED = 11
    """The server took it, and no answer was owed to the device."""
    RESPONSE_UNDELIVERED = 12
    """The server took it, and the device was gone; a resend gets the stored answer."""
    REJECTED = 13
    """The server will never take it."""
    DEAD_LETTER = 14
    """The retry settings of its channel gave it up, or it is too long for the server."""
    FILTERED = 15
    """A transform kept it from the server, and the device was told as if that had taken it."""

    # that of Enum is of the name, and takes three times as long; a state is a part of many keys
    __hash__ = int.__hash__

    @property
    def ended(self) -> bool:
        """Whether nothing more will be done for the message."""
        return self >= 10


class Delivery(enum.Enum):
    """What a channel did with an answer for a device."""

    SENT = State.RESPONSE_SENT
    """Handed to the device's connection."""
    QUEUED = State.RESPONSE_QUEUED
    """Waits for a slow device; the channel reports the outcome later by `ChannelContext.delivered`."""
    NOT_OWED = State.PROCESSED
    """The channel's acknowledgment mode asks for no answer here."""
    GONE = State.RESPONSE_UNDELIVERED
    """The device's connection no longer exists."""


class RefusalKind(enum.Enum):
    """Why a message was not accepted."""

    STORAGE = "storage"
    """It could not be committed; the sender should send it again (HL7: CE, or AE in original mode)."""
    UNACCEPTABLE = "unacceptable"
    """It can never be accepted as it is (HL7: CR, or AR in original mode)."""
    DUPLICATE = "duplicate"
    """As above, because its control ID is that of another message (`Duplicates.REJECT`)."""
    SEQUENCE = "sequence"
    """As above, because its sequence number is not the one that its sender has to use next."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message was not accepted, in words that hold no patient data."""

    kind: RefusalKind
    """What it is for the sender: worth another try, or not."""
    reason: str
    """Without patient data, so it may go to the device and to the log."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's final verdict on a message."""

    accepted: bool
    """False when the server will never take the message, or the channel's retry settings have given it up."""
    body: str
    """The server's acknowledgment if `accepted` (it need not be HL7; "" if a transform kept the message from it), else ""."""
    reason: str = ""
    """Why the server refused; may hold patient data, so it goes to the queue, never to the device or a log."""
