"""What a sender waits for, gets, or gets instead: acknowledgments and errors."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from medagent.errors import MedagentError
from medagent_hl7.message import Header
from medagent_hl7.owed import APPLICATION_CODES

POSITIVE_CODES = ("AA", "CA")


class Expect(enum.StrEnum):
    """Which acknowledgments a sender waits for (HL7 v2.5.1, chapter 2.9)."""

    FIRST = "first"
    """Whatever comes first: original and enhanced mode alike."""
    APPLICATION = "application"
    """The application acknowledgment; a commit acknowledgment before it is not the end."""
    BOTH = "both"
    """A commit acknowledgment and the application acknowledgment."""
    NONE = "none"
    """None of HL7. With MLLP release 2 the commit acknowledgment block alone."""

    def is_met(self, codes: Sequence[str]) -> bool:
        """Whether nothing more is to come after these codes. After CE or CR no application acknowledgment follows."""
        if self is Expect.NONE:
            return True
        if self is Expect.FIRST:
            return bool(codes)
        if "CE" in codes or "CR" in codes:
            return True
        if self is Expect.BOTH:
            return "CA" in codes and any(code in APPLICATION_CODES for code in codes)
        # also a code that HL7 does not have: the receiver has said its last word
        return any(code != "CA" for code in codes)

    @classmethod
    def due(cls, header: Header) -> Expect:
        """What the receiver of a message owes by its MSH-15 and MSH-16, where a CA is final only if MSH-16 says so.

        A receiver may work in enhanced mode although neither field is given. An application acknowledgment that is due on
        success or on error only (SU, ER) is waited for.
        """
        if header.application_acknowledgment_type.strip().upper() != "NE":
            return cls.APPLICATION
        return cls.NONE if header.accept_acknowledgment_type.strip().upper() == "NE" else cls.FIRST


@dataclass(frozen=True, slots=True)
class Acknowledgment:
    """One answer to one message."""

    code: str
    """MSA-1."""
    body: bytes = field(repr=False)
    seconds: float
    """Since the message was written."""


class ConnectFailed(MedagentError):
    """The receiver cannot be reached."""


class SendFailed(MedagentError):
    """A message was not answered as expected."""

    def __init__(self, message: str, answers: Sequence[Acknowledgment] = ()) -> None:
        super().__init__(message)
        self.answers = list(answers)
        """What had come until then."""


class AnswerTimeout(SendFailed):
    """The expected acknowledgment did not come in time, or the message was not taken in time."""


class ConnectionLost(SendFailed):
    """The connection ended before the expected acknowledgment, or was given up."""


class NotCommitted(SendFailed):
    """The receiver did not acknowledge the block (MLLP release 2)."""


class Busy(SendFailed):
    """No connection became free in time; nothing was sent."""
