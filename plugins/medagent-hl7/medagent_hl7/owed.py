"""Which acknowledgments a message calls for (HL7 v2.5.1, chapter 2.9). Pure; what they say is in `acknowledgment`."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from medagent.types import RefusalKind
from medagent_hl7.message import SEARCHED_BYTES, Header, msa, msa_code

APPLICATION_CODES = ("AA", "AE", "AR")
COMMIT_CODES = ("CA", "CE", "CR")


def has_acknowledgment_type(header: Header) -> bool:
    """Whether MSH-9 says ACK, in any case and padded."""
    # what each message costs: most have no such letters there
    return "ACK" in header.field(9).upper() and header.message_type.strip().upper() == "ACK"


def is_acknowledgment(header: Header, body: bytes) -> bool:
    """Whether a message, or a body that cannot be read as one, acknowledges another: then it is never acknowledged.

    That is an ACK; a commit acknowledgment under another message type; and without a message type whatever has an
    acknowledgment code in an MSA that follows its MSH. A response with an application code, such as ORR or RSP, is a message.
    """
    if has_acknowledgment_type(header):
        return True
    if header.wide_codec is not None:
        body = body.decode(header.wide_codec, errors="replace").encode()
    head = body[:SEARCHED_BYTES]
    if msa_code(head) in COMMIT_CODES or ((far := msa(body)) is not None and far[0] in COMMIT_CODES):
        return True
    return not header.message_type.strip() and msa_code(head, second=True) in APPLICATION_CODES


class Mode(enum.Enum):
    """When a channel acknowledges: the `enhanced` parameter of its address."""

    ORIGINAL = "false"
    """The server's acknowledgment, once it has answered."""
    ENHANCED = "true"
    """A commit acknowledgment when the message is on disk, then the server's as `appLevelAck` says."""
    AA = "aa"
    """AA when the message is on disk, and nothing later."""


class AckMode(enum.Enum):
    """Who decides what is acknowledged: the `ackMode` parameter."""

    CHANNEL = "channel"
    """`enhanced` and `appLevelAck`, as at Medplum's agent."""
    MESSAGE = "message"
    """MSH-15 and MSH-16 of each message."""


class AckCondition(enum.Enum):
    """When an acknowledgment is asked for (table 0155)."""

    AL = "AL"
    """Always."""
    NE = "NE"
    """Never."""
    ER = "ER"
    """Errors and rejections only."""
    SU = "SU"
    """Success only."""

    def asks_for(self, code: str) -> bool:
        """Whether an acknowledgment with this MSA-1 is asked for; one without an error counts as success."""
        if self is AckCondition.AL or self is AckCondition.NE:
            return self is AckCondition.AL
        return (code in _NEGATIVE_CODES) is (self is AckCondition.ER)


_NEGATIVE_CODES = ("AE", "AR", "CE", "CR")
ANSWER_CODES = ("", *APPLICATION_CODES, *COMMIT_CODES)
"""What MSA-1 of a server's answer may be; "" if it has no MSA."""
_CONDITIONS: dict[str, AckCondition] = {condition.value: condition for condition in AckCondition}


@dataclass(frozen=True, slots=True)
class Owed:
    """What the sender of a message is told, and when."""

    on_commit: str | None = None
    """The code once the message is on disk; None for silence, as in the others."""
    on_error: str | None = None
    """The code when it was not accepted for a reason that may pass."""
    on_rejection: str | None = None
    """The code when it can never be accepted as it is."""
    answers: bool = False
    """The server's answer is for the device, unless its code is withheld."""
    withheld: frozenset[str] = frozenset()
    """Codes (MSA-1) of the server that the device is not to hear."""

    @property
    def answers_only(self) -> bool:
        """Whether the server's answer is the only acknowledgment of a message that is stored."""
        return self.answers and self.on_commit is None

    def on_refusal(self, kind: RefusalKind) -> str | None:
        return self.on_error if kind is RefusalKind.STORAGE else self.on_rejection


NOTHING = Owed()
_ORIGINAL = Owed(on_error="AE", on_rejection="AR", answers=True)
_AA = Owed(on_commit="AA", on_error="AE", on_rejection="AR")


def owed_by_channel(mode: Mode, app_level_ack: AckCondition) -> Owed:
    """In `ackMode=channel`: the same for every message. As at Medplum's agent, only application codes are withheld."""
    if mode is not Mode.ENHANCED:
        return _ORIGINAL if mode is Mode.ORIGINAL else _AA
    withheld = frozenset(code for code in APPLICATION_CODES if not app_level_ack.asks_for(code))
    return Owed("CA", "CE", "CR", answers=True, withheld=withheld)


def owed_by_conditions(accept: AckCondition, application: AckCondition) -> Owed:
    """In enhanced mode, with the conditions of MSH-15 and MSH-16.

    Who wants no commit acknowledgment of an error, but application acknowledgments of errors, hears of a message that was
    not accepted by AE or AR. After CE or CR no application acknowledgment follows.
    """

    withheld = frozenset(code for code in ANSWER_CODES if not application.asks_for(code))
    answers = application is not AckCondition.NE
    return Owed(
        on_commit="CA" if accept.asks_for("CA") else None,
        on_error=_first_asked_for(("CE", accept), ("AE", application)),
        on_rejection=_first_asked_for(("CR", accept), ("AR", application)),
        answers=answers,
        withheld=withheld if answers else frozenset(),
    )


def _first_asked_for(*choices: tuple[str, AckCondition]) -> str | None:
    return next((code for code, condition in choices if condition.asks_for(code)), None)


class OwedByMessage:
    """In `ackMode=message`: MSH-15 and MSH-16 decide; with neither of them the message is in original mode."""

    def __init__(self, mode: Mode, missing: AckCondition) -> None:
        """With `Mode.AA` original mode means AA on commit. `missing` stands for one that is not given beside the other."""
        conditions = (None, *AckCondition)
        self._owed = {
            (accept, application): owed_by_conditions(accept or missing, application or missing)
            for accept in conditions
            for application in conditions
        }
        self._owed[None, None] = _AA if mode is Mode.AA else _ORIGINAL
        self._owed_to_acknowledgment = {
            accept: owed_by_conditions(accept or AckCondition.NE, AckCondition.NE) for accept in conditions
        }

    def __call__(self, header: Header) -> Owed:
        """A value that table 0155 does not have counts as not given. An ACK gets a commit acknowledgment or none."""
        accept = _CONDITIONS.get(header.accept_acknowledgment_type.strip().upper())
        if has_acknowledgment_type(header):
            return self._owed_to_acknowledgment[accept]
        return self._owed[accept, _CONDITIONS.get(header.application_acknowledgment_type.strip().upper())]
