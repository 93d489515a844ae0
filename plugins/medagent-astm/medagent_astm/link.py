"""The low-level protocol (ASTM E1381, CLSI LIS01-A2) as a state machine: bytes and the time go in, bytes and events come out.

One `Link` is one side of a line, the computer's or the instrument's. The line is neutral until one side has asked for it with
ENQ and the other has granted it with ACK; then frames go one way, each acknowledged before the next, until the sender's EOT.
No I/O and no clock: the time is an argument, seconds of any clock that only goes forward.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence

from medagent_astm.events import Begun, Ended, Event, Noted, NotSent, Received, Sent, Timing
from medagent_astm.frames import ACK, ENQ, EOT, LONGEST_FRAME, NAK, Damage, EndOfTransmission, Frame, FrameReader

FAILURES = 6
"""A frame that was not taken so often ends the transmission."""


class _State(enum.Enum):
    NEUTRAL = enum.auto()
    ASKED = enum.auto()
    """ENQ has come; this side is not ready."""
    RECEIVING = enum.auto()
    HOLDING = enum.auto()
    """A frame has come; its acknowledgment is due."""
    ASKING = enum.auto()
    """ENQ has gone out."""
    SENDING = enum.auto()
    """A frame has gone out."""


class Link:
    """One side of a line. What is to be written is taken from `output`, and `wake` must be called at `deadline`."""

    def __init__(self, timing: Timing | None = None, *, strict: bool = True, longest: int = LONGEST_FRAME) -> None:
        """`strict`: a wrong checksum is refused, not only noted. `longest`: bytes of a frame that is read."""
        self.timing = timing or Timing()
        self.strict = strict
        self.deadline: float | None = None
        """When to call `wake`; None for no time."""
        self.ready = True
        """Whether this side grants the line and takes frames; `go_on` follows when it is again. A side that is not says NAK to
        ENQ after a while, and leaves a frame without a reply."""
        self._longest = longest
        self._state = _State.NEUTRAL
        self._output = bytearray()
        # receiving
        self._reader = FrameReader(longest)
        self._held: Frame | None = None
        self._passed_on = False
        """The held frame was given to the owner."""
        self._last: Frame | None = None
        """The last one that was acknowledged."""
        self._orderly = False
        self._barred = False
        """The owner has refused a frame for good: nothing more of this transmission is taken."""
        # sending
        self._frames: Sequence[bytes] = ()
        self._next = 0
        self._failures = 0
        self._give_up_at = 0.0
        self._not_before = 0.0
        self._crossed = False
        """The other side sends something while ENQ is not answered: if it believes to have the line, EOT would be a reply."""
        self._lets_pass = False
        """It waits to let the other side have its turn."""

    @property
    def receiving(self) -> bool:
        """The other side has the line."""
        return self._state in (_State.RECEIVING, _State.HOLDING)

    @property
    def held(self) -> int:
        """Bytes kept of frames: of one that has not ended, and of the last one or two that have."""
        return self._reader.held + sum(len(frame.text) for frame in (self._held, self._last) if frame is not None)

    @property
    def sends(self) -> bool:
        """There is something to be sent, begun or not."""
        return bool(self._frames)

    def output(self) -> bytes:
        """Everything to be written since the last call."""
        output = bytes(self._output)
        self._output.clear()
        return output

    # the owner's words

    def send(self, frames: Sequence[bytes], now: float, seconds: float) -> None:
        """Send these as one transmission as soon as the line is granted, for so long; `Sent` or `NotSent` follows.

        One at a time: raises `ValueError` if `sends`.
        """
        if self._frames or not frames:
            raise ValueError("one transmission at a time, and none without frames")
        self._frames = frames
        self._give_up_at = now + seconds
        self._plan(now)

    def go_on(self, now: float) -> Iterator[Event]:
        """Take what has waited until this side was ready."""
        if not self.ready:
            return
        if self._state is _State.ASKED:
            yield self._grant(now)
        elif self._held is not None and not self._passed_on:
            yield self._pass_on(self._held)

    def acknowledge(self, now: float) -> None:
        """The frame of the last `Received` is taken. Without effect if its sender has given up meanwhile."""
        if self._state is _State.HOLDING and self._held is not None:
            self._last, self._orderly = self._held, self._held.last
            self._reply(ACK, now)

    def refuse(self, now: float, *, final: bool = False, after: float = 0.0) -> None:
        """The frame of the last `Received` is not taken, and comes again; with `final` nothing more of this transmission is.

        Its sender hears of it `after` so many seconds, which gives time to what has gone wrong here. The standard gives a
        receiver no word for "never": EOT would accept the frame. A sender ends with the sixth NAK.
        """
        if self._state is not _State.HOLDING:
            return
        self._barred = final
        if after:
            self.deadline = now + after
        else:
            self._reply(NAK, now)

    # the world's

    def receive(self, data: bytes, now: float) -> Iterator[Event]:
        """Bytes of the other side. Deal with each event before asking for the next one.

        While the other side sends, any split of the bytes gives the same.
        """
        position = 0
        while position < len(data):
            if self._state in (_State.RECEIVING, _State.HOLDING):
                item, position = self._reader.take(data, position)
                if self._reader.inside and self._state is _State.RECEIVING:
                    self.deadline = now + self.timing.receive
                if item is not None:
                    yield from self._take(item, now)
                continue
            byte = data[position]
            position += 1
            if self._state in (_State.ASKING, _State.SENDING):
                yield from self._asked(byte, now) if self._state is _State.ASKING else self._replied(byte, now)
                if self._state is _State.SENDING:
                    # the next reply answers a frame that is only now on its way: no byte read with this one can be it
                    return
            elif byte == ENQ and self._state is _State.NEUTRAL:
                yield from self._enquiry(now)
            elif byte == EOT and self._state is _State.ASKED:
                self._rest(now)

    def wake(self, now: float) -> Iterator[Event]:
        """The time is `now`: deal with what has taken too long, if `deadline` has come."""
        if self.deadline is None or now < self.deadline:
            return
        if self._state is _State.ASKED:
            yield Noted.BUSY
            self._say(NAK)
            self._rest(now)
        elif self._state is _State.HOLDING:
            self._reply(NAK, now)
        elif self._state is _State.RECEIVING:
            yield Noted.SILENCE
            yield from self._end(False, now)
        elif self._state is _State.ASKING:
            if not self._crossed:
                self._say(EOT)
            yield Noted.NOT_GRANTED
            yield from self._later(self.timing.busy, now)
        elif self._state is _State.SENDING:
            yield from self._give_up("no reply to a frame", now)
        elif self._frames:
            yield from self._ask(now)

    def lost(self) -> Iterator[Event]:
        """The connection is gone, and what was to be sent is forgotten."""
        if self.receiving:
            yield Ended(orderly=False)
        self._state, self._held, self._frames, self.deadline = _State.NEUTRAL, None, (), None

    # receiving

    def _enquiry(self, now: float) -> Iterator[Event]:
        if self.ready:
            yield self._grant(now)
        else:
            self._state = _State.ASKED
            self.deadline = now + self.timing.busy

    def _grant(self, now: float) -> Event:
        self._reader = FrameReader(self._longest)
        self._last, self._orderly, self._barred = None, False, False
        self._reply(ACK, now)
        return Begun()

    def _reply(self, byte: int, now: float) -> None:
        self._say(byte)
        self._state = _State.RECEIVING
        self._held = None
        self.deadline = now + self.timing.receive

    def _take(self, item: Frame | Damage | EndOfTransmission, now: float) -> Iterator[Event]:
        if self._frames and now >= self._give_up_at:  # a sender may go on for ever
            yield self._not_granted(now)
        if isinstance(item, EndOfTransmission):
            yield from self._end(self._orderly and self._held is None, now)
        elif self._held is not None:
            # a frame that comes too early, or comes again: the one acknowledgment that is due answers it, or none does
            yield Noted.REPEATED
        elif isinstance(item, Damage):
            yield from self._reject(Noted.DAMAGE, now)
        elif not item.good and self.strict:
            yield from self._reject(Noted.CHECKSUM, now)
        elif self._last is not None and self._last.is_repeated_by(item):
            # its acknowledgment was lost
            yield Noted.REPEATED
            self._reply(ACK, now)
        elif item.number != (1 if self._last is None else (self._last.number + 1) % 8):
            yield from self._reject(Noted.NUMBER, now)
        elif self._barred:
            self._orderly = False
            self._reply(NAK, now)
        else:
            if not item.good:
                yield Noted.CHECKSUM
            self._state, self._held, self._passed_on, self.deadline = _State.HOLDING, item, False, None
            self._orderly = False
            if self.ready:
                yield self._pass_on(item)

    def _reject(self, why: Noted, now: float) -> Iterator[Event]:
        yield why
        self._orderly = False
        self._reply(NAK, now)

    def _pass_on(self, frame: Frame) -> Event:
        self._passed_on = True
        return Received(frame.text, frame.last)

    def _end(self, orderly: bool, now: float) -> Iterator[Event]:
        if self._lets_pass:
            self._not_before = now
        self._rest(now)
        yield Ended(orderly)

    # sending

    def _plan(self, now: float) -> None:
        """In the neutral state: when to ask for the line."""
        if self._state is _State.NEUTRAL:
            self.deadline = max(now, self._not_before) if self._frames else None

    def _ask(self, now: float) -> Iterator[Event]:
        if now >= self._give_up_at:
            yield self._not_granted(now)
            return
        self._state, self._next, self._failures, self._crossed = _State.ASKING, 0, 0, False
        self._say(ENQ)
        self.deadline = now + self.timing.reply

    def _asked(self, byte: int, now: float) -> Iterator[Event]:
        """A byte while ENQ is not answered."""
        if byte == ACK:
            self._write_frame(now)
        elif byte == NAK:
            yield Noted.NOT_GRANTED
            yield from self._later(self.timing.busy, now)
        elif byte == ENQ:
            # both sides leave the line; the one whose time is over first asks again
            yield Noted.CONTENTION
            yield from self._later(self.timing.contention, now, lets_pass=True)
        else:
            self._crossed = True

    def _later(self, seconds: float, now: float, *, lets_pass: bool = False) -> Iterator[Event]:
        self._not_before, self._lets_pass = now + seconds, lets_pass
        self._rest(now)
        if self._not_before > self._give_up_at:
            yield self._not_granted(now)

    def _not_granted(self, now: float) -> Event:
        self._frames = ()
        self._plan(now)
        return NotSent("the line was not granted")

    def _replied(self, byte: int, now: float) -> Iterator[Event]:
        """The reply to a frame: ACK, EOT for ACK with the wish for the line, and all else is NAK."""
        if byte in (ACK, EOT):
            self._next += 1
            self._failures = 0
            if self._next == len(self._frames):
                self._say(EOT)
                self._frames = ()
                self._rest(now)
                yield Sent()
            elif byte == ACK:
                self._write_frame(now)
            else:
                self._say(EOT)
                yield Noted.INTERRUPTED
                yield from self._later(self.timing.interrupt, now, lets_pass=True)
            return
        self._failures += 1
        if self._failures == FAILURES:
            yield from self._give_up("a frame was refused six times", now)
        else:
            self._write_frame(now)

    def _write_frame(self, now: float) -> None:
        self._output += self._frames[self._next]
        self._state = _State.SENDING
        self.deadline = now + self.timing.reply

    def _give_up(self, reason: str, now: float) -> Iterator[Event]:
        self._say(EOT)
        self._frames = ()
        self._rest(now)
        yield NotSent(reason)

    # both

    def _say(self, byte: int) -> None:
        self._output.append(byte)

    def _rest(self, now: float) -> None:
        self._state, self._held, self._last = _State.NEUTRAL, None, None
        self._plan(now)
