"""What is wrong with a configuration, said so that a person can mend it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.StrEnum):
    """How bad a problem is."""

    ERROR = "error"
    """Faulty; `medagent check` fails."""
    NOTE = "note"
    """No fault: worth knowing, such as a setting without effect."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding."""

    where: str
    """Such as `Agent.setting[2].valueInteger` or `Endpoint/ep1.address`."""
    message: str
    """What was found and what is allowed."""
    used: str = ""
    """What is used instead, such as `the default, 100`; "" if nothing is."""
    severity: Severity = Severity.ERROR
    """Whether it is a fault."""
    channel: str = ""
    """The channel that does not listen because of it; "" if none does not."""
    consequence: bool = False
    """It only says what comes of other problems."""
    fatal: bool = False
    """No agent works by a configuration that has it."""
    passing: bool = False
    """The channel looks at this again by itself, and then says in its own state how it is: `medagent status` leaves it out."""

    @property
    def fault(self) -> str:
        """Where and what, without what is used instead."""
        return f"{self.where}: {self.message}"

    def __str__(self) -> str:
        used = f"; using {self.used}" if self.used else ""
        return f"{self.fault}{used}"
