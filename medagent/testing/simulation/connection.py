"""One connection of a simulated device to a channel: the agent's end, and the device's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from medagent.channel import ChannelContext
from medagent.testing.simulation.loop import Process
from medagent.testing.simulation.message import Sent, read_body
from medagent.testing.simulation.network import Pipe
from medagent.testing.simulation.world import World
from medagent.types import Delivery, InboundMessage

Reply = tuple[str, str]
"""Code and control ID, as the device reads them."""
Replied = Callable[["DeviceConnection", list[Reply]], None]
Lost = Callable[["DeviceConnection"], None]
"""What a device is told of its connection."""


class ConnectionOwner(Protocol):
    """The channel that a connection belongs to."""

    name: str
    process: Process
    context: ChannelContext

    @property
    def reads(self) -> bool: ...

    def received(self, connection: DeviceConnection, bodies: Sequence[bytes]) -> None: ...

    def forget(self, connection: DeviceConnection) -> None: ...


class DeviceConnection:
    """One connection of a device to a channel: the agent's end, and the device's."""

    def __init__(
        self,
        world: World,
        channel: ConnectionOwner,
        number: int,
        *,
        replied: Replied,
        lost: Lost,
    ) -> None:
        self._world = world
        self._channel = channel
        self.number = number
        self.link = f"{channel.process.name}-{channel.name}-{number}"
        self.sent: dict[str, Sent] = {}
        """What the device has sent, by control ID."""
        self.committed: set[int] = set()
        """Seqs under which what has come over it is on disk."""
        self.open = True
        self.hung_up = False
        """The device has closed its end; the agent hears of it when it has read what came before."""
        self._all_sent = False
        self._blocked = False
        self._waiting: list[tuple[Reply, InboundMessage | None]] = []
        self._inbox: list[bytes] = []
        self._lost = partial(lost, self)
        self._to_agent: Pipe[bytes] = Pipe(world, self._arrived, channel.process.context)
        self._to_device: Pipe[Reply] = Pipe(world, partial(replied, self), world.outside)

    # the device's end

    def send(self, body: bytes) -> None:
        sent = read_body(body.decode("latin-1"))
        self.sent[sent.control_id] = sent
        self._to_agent.send(body)

    def block(self) -> None:
        """The device reads nothing."""
        self._blocked = True

    def unblock(self) -> None:
        """It reads again."""
        self._blocked = False
        self._world.later(self._world.latency(), self._drain, self._channel.process)

    def hang_up(self) -> None:
        """The device closes the connection: what the agent writes from now on is lost, and soon it knows."""
        self.hung_up = True
        self._to_device.close()
        self._world.later(self._world.latency(), self._end_is_near, self._channel.process)

    # the agent's end

    def _end_is_near(self) -> None:
        self._to_agent.close()
        self._all_sent = True
        self.hand_over()

    def _arrived(self, bodies: list[bytes]) -> None:
        if self.open:
            self._inbox += bodies
            self.hand_over()

    def hand_over(self) -> None:
        """Read what has come, if the channel reads."""
        if self._inbox and self._channel.reads:
            bodies, self._inbox = self._inbox, []
            self._channel.received(self, bodies)
        if self._all_sent and not self._inbox:
            self.ended()

    def write(self, reply: Reply, answered: InboundMessage | None = None) -> Delivery:
        if not self.open or not self._world.effect(self._channel.process):
            return Delivery.GONE
        if self._blocked:
            self._world.journal.note("queued for", self.link)
            self._waiting.append((reply, answered))
            return Delivery.QUEUED
        self._to_device.send(reply)
        return Delivery.SENT

    def _drain(self) -> None:
        if self._blocked or not self.open:
            return
        waiting, self._waiting = self._waiting, []
        for reply, _ in waiting:
            self._to_device.send(reply)
        self._report(waiting, Delivery.SENT)

    def _report(self, waiting: Sequence[tuple[Reply, InboundMessage | None]], delivery: Delivery) -> None:
        if messages := [message for _, message in waiting if message is not None]:
            self._channel.context.delivered([(message, delivery) for message in messages])

    def ended(self) -> None:
        """The agent learns that the connection is gone."""
        if self.open:
            self.open = False
            self._to_agent.close()
            self._channel.forget(self)
            waiting, self._waiting = self._waiting, []
            self._report(waiting, Delivery.GONE)

    def reset(self) -> None:
        """The agent has closed it, or has died; what it had written still arrives, then the device knows."""
        self.open = False
        self._to_agent.close()
        self._world.later(0.5, self._lost)
