"""Verification of MSH-13 for one channel. Without I/O.

A number is judged in the store's transaction, where it is known what is committed (`Verification.admit`, an
`Admission`); what the links have become is read from the channel's registers. So memory holds nothing of a link but what is
left of a failure of the store, until its sender has sent again what was refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from medagent.config.settings import Parameter
from medagent.listening import Notices
from medagent.types import ADMITTED, Decision, InboundMessage, Refusal, RefusalKind, State
from medagent_hl7.identity import link_of
from medagent_hl7.message import Header
from medagent_hl7.numbering import has_content
from medagent_hl7.origin import Note, Tracked, tracked_of
from medagent_hl7.schemes import SCHEMES
from medagent_hl7.sequence import (
    LINKS,
    MOST_LINKS,
    UNKNOWN,
    Failed,
    Link,
    Verdict,
    frozen_links,
    is_known,
    parse_number,
    read_link,
    to_frozen,
    to_registers,
)

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
UNEXPECTED_NUMBER = "The sequence number is not the expected one; the link is frozen now"
FROZEN_LINK = "The link is frozen: the expected sequence number is in MSA-4"
NO_FIRST_NUMBER = "The sequence number is not one that a link can begin with"
TOO_MANY_LINKS = f"There are {MOST_LINKS} links (MSH-3 to MSH-6) with sequence numbers, and no further one is possible"
SEND_IN_ORDER = "A message before it could not be stored; send them again in order"
_NONE = ("", '""')
_CONTROLS = (0, -1)


class Verification:
    """The links of one channel."""

    def __init__(self, registers: Mapping[str, int], *, notices: Notices, channel: str) -> None:
        """`registers`: the channel's, kept up to date."""
        self._registers = registers
        self._notices = notices
        self._froze: dict[str, str] = {}
        """Where the number came from that froze a link, as far as that was in this run."""
        self._channel = channel
        self._failed: dict[str, Failed] = {}
        """By link."""

    def begin(self) -> None:
        """Verify again after a time without: the links stand where the registers have them, whatever has failed before."""
        self._failed.clear()

    def prepare(self, message: InboundMessage) -> InboundMessage:
        """What to hand over in its place: itself with an admission if it is numbered, or a note that only asks for the link."""
        header = message.origin
        if not isinstance(header, Header) or (text := header.sequence_number.strip()) in _NONE:
            return message
        number = parse_number(text)
        tracked = Tracked(header, link_of(header), number)
        if number in _CONTROLS and not has_content(message.body or b""):
            return InboundMessage(None, "", message.remote, message.link, Note(tracked), admission=self.admit)
        return self._numbered(message, tracked)

    def prepare_part(self, message: InboundMessage, tracked: Tracked) -> None:
        """The same for a part of a batch, which is stored whatever it holds."""
        text = tracked.header.sequence_number.strip()
        if text not in _NONE:
            tracked.link_key, tracked.number = link_of(tracked.header), parse_number(text)
            self._numbered(message, tracked)

    def _numbered(self, message: InboundMessage, tracked: Tracked) -> InboundMessage:
        message.origin, message.admission = tracked, self.admit
        return message

    def admit(self, message: InboundMessage, registers: Mapping[str, int], twin: State | None) -> Decision:
        """`medagent.types.Admission` of every numbered message."""
        tracked = tracked_of(message)
        if tracked is None:
            return ADMITTED
        key = tracked.link_key
        verdict, after = read_link(registers, key).receive(tracked.number, twin, self._failed.get(key))
        tracked.verdict, tracked.expected = verdict, None
        if verdict is Verdict.INTERRUPTED:
            return Decision(refusal=Refusal(RefusalKind.STORAGE, SEND_IN_ORDER))
        if verdict.refuses:
            tracked.expected = after.expected
            text = FROZEN_LINK if verdict is Verdict.FROZEN else UNEXPECTED_NUMBER
            text = text if is_known(registers, key) else NO_FIRST_NUMBER
            return Decision(to_frozen(registers, key, frozen=True), Refusal(RefusalKind.SEQUENCE, text))
        if verdict is Verdict.EXPECTED and not is_known(registers, key) and registers.get(LINKS, 0) >= MOST_LINKS:
            return Decision(refusal=Refusal(RefusalKind.UNACCEPTABLE, TOO_MANY_LINKS))
        if tracked.number in _CONTROLS:
            tracked.expected = after.expected
        return Decision(to_registers(registers, key, after))

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        """These are on disk: what was refused before them for a failure may have come again."""
        if not self._failed:
            return
        for message in messages:
            if isinstance(message.origin, Note):
                for key in message.origin.released:
                    self._failed.pop(key, None)
            if (tracked := tracked_of(message)) is None or tracked.link_key not in self._failed:
                continue
            _, highest = self._failed[tracked.link_key]
            started = tracked.verdict in (Verdict.START, Verdict.RESYNCHRONIZE)
            if started or (tracked.number is not None and tracked.number >= highest):
                del self._failed[tracked.link_key]

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        """These are not on disk."""
        for message in messages:
            tracked = tracked_of(message)
            if tracked is None or not tracked.link_key:
                continue
            if refusal.kind is RefusalKind.STORAGE:
                self._note_failure(tracked)
                if tracked.verdict is Verdict.INTERRUPTED:
                    text = f"{tracked.link_key}: what could not be stored has not come again, from {message.remote}"
                    self._notices.add("link waits", text)
            elif refusal.kind is RefusalKind.SEQUENCE:
                self._notices.count("sequence number refused")
                if tracked.batch is not None:
                    # the parts before it are not stored, so their numbers do not count
                    tracked.expected = read_link(self._registers, tracked.link_key).expected
                if tracked.verdict is Verdict.UNEXPECTED and is_known(self._registers, tracked.link_key):
                    # only a number is logged: a shifted field may hold anything
                    came = "no number" if tracked.number is None else tracked.number
                    text = (
                        f"{tracked.link_key}: sequence number {tracked.expected} is expected, {came} came from "
                        f"{message.remote}; release it with: medagent channel resync {self._channel}"
                    )
                    self._froze[tracked.link_key] = message.remote.rpartition(":")[0]
                    self._notices.add("link frozen", text, logging.ERROR)

    def who_froze(self, key: str) -> str:
        """The host, without port, whose number has frozen the link; "" if that was in an earlier run."""
        return self._froze.get(key, "")

    def _note_failure(self, tracked: Tracked) -> None:
        number, key = tracked.number, tracked.link_key
        if number is None or number <= 0:
            return
        lowest, highest = self._failed.get(key, (number, number))
        if len(self._failed) >= MOST_LINKS and key not in self._failed:
            del self._failed[next(iter(self._failed))]
        self._failed[key] = (min(lowest, number), max(highest, number))

    def release(self, expected: int | None, key: str, done: Callable[[int | None], None]) -> InboundMessage:
        """A note that releases the links that are frozen by then, or the one of this key, whether it is frozen, waits or runs.

        They expect `expected` next, or with None whatever positive number comes. `done` is called when that is on disk.
        """
        note = Note(done=done)

        def admit(message: InboundMessage, registers: Mapping[str, int], twin: State | None) -> Decision:
            named = [key] if is_known(registers, key) or key in self._failed else []
            keys = named if key else frozen_links(registers)
            note.released = tuple(keys)
            link = Link(UNKNOWN if expected is None else expected)
            return Decision(tuple(change for each in keys for change in to_registers(registers, each, link)))

        return InboundMessage(None, "", "", origin=note, admission=admit)

    def frozen(self) -> dict[str, int]:
        """The expected numbers of the frozen links, by key."""
        return {key: read_link(self._registers, key).expected for key in frozen_links(self._registers)}
