"""The sequence number protocol, receiver's side (HL7 v2.5.1, chapter 2.10.1). Without I/O.

The sender numbers its messages in MSH-13. A number that is not expected freezes the link: nothing numbered is accepted until
the sender starts the link again (0), has it resynchronized (-1), or an operator releases it.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

UNKNOWN = -1
"""Expected number (MSA-4) of a link that takes any positive one next."""
_LONGEST = 18
"""Digits of a sequence number that fits a register."""

Registers = tuple[tuple[str, int], ...]
"""As in `medagent.types.InboundMessage.registers`."""


class Verdict(enum.Enum):
    """What MSH-13 of a message means for its link."""

    UNNUMBERED = enum.auto()
    """Empty: the sender does not take part, and the message is accepted."""
    EXPECTED = enum.auto()
    """The next one."""
    REPEATED = enum.auto()
    """The last one again, under the same control ID: a retransmission."""
    START = enum.auto()
    """0: the sender (re)starts the link and asks for the expected number."""
    RESYNCHRONIZE = enum.auto()
    """-1: the next positive number counts, whatever it is."""
    UNEXPECTED = enum.auto()
    """Anything else: the link is frozen now."""
    FROZEN = enum.auto()
    """The link was frozen before."""

    @property
    def controls(self) -> bool:
        """Whether the message is about the link, and need not hold more than its MSH."""
        return self in (Verdict.START, Verdict.RESYNCHRONIZE)

    @property
    def refuses(self) -> bool:
        return self in (Verdict.UNEXPECTED, Verdict.FROZEN)


@dataclass(frozen=True, slots=True)
class Link:
    """Where a link stands. A value: a move makes a new one."""

    expected: int = UNKNOWN
    """The next number, or `UNKNOWN`."""
    last_id: int = 0
    """Stands for the control ID of the last accepted message (see `short_hash`)."""
    frozen: bool = False

    def receive(self, sequence_number: str, control_id: str) -> tuple[Verdict, Link]:
        """What a message means, and where the link stands if the message is stored."""
        if not sequence_number:
            return Verdict.UNNUMBERED, self
        number = _parse(sequence_number)
        if number == 0:
            return Verdict.START, Link(self.expected, self.last_id)
        if number == -1:
            return Verdict.RESYNCHRONIZE, Link()
        this_id = short_hash(control_id)
        if number is not None and number > 0:
            if self.expected != UNKNOWN and number == self.expected - 1 and this_id == self.last_id:
                return Verdict.REPEATED, self
            if not self.frozen and self.expected in (UNKNOWN, number):
                return Verdict.EXPECTED, Link(number + 1, this_id)
        if self.frozen:
            return Verdict.FROZEN, self
        return Verdict.UNEXPECTED, Link(self.expected, self.last_id, frozen=True)


@lru_cache(maxsize=1024)
def key_of(sender: tuple[str, str, str, str]) -> str:
    """The name of the link of this MSH-3 to MSH-6: 16 hexadecimal digits that tell nothing of them."""
    return f"{short_hash(chr(31).join(sender)):016x}"


def short_hash(text: str) -> int:
    """63 bits that stand for a text, above 0."""
    return (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1) | 1


def to_registers(key: str, link: Link) -> Registers:
    """A link's state as it is kept in the queue."""
    return (
        (f"link-{key}-expected", link.expected),
        (f"link-{key}-last", link.last_id),
        (f"link-{key}-frozen", int(link.frozen)),
    )


def from_registers(registers: Mapping[str, int]) -> dict[str, Link]:
    """The links by their keys; registers that are not of links are passed over."""
    keys = {name[5:-9] for name in registers if name.startswith("link-") and name.endswith("-expected")}
    return {
        key: Link(
            registers[f"link-{key}-expected"],
            registers.get(f"link-{key}-last", 0),
            bool(registers.get(f"link-{key}-frozen", 0)),
        )
        for key in sorted(keys)
    }


def _parse(sequence_number: str) -> int | None:
    """A whole number as NM writes it; None for anything else."""
    digits = sequence_number.strip().removeprefix("+")
    plain = digits.removeprefix("-")
    return int(digits) if plain.isascii() and plain.isdigit() and len(plain) <= _LONGEST else None
