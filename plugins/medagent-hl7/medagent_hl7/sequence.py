"""The sequence number protocol, receiver's side (HL7 v2.5.1, chapter 2.10.1). Without I/O.

The sender numbers its messages in MSH-13. A number that is not expected freezes the link: nothing numbered is accepted until
the sender starts the link again (0), has it resynchronized (-1), or an operator releases it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from medagent.types import State

UNKNOWN = -1
"""Expected number (MSA-4) of a link that takes any positive one next."""
MOST_LINKS = 10_000
"""Links of one channel: senders choose their names."""
LINKS = "links"
"""The register that counts them."""
_LONGEST = 18
"""Digits of a sequence number that fits a register."""
_EXPECTED = "link-"
_FROZEN = "frozen-"

Registers = tuple[tuple[str, int], ...]
"""As in `medagent.types.InboundMessage.registers`."""
Failed = tuple[int, int]
"""The lowest and the highest number that was refused because it could not be stored."""


class Verdict(enum.Enum):
    """What MSH-13 of a message means for its link."""

    EXPECTED = enum.auto()
    """The next one."""
    REPEATED = enum.auto()
    """A message that is stored already, or that the server has refused: whatever its number, the link does not move."""
    START = enum.auto()
    """0: the sender (re)starts the link and asks for the expected number."""
    RESYNCHRONIZE = enum.auto()
    """-1: the next positive number counts, whatever it is."""
    INTERRUPTED = enum.auto()
    """One that comes after a message that could not be stored, and has to wait until that is sent again."""
    UNEXPECTED = enum.auto()
    """Anything else: the link is frozen now, if there is one."""
    FROZEN = enum.auto()
    """The link was frozen before."""

    @property
    def refuses(self) -> bool:
        return self in (Verdict.INTERRUPTED, Verdict.UNEXPECTED, Verdict.FROZEN)


@dataclass(frozen=True, slots=True)
class Link:
    """Where a link stands. A value: a move makes a new one. One that nobody has heard of is `Link()`."""

    expected: int = UNKNOWN
    """The next number, or `UNKNOWN`."""
    frozen: bool = False

    def receive(self, number: int | None, twin: State | None = None, failed: Failed | None = None) -> tuple[Verdict, Link]:
        """What a message means, and where the link stands after it. `number` is None for what is no number.

        `twin`: where a message with the same control ID and bytes stands, if one is stored.
        """
        tried = twin in (State.REJECTED, State.DEAD_LETTER)
        if twin is not None and not tried:
            return Verdict.REPEATED, self
        if number == 0:
            return Verdict.START, Link(self.expected)
        if number == -1:
            return Verdict.RESYNCHRONIZE, Link()
        if tried and number is not None and 0 < number < self.expected:
            return Verdict.REPEATED, self
        if self.frozen:
            return Verdict.FROZEN, self
        if number is not None and number > 0:
            if failed is not None and self._waits(number, failed):
                return Verdict.INTERRUPTED, self
            if self.expected in (UNKNOWN, number):
                return Verdict.EXPECTED, Link(number + 1)
        return Verdict.UNEXPECTED, Link(self.expected, frozen=True)

    def _waits(self, number: int, failed: Failed) -> bool:
        lowest, highest = failed
        if self.expected == UNKNOWN:
            return number > lowest
        return number > self.expected and self.expected <= highest


def parse_number(sequence_number: str) -> int | None:
    """A whole number as NM writes it; None for anything else."""
    digits = sequence_number.strip().removeprefix("+")
    plain = digits.removeprefix("-")
    return int(digits) if plain.isascii() and plain.isdigit() and len(plain) <= _LONGEST else None


def is_known(registers: Mapping[str, int], key: str) -> bool:
    """Whether there is a link of this key."""
    return _EXPECTED + key in registers


def read_link(registers: Mapping[str, int], key: str) -> Link:
    """The link of this key, as the registers have it."""
    return Link(registers.get(_EXPECTED + key, UNKNOWN), bool(registers.get(_FROZEN + key, 0)))


def frozen_links(registers: Mapping[str, int]) -> list[str]:
    """The keys of the frozen links."""
    return sorted(name.removeprefix(_FROZEN) for name, value in registers.items() if value and name.startswith(_FROZEN))


def to_registers(registers: Mapping[str, int], key: str, after: Link) -> Registers:
    """What changes when a link moves to `after`; a new one is counted."""
    before = read_link(registers, key)
    changes = []
    if after.expected != before.expected:
        if not is_known(registers, key):
            changes.append((LINKS, registers.get(LINKS, 0) + 1))
        changes.append((_EXPECTED + key, after.expected))
    return (*changes, *to_frozen(registers, key, frozen=after.frozen))


def to_frozen(registers: Mapping[str, int], key: str, *, frozen: bool) -> Registers:
    """The same of whether it is frozen; a link that nobody has heard of cannot be."""
    if not is_known(registers, key) or frozen is read_link(registers, key).frozen:
        return ()
    return ((_FROZEN + key, int(frozen)),)
