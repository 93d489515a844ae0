"""The agent's side of simulated devices: a channel with the three acknowledgment modes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medagent.channel import ChannelContext
from medagent.config.model import ChannelConfig
from medagent.errors import BindFailed
from medagent.testing.simulation.connection import DeviceConnection, Lost, Replied
from medagent.testing.simulation.loop import Process
from medagent.testing.simulation.message import read_answer, read_body
from medagent.testing.simulation.variation import LEVEL
from medagent.testing.simulation.world import World
from medagent.types import Answer, Delivery, InboundMessage, Refusal, RefusalKind

ON_COMMIT = {"original": "", "enhanced": "CA", "aa": "AA"}
ON_ERROR = {"original": "AE", "enhanced": "CE", "aa": "AE"}
ON_REJECTION = {"original": "AR", "enhanced": "CR", "aa": "AR"}


class PluginFault(Exception):
    """A channel's plugin fails on a message."""


class Ports:
    """Where the channels of one agent listen."""

    def __init__(self) -> None:
        self.taken: dict[int, SimulatedChannel] = {}
        self.connections = 0
        """Made so far."""


class SimulatedChannel:
    """A `medagent.channel.Channel` for simulated devices; `Reconfigurable` too."""

    content_type = "x-application/hl7-v2+er7"

    def __init__(self, world: World, process: Process, context: ChannelContext, ports: Ports) -> None:
        self.world = world
        self.process = process
        self.context = context
        self.name = context.config.name
        self._config = context.config
        self._ports = ports
        self._mode = world.plan.modes[self.name]
        self._rules = replace(world.plan.rules[self.name], keeps_answer=self._keeps_answer)
        self._paused = False
        self._stopping = False
        self._open: dict[str, DeviceConnection] = {}
        self._undecided: set[InboundMessage] = set()
        """Handed over, and neither committed nor refused."""
        self.closed = False
        self.cut_short = 0
        """How many messages were undecided when it was closed."""

    @property
    def listening(self) -> bool:
        return self._ports.taken.get(self._config.port) is self

    @property
    def reads(self) -> bool:
        return not (self._paused or self._stopping)

    def connect(self, replied: Replied, lost: Lost) -> DeviceConnection | None:
        """A device connects; None if nobody listens."""
        if not (self.listening and self.process.alive):
            return None
        self._ports.connections += 1
        connection = DeviceConnection(self.world, self, self._ports.connections, replied=replied, lost=lost)
        self._open[connection.link] = connection
        return connection

    def received(self, connection: DeviceConnection, bodies: Sequence[bytes]) -> None:
        messages = []
        for body in bodies:
            control_id = read_body(body.decode("latin-1")).control_id
            messages.append(InboundMessage(body, control_id, f"sim:{connection.link}", connection.link, rules=self._rules))
        self.world.journal.note("read", connection.link, *(message.control_id for message in messages))
        self._undecided.update(messages)
        self.context.accept(messages)

    def forget(self, connection: DeviceConnection) -> None:
        self._open.pop(connection.link, None)

    def died(self) -> None:
        """The process is dead, and with it all of its connections."""
        self._leave_port()
        for connection in self._open.values():
            connection.reset()

    def _leave_port(self) -> None:
        if self.listening:
            del self._ports.taken[self._config.port]

    def _keeps_answer(self, link: str, of_copy: str) -> bool:
        first, second = self._open.get(link), self._open.get(of_copy)
        return first is not None and (second is None or first.number > second.number)

    # what the core calls

    async def start(self) -> None:
        if self.world.chance(self.world.faults.bind_fails) or self._config.port in self._ports.taken:
            raise BindFailed("the port is taken")
        self._ports.taken[self._config.port] = self
        self.world.journal.note(self.name, "listens on", self._config.port)

    def reconfigure(self, config: ChannelConfig) -> bool:
        if (int(config.parameters[LEVEL]) - int(self._config.parameters[LEVEL])) % 2:
            return False
        self._config = config
        return True

    async def stop_accepting(self) -> None:
        self._leave_port()
        self._stopping = True

    async def close(self) -> None:
        await self.stop_accepting()
        self.world.journal.note(self.name, "closes", self._config.port)
        self.closed = True
        self.cut_short += len(self._undecided)
        for connection in list(self._open.values()):
            connection.ended()
            connection.reset()

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        code = ON_COMMIT[self._mode]
        self._undecided.difference_update(messages)
        for message in messages:
            if message.link in self._open:
                self._open[message.link].committed.add(message.copy_of or message.seq)
            if code and self._write(message, code) and message.link in self._open:
                key = (message.channel, message.control_id, self._mark(message))
                self.world.ledger.acknowledged(key, code)

    def _mark(self, message: InboundMessage) -> str:
        return self._open[message.link].sent[message.control_id].mark

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        self._undecided.difference_update(messages)
        codes = ON_ERROR if refusal.kind is RefusalKind.STORAGE else ON_REJECTION
        for message in messages:
            self._write(message, codes[self._mode])

    def _write(self, message: InboundMessage, code: str) -> bool:
        connection = self._open.get(message.link)
        if connection is None:
            return False
        self.world.journal.note(code, message.control_id, "to", message.link)
        return connection.write((code, message.control_id)) is not Delivery.GONE

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        return [self._answer(message, answer) for message, answer in answers]

    def _answer(self, message: InboundMessage, answer: Answer) -> Delivery:
        if self._mode == "aa":
            return Delivery.NOT_OWED
        if not self.process.alive:
            return Delivery.GONE
        connection = self._open.get(message.link)
        if connection is None or connection.hung_up:
            self._check_nobody_waits(message)
        if connection is None:
            return Delivery.GONE
        found = read_answer(answer.body) if answer.body else None
        code = "AA" if answer.accepted else "AE"
        self.world.journal.note("answer", message.control_id, "to", message.link, found.mark if found else code)
        self.world.ledger.answered(message, found, connection.sent, accepted=answer.accepted)
        control_id = message.control_id if found is None else found.control_id
        return connection.write((code, control_id), message)

    def _check_nobody_waits(self, message: InboundMessage) -> None:
        """The answer is lost with its connection: then its device may not be waiting for it at another one."""
        for other in self._open.values():
            if not other.hung_up and message.seq in other.committed:
                self.world.journal.violate("I5", f"the answer to {message.seq} goes to a dead connection; {other.link} waits")

    def forward(self, message: InboundMessage) -> str:
        if self.process.alive and self.world.chance(self.world.faults.plugin):
            self.world.journal.note("plugin fails on", message.seq)
            self.world.ledger.put_off(message.callback)
            raise PluginFault
        return (message.body or b"").decode("latin-1")

    def pause_reading(self) -> None:
        self.world.journal.note("pause", self.name)
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        # in any order, as from a selector
        for connection in self.world.random.sample(list(self._open.values()), len(self._open)):
            connection.hand_over()

    @property
    def connections(self) -> int:
        return len(self._open)

    @property
    def address(self) -> str:
        return "sim" if self.listening else ""
