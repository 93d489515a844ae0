"""One analyser's connection: its line, the message that comes over it, and the answers that wait for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from medagent.listening import TcpConnection, sender_of
from medagent.types import Delivery, InboundMessage, Refusal, RefusalKind
from medagent_astm.events import Begun, Ended, Event, Noted, NotSent, Received, Sent
from medagent_astm.link import Link
from medagent_astm.records import Assembly, Unusable, is_message, read_header
from medagent_astm.settings import Settings

if TYPE_CHECKING:
    from medagent_astm.channel import AstmChannel


class AstmConnection(TcpConnection):
    """The frame that completes a message is acknowledged when the message is committed, and refused when it is refused."""

    def __init__(self, channel: AstmChannel) -> None:
        super().__init__(channel)
        self._lines = channel
        self._line = Link(channel.settings.timing, strict=channel.settings.strict)
        self._assembly = self._new_assembly()
        self._undecided: set[InboundMessage] = set()
        """What the frame has completed whose acknowledgment is due."""
        self._refusal: Refusal | None = None
        """Of one of them."""
        self._answers: deque[tuple[InboundMessage, Sequence[bytes], float]] = deque()
        """Whose they are, their frames, and when they are given up; the line has the first."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_progress(self) -> bool:
        """A message has begun, and the analyser is about to send the rest."""
        return self._line.receiving and self._assembly.held > 0 and not self._undecided

    def use(self, settings: Settings) -> None:
        """Go by these from now on; by what concerns messages from the next transmission on."""
        self._line.timing, self._line.strict = settings.timing, settings.strict

    def update_ready(self) -> None:
        """Take frames, or let the analyser wait, as the channel says."""
        self._line.ready = self._lines.may_take(self)
        self._step(self._line.go_on(self._now))

    def decided(self, message: InboundMessage, refusal: Refusal | None) -> None:
        """The core's word on a message that was handed over. The frame is refused if one of its messages is."""
        if message not in self._undecided:
            return  # its sender has given up meanwhile
        self._undecided.remove(message)
        self._refusal = refusal or self._refusal
        if self._undecided:
            return
        if self._refusal is None:
            self._assembly.confirm()
            self._line.acknowledge(self._now)
        else:
            self._assembly.take_back()
            passing = self._refusal.kind is RefusalKind.STORAGE
            self._line.refuse(self._now, final=not passing, after=self._lines.settings.refusal_seconds if passing else 0.0)
        self._settle()
        self.settled(self.owed)

    def answer(self, message: InboundMessage, frames: Sequence[bytes]) -> None:
        """Send the answer to this message when the line is free; `delivered` says how that ended."""
        self._answers.append((message, frames, self._now + self._lines.settings.answer_seconds))
        self._send_next()
        self._settle()

    # what follows is called by the base class, and by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.update_ready()

    def received(self, data: bytes) -> None:
        self._step(self._line.receive(data, self._now))

    @property
    def held(self) -> int:
        return self._assembly.held + self._line.held

    @property
    def inside(self) -> bool:
        return False  # the line's own time-outs apply

    def ended(self) -> None:
        self._step(self._line.lost())
        self._deliver(len(self._answers), Delivery.GONE)

    # inner workings

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _step(self, events: Iterator[Event]) -> None:
        for event in events:
            self._deal_with(event)
        self._settle()

    def _settle(self) -> None:
        """Write what is due, and wake when the line wants it."""
        if output := self._line.output():
            self.send(output)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._line.deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(self._line.deadline, self._wake)
        if not self._lines.may_take(self):  # no more, now that its message has ended
            self._line.ready = False
        self.count_held()
        self._lines.moved()

    def _wake(self) -> None:
        self._timer = None
        self._step(self._line.wake(self._now))

    def _deal_with(self, event: Event) -> None:
        if isinstance(event, Received):
            self._take(event)
        elif isinstance(event, Begun):
            self._assembly = self._new_assembly()
        elif isinstance(event, Ended):
            self._end(event)
        elif isinstance(event, Noted):
            self.note(event.value)
        else:
            self._sent(event)

    def _new_assembly(self) -> Assembly:
        return Assembly(self.context.max_body_bytes, needs_terminator=self._lines.settings.needs_terminator)

    def _take(self, received: Received) -> None:
        try:
            bodies = self._assembly.add(received.text, last=received.last)
        except Unusable as error:
            self.note("message refused", str(error))
            self._line.refuse(self._now, final=True)
            return
        for _ in range(self._assembly.dropped):
            self._note_unterminated()
        if not bodies:
            self._assembly.confirm()
            self._line.acknowledge(self._now)
            return
        messages = [self._message(body) for body in bodies]
        self._undecided, self._refusal = set(messages), None
        # one acknowledgment stands for all of them
        whole = messages if len(messages) == 1 else [InboundMessage(None, "", self.remote, self.link, parts=tuple(messages))]
        self.accept(whole)

    def _message(self, body: bytes) -> InboundMessage:
        header = read_header(body)
        message = self.message(body, header.control_id, sender=sender_of(header.sender, self.host))
        message.origin = self
        return message

    def _end(self, end: Ended) -> None:
        too_late, self._undecided = bool(self._undecided), set()
        rest = self._assembly.left_over()
        if too_late:
            self.settled(self.owed)
            self.note("acknowledgment too late", "the analyser has not waited until its message was stored")
        elif not rest:
            return
        elif not end.orderly:
            self.note("transmission broken off", f"dropped {len(rest)} bytes of a message, which the analyser sends again")
        elif self._lines.settings.needs_terminator or not is_message(rest):
            self._note_unterminated()
        else:
            self._lines.unterminated(self._message(rest))

    def _note_unterminated(self) -> None:
        self.note("message without L record", "dropped; for an analyser that never sends one, messageEnd=transmission takes it")

    def _sent(self, outcome: Sent | NotSent) -> None:
        if isinstance(outcome, NotSent):
            self.note("answer not taken", outcome.reason)
        self._deliver(1, Delivery.SENT if isinstance(outcome, Sent) else Delivery.GONE)
        self._send_next()

    def _deliver(self, count: int, delivery: Delivery) -> None:
        outcomes = [(self._answers.popleft()[0], delivery) for _ in range(min(count, len(self._answers)))]
        if outcomes:
            self.context.delivered(outcomes)

    def _send_next(self) -> None:
        if self._answers and not self._line.sends:
            _, frames, until = self._answers[0]
            self._line.send(frames, self._now, until - self._now)
