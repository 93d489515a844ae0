"""The `astm` channel: a listener for laboratory analysers that speak ASTM E1381 and E1394 over TCP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol, cast

from medagent.channel import ChannelContext
from medagent.config.model import ChannelConfig
from medagent.listening import TcpChannel
from medagent.types import Answer, Delivery, InboundMessage, Refusal
from medagent_astm.connection import AstmConnection
from medagent_astm.frames import encode_texts
from medagent_astm.records import is_complete_header, records, texts
from medagent_astm.settings import Settings
from medagent_astm.unterminated import Unterminated

CONTENT_TYPE = "x-application/astm-e1394"
"""Of the messages that are forwarded: records of E1394, each ended by CR."""
FINISH_SECONDS = 2.0
"""How long a channel that stops waits for the rest of messages that have begun."""


class _Origin(Protocol):
    def decided(self, message: InboundMessage, refusal: Refusal | None) -> None: ...


class AstmChannel(TcpChannel[AstmConnection]):
    """One listener. Implements `medagent.channel.Channel`, `Reconfigurable` and `Noticing`, whose docstrings hold.

    It reads always: a sender that gives up says so, and must get no late acknowledgment. To hold senders back it leaves
    their ENQ and their frames without a reply.
    """

    content_type = CONTENT_TYPE

    def __init__(self, context: ChannelContext) -> None:
        super().__init__(context)
        self.settings = Settings.from_parameters(context.config.parameters)
        self._unterminated = Unterminated(context.accept, self.notes, self._update_ready)
        self._held_back = False
        self._finishing = False
        self._finished = asyncio.Event()
        """No message is in progress, or its time is over."""

    def make_connection(self) -> AstmConnection:
        return AstmConnection(self)

    def reconfigure(self, config: ChannelConfig) -> bool:
        super().reconfigure(config)
        self.settings = Settings.from_parameters(config.parameters)
        for connection in self.connected.values():
            connection.use(self.settings)
        return True

    async def stop_accepting(self) -> None:
        await super().stop_accepting()
        self._finishing = True
        self._update_ready()
        if any(connection.in_progress for connection in self.connected.values()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_SECONDS):
                    await self._finished.wait()
        self._finished.set()
        self._update_ready()

    async def close(self) -> None:
        await super().close()
        self._unterminated.close()

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        self._decide(messages, None)

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        self._decide(messages, refusal)

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        return [self._answer(message, answer) for message, answer in answers]

    def forward(self, message: InboundMessage) -> str:
        text = (message.body or b"").decode(self.settings.encoding, "replace")
        return "".join(f"{record}\r" for record in records(text))

    def pause_reading(self) -> None:
        self._held_back = True
        self._update_ready()

    def resume_reading(self) -> None:
        self._held_back = False
        self._update_ready()

    # what follows is called by the connections

    @property
    def may_read(self) -> bool:
        return True

    def may_take(self, connection: AstmConnection) -> bool:
        """Whether the analyser may have the line, and its frames are taken; `AstmConnection.update_ready` follows a change."""
        if self._held_back or self._unterminated.waits:
            return False
        return not self._finishing or (connection.in_progress and not self._finished.is_set())

    def unterminated(self, message: InboundMessage) -> None:
        """This message was ended by EOT, after its last acknowledgment: hand it over until it is stored."""
        self._unterminated.add(message)

    def moved(self) -> None:
        """Something has happened on a line."""
        if not self._finishing or self._finished.is_set():
            return
        if not any(each.in_progress for each in self.connected.values()):
            self._finished.set()

    # inner workings

    def _decide(self, messages: Sequence[InboundMessage], refusal: Refusal | None) -> None:
        for message in messages:
            origin, message.origin = cast("_Origin | None", message.origin), None
            if origin is not None:  # decided already
                origin.decided(message, refusal)

    def _answer(self, message: InboundMessage, answer: Answer) -> Delivery:
        text = answer.body.lstrip()
        if not answer.accepted or not is_complete_header(text):
            if text[:2].upper() == "H|":  # meant as one: a backslash is easily lost in a Bot's source
                self.notes.add("answer is no message", f"H lacks its four delimiters; nothing is sent to {message.remote}")
            return Delivery.NOT_OWED
        connection = self.connected.get(message.link)
        if connection is None:
            return Delivery.GONE
        settings = self.settings
        try:
            frames = encode_texts(texts(text, settings.encoding, by_record=settings.by_record), settings.frame_length)
        except ValueError as error:
            connection.note("answer cannot be sent", str(error))
            return Delivery.GONE
        connection.answer(message, frames)
        return Delivery.QUEUED

    def _update_ready(self) -> None:
        for connection in list(self.connected.values()):
            connection.update_ready()
