"""Verification of MSH-13 for one channel: what is accepted, what is answered at once, what is kept. Without I/O.

Expectations move when a message is handed over and are on disk exactly if the message is; they go back if it is refused. What
one read brings of a link is committed together or not at all, so that no number is left out between two that are stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from medagent.config.settings import Parameter
from medagent.types import InboundMessage
from medagent_hl7.acknowledgment import INTERNAL_ERROR
from medagent_hl7.message import Header
from medagent_hl7.numbering import has_content, with_expected_number
from medagent_hl7.origin import Note, Tracked
from medagent_hl7.schemes import SCHEMES
from medagent_hl7.sequence import UNKNOWN, Link, Verdict, from_registers, key_of, to_registers

PARAMETERS = (
    Parameter(
        "verifySeqNo",
        SCHEMES,
        bool,
        False,
        "verify MSH-13 for each MSH-3 to MSH-6: a number that is not expected is refused with the expected one in MSA-4 and "
        "freezes the link",
    ),
)

SEQUENCE_NUMBER = 13
UNEXPECTED_NUMBER = "The sequence number is not the expected one; the link is frozen"
Refuse = Callable[[Header, str, int, int], bytes | None]
"""Makes the frame that refuses a message: its header, text, error code and field of MSH."""
Acknowledge = Callable[[Header], bytes]
"""Makes the frame of a general acknowledgment."""


class Verification:
    """The links of one channel."""

    def __init__(
        self, registers: Mapping[str, int], *, refuse: Refuse, acknowledge: Acknowledge, log: logging.Logger, channel: str
    ) -> None:
        self._links = from_registers(registers)
        self._refuse = refuse
        self._acknowledge = acknowledge
        self._log = log
        self._channel = channel

    def screen(self, messages: Sequence[InboundMessage]) -> tuple[list[InboundMessage], list[bytes]]:
        """What of one read is handed over, notes included, and the frames that refuse the rest."""
        accepted: list[InboundMessage] = []
        rejections: list[bytes] = []
        run: list[InboundMessage] = []
        """Consecutive numbers of one link."""
        for message in messages:
            verdict, tracked = self._receive(message)
            if run and (verdict is not Verdict.EXPECTED or run[-1].registers[0][0] != message.registers[0][0]):
                accepted.append(_together(run))
                run = []
            if verdict is Verdict.EXPECTED:
                run.append(message)
            elif verdict.refuses:
                rejections += self._refusal(message, tracked)
                if verdict is Verdict.UNEXPECTED:
                    accepted.append(_note(message, self._registers(tracked.link_key), Note()))
            elif verdict.controls and not has_content(message.body or b""):
                frame = with_expected_number(self._acknowledge(tracked.header), self._expected(tracked.link_key))
                accepted.append(_note(message, message.registers, Note(frame, tracked)))
            else:
                accepted.append(message)
        if run:
            accepted.append(_together(run))
        return accepted, rejections

    def screen_batch(self, parts: Sequence[InboundMessage]) -> tuple[int, int, InboundMessage] | None:
        """Take the numbers of a batch; or take none, and return what is not as expected: the part's position, the number
        that is expected, and a note to hand over."""
        before = dict(self._links)
        for position, part in enumerate(parts):
            verdict, tracked = self._receive(part)
            if verdict.refuses:
                link = replace(before.get(tracked.link_key, Link()), frozen=True)
                self._links = before | {tracked.link_key: link}
                return position, link.expected, _note(part, self._registers(tracked.link_key), Note())
        return None

    def committed(self, messages: Sequence[InboundMessage]) -> list[InboundMessage]:
        """Notes to hand over: registers that were not written with a message, since that was in the queue already."""
        copies = [message for message in messages if message.registers and message.stored_state is None]
        return [
            _note(message, self._registers(message.origin.link_key), Note())
            for message in copies
            if isinstance(message.origin, Tracked)
        ]

    def refused(self, messages: Sequence[InboundMessage]) -> None:
        """These are not on disk, so their links have not moved."""
        for message in reversed(messages):
            origin = message.origin.tracked if isinstance(message.origin, Note) else message.origin
            if isinstance(origin, Tracked) and origin.link_before is not None:
                self._links[origin.link_key] = origin.link_before

    def release(self, expected: int | None, key: str, done: Callable[[bool], None]) -> InboundMessage | None:
        """Release the frozen links, or the one of this key whether frozen or not; None if there are none.

        They expect `expected` next, or with None whatever positive number comes. `done` is called when that is on disk.
        """
        keys = [name for name, link in self._links.items() if (name == key if key else link.frozen)]
        if not keys:
            return None
        before = {name: self._links[name] for name in keys}
        self._links |= dict.fromkeys(keys, Link(UNKNOWN if expected is None else expected))
        registers = tuple(register for name in keys for register in self._registers(name))

        def finish(kept: bool) -> None:
            if not kept:
                self._links |= before
            done(kept)

        return InboundMessage(None, "", "", origin=Note(done=finish), registers=registers)

    def frozen(self) -> dict[str, int]:
        """The expected numbers of the frozen links, by key."""
        return {key: link.expected for key, link in self._links.items() if link.frozen}

    def _receive(self, message: InboundMessage) -> tuple[Verdict, Tracked]:
        """Move the link as the message asks for; its registers and origin are then set."""
        tracked = _tracked(message)
        header = tracked.header
        key = key_of((header.field(3), header.field(4), header.field(5), header.field(6)))
        before = self._links.get(key, Link())
        verdict, after = before.receive(header.sequence_number, header.control_id)
        tracked.link_key = key
        if after is not before:
            self._links[key] = after
        if verdict in (Verdict.EXPECTED, Verdict.START, Verdict.RESYNCHRONIZE):
            tracked.link_before = before
            message.registers = to_registers(key, after)
            message.origin = tracked
            if verdict.controls:
                tracked.expected = after.expected
        elif verdict is Verdict.UNEXPECTED:
            self._log.error(
                "channel %s: link %s is frozen: %s expected, another sequence number came from %s; release it with: "
                "medagent channel resync %s",
                self._channel,
                key,
                after.expected,
                message.remote,
                self._channel,
            )
        return verdict, tracked

    def _refusal(self, message: InboundMessage, tracked: Tracked) -> list[bytes]:
        frame = self._refuse(tracked.header, UNEXPECTED_NUMBER, INTERNAL_ERROR, SEQUENCE_NUMBER)
        return [] if frame is None else [with_expected_number(frame, self._expected(tracked.link_key))]

    def _expected(self, key: str) -> int:
        return self._links.get(key, Link()).expected

    def _registers(self, key: str) -> tuple[tuple[str, int], ...]:
        return to_registers(key, self._links.get(key, Link()))


def _tracked(message: InboundMessage) -> Tracked:
    origin = message.origin
    if isinstance(origin, Tracked):
        return origin
    if isinstance(origin, Header):
        return Tracked(origin)
    raise TypeError("a message without a header")


def _note(message: InboundMessage, registers: tuple[tuple[str, int], ...], note: Note) -> InboundMessage:
    return InboundMessage(None, "", message.remote, message.link, note, registers=registers)


def _together(run: list[InboundMessage]) -> InboundMessage:
    if len(run) == 1:
        return run[0]
    return InboundMessage(None, "", run[0].remote, run[0].link, parts=tuple(run))
