"""Bugs of an agent that loses connections, each a small patch: what the checks must find."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from medagent.queue.dispatcher import Dispatcher
from medagent.queue.lane import Lane
from medagent.queue.sending import Sending
from medagent.queue.settlement import Settlement
from medagent.types import InboundMessage
from medagent.uplink.base import Response
from medagent.uplink.websocket import WebSocketUplink
from medagent_hl7.server import Hl7Channel

VARIABLE = "MEDAGENT_TEST_BUG"


def sent_is_answered() -> None:
    """What was on its way when the connection was lost counts as answered."""
    disconnected = Dispatcher.disconnected

    def forget(self: Dispatcher) -> None:
        self._sending.connected = False
        self.answered([Response(message.callback, 200, "", "") for message in self._flights.messages])
        disconnected(self)

    Dispatcher.disconnected = forget


def another_key() -> None:
    """What is sent again has a new callback."""
    transmit = Sending._transmit
    seen: set[int] = set()

    def renew(self: Sending, uplink: Any, messages: Sequence[InboundMessage]) -> Sequence[InboundMessage]:
        for message in messages:
            if message.seq in seen:
                message.callback = str(uuid.uuid4())
            seen.add(message.seq)
        return transmit(self, uplink, messages)

    Sending._transmit = renew


def by_remote() -> None:
    """An answer goes to whatever connection now comes from the address of its message."""
    opened, answer = Hl7Channel.opened, Settlement._answer
    links: dict[str, str] = {}

    def remember(self: Hl7Channel, connection: Any) -> None:
        links[connection.remote] = connection.link
        opened(self, connection)

    def divert(self: Settlement, channel: str, answers: list[Any]) -> list[Any]:
        for message, _ in answers:
            message.link = links.get(message.remote, message.link)
        return answer(self, channel, answers)

    Hl7Channel.opened, Settlement._answer = remember, divert


def by_order() -> None:
    """Answers are taken for those of the oldest messages."""
    answered = Dispatcher.answered

    def in_order(self: Dispatcher, responses: Sequence[Response]) -> None:
        waiting = iter([message.callback for message in self._flights.messages])
        answered(self, [Response(next(waiting, r.callback), r.status_code, r.content_type, r.body) for r in responses])

    Dispatcher.answered = in_order


def again_later() -> None:
    """What was on its way when the connection was lost goes again one by one, and newer messages go meanwhile."""

    def retry(self: Lane, seqs: Iterable[int]) -> None:
        for seq in seqs:
            self.retry(seq, 0.0)

    Lane.rewind = retry


def kept_connections() -> None:
    """No connection to the server is ever let go."""
    open_one = WebSocketUplink._open
    kept: list[Any] = []

    async def keep(self: WebSocketUplink) -> Any:
        connection = await open_one(self)
        kept.append(connection)
        return connection

    WebSocketUplink._open = keep


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__: bug for bug in (sent_is_answered, another_key, by_remote, by_order, again_later, kept_connections)
}


def plant(name: str) -> None:
    """Put this bug into the agent of this process; "" for none."""
    if name:
        BUGS[name]()
