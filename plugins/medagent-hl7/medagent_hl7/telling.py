"""What devices are told of their messages: on commit, on refusal, and once the server has answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from medagent.types import Answer, Delivery, InboundMessage, Refusal
from medagent_hl7.connection import Connection
from medagent_hl7.in_force import InForce
from medagent_hl7.message import Header
from medagent_hl7.tracking import Tracking


class Teller:
    """Speaks to the devices of one channel."""

    def __init__(
        self,
        in_force: InForce,
        tracking: Tracking,
        connections: Mapping[str, Connection],
        delivered: Callable[[Sequence[InboundMessage], Delivery], None],
    ) -> None:
        """`connections` is the channel's own mapping, by link, which changes; `delivered` reports what was `QUEUED`."""
        self._in_force = in_force
        self._tracking = tracking
        self._connections = connections
        self._delivered = delivered

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        """As of `medagent.channel.Channel`, and the others too."""
        self._tracking.committed(messages)
        for message in messages:
            if message.copy_of:
                self._in_force.resent(message)
        for link, count in self._answered_only(messages).items():
            self._connections[link].order.unanswered += count
        self._tell((message, self._to_commit(message)) for message in messages)

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        self._tracking.refused(messages, refusal)
        self._tell((message, self._tracking.to_refusal(message, refusal)) for message in messages)

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        if not self._tracking.batches.waiting:
            deliveries = self._answer_singly(answers)
        else:
            deliveries = self._tracking.batches.answer(
                answers, self._answer_singly, self._tracking.to_answer, self._send_answers, self._delivered
            )
        messages = [message for message, _ in answers]
        for link, count in self._answered_only(messages).items():
            self._connections[link].answered(count)
        self._in_force.answered(messages)
        return deliveries

    def _answered_only(self, messages: Sequence[InboundMessage]) -> Mapping[str, int]:
        """How many of these, by link, have the server's answer as their only acknowledgment, and a device to get it."""
        return self._tracking.answered_only([message for message in messages if message.link in self._connections])

    def _answer_singly(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        deliveries: list[Delivery] = []
        replies: dict[str, list[bytes]] = {}
        positions: dict[str, list[int]] = {}
        for position, (message, answer) in enumerate(answers):
            frame = self._tracking.to_answer(message, answer)
            if frame is None:
                deliveries.append(Delivery.NOT_OWED)
                continue
            deliveries.append(Delivery.GONE)
            if message.link in self._connections:
                replies.setdefault(message.link, []).append(frame)
                positions.setdefault(message.link, []).append(position)
        for link, frames in replies.items():
            answered = [answers[position][0] for position in positions[link]]
            delivery = self._send_answers(link, b"".join(frames), answered)
            for position in positions[link]:
                deliveries[position] = delivery
        return deliveries

    def _to_commit(self, message: InboundMessage) -> bytes | None:
        origin = message.origin
        if isinstance(origin, Header):
            return self._in_force.at(message).replies.to_commit(origin)
        return self._tracking.to_commit(message)

    def _send_answers(self, link: str, data: bytes, answered: Sequence[InboundMessage]) -> Delivery:
        connection = self._connections.get(link)
        return Delivery.GONE if connection is None else connection.send(data, answered)

    def _tell(self, replies: Iterable[tuple[InboundMessage, bytes | None]]) -> None:
        """Send each frame to the connection of its message, in the order of what came in, with one write a connection."""
        by_link: dict[str, list[tuple[InboundMessage, bytes | None]]] = {}
        for reply in replies:
            by_link.setdefault(reply[0].link, []).append(reply)
        for link, decided in by_link.items():
            if link in self._connections:
                connection = self._connections[link]
                connection.tell(connection.order.decide(decided))
