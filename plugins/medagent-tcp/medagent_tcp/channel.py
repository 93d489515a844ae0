"""The `tcp` channel: messages between a start and an end byte, forwarded as hexadecimal text."""

from __future__ import annotations

from medagent.config.model import ChannelConfig
from medagent.errors import ChannelError
from medagent.listening import TcpChannel, TcpConnection
from medagent.types import Answer, InboundMessage, Refusal
from medagent_tcp.framing import Cut, Frame, FrameDecoder, Outside
from medagent_tcp.settings import ByteStreamSettings, Unusable
from medagent_tcp.turns import Turns

CONTENT_TYPE = "application/octet-stream"
NO_ANSWER = "Bot execution logs:"
"""How the answer of a Medplum server begins whose Bot has returned nothing."""
_DELIMITERS = 2
"""Bytes of a frame that are no message: the start and the end."""


class ByteStreamChannel(TcpChannel["ByteStreamConnection"]):
    """Implements `medagent.channel.Channel`, `Reconfigurable` and `Noticing`.

    The queue holds whole frames, so what is forwarded does not depend on what the address says at that time.
    """

    content_type = CONTENT_TYPE
    settings: ByteStreamSettings
    """Known from `start` on."""

    async def start(self) -> None:
        try:
            self.settings = ByteStreamSettings.from_parameters(self.config.parameters)
        except Unusable as error:
            raise ChannelError(str(error)) from error
        await super().start()

    def reconfigure(self, config: ChannelConfig) -> bool:
        """As of `Reconfigurable`: everything but the start and the end character can change while it listens."""
        if any(config.parameters.get(name) != self.config.parameters.get(name) for name in ("startChar", "endChar")):
            return False
        try:
            self.settings = ByteStreamSettings.from_parameters(config.parameters)
        except Unusable:
            return False  # the next one says why it does not listen
        for connection in self.connected.values():
            connection.decoder.limit = self.frame_limit
        return super().reconfigure(config)

    @property
    def frame_limit(self) -> int:
        """Most bytes of a frame: each is two characters of what the server gets."""
        most = self.context.max_body_bytes // 2
        length = self.settings.max_message_length
        return most if length is None else min(most, length + _DELIMITERS)

    def make_connection(self) -> ByteStreamConnection:
        return ByteStreamConnection(self)

    def forward(self, message: InboundMessage) -> str:
        return (message.body or b"").hex()

    def when_committed(self, message: InboundMessage) -> bytes:
        return self._decide(message, self.settings.ack)

    def when_refused(self, message: InboundMessage, refusal: Refusal) -> bytes:
        return self._decide(message, self.settings.nak)

    def when_answered(self, message: InboundMessage, answer: Answer) -> bytes:
        if answer.body.startswith(NO_ANSWER):
            return b""
        try:
            return bytes.fromhex(answer.body)
        except ValueError:
            self.notes.add("answer of the server is not hexadecimal", f"nothing is sent to {message.remote}")
            return b""

    def _decide(self, message: InboundMessage, reply: bytes) -> bytes:
        connection = self.connected.get(message.link)
        return b"" if connection is None else connection.turns.decide(message, reply)


class ByteStreamConnection(TcpConnection):
    """One device."""

    def __init__(self, channel: ByteStreamChannel) -> None:
        super().__init__(channel)
        settings = channel.settings
        self.decoder = FrameDecoder(settings.start, settings.end, channel.frame_limit)
        self.turns = Turns()
        self._stream = channel

    @property
    def held(self) -> int:
        return self.decoder.held

    @property
    def inside(self) -> bool:
        return self.decoder.inside

    def received(self, data: bytes) -> None:
        messages: list[InboundMessage] = []
        replies = []
        for event in self.decoder.feed(data):
            if isinstance(event, Frame):
                messages.append(self.message(event.data))
                self.turns.take(messages[-1])
            elif isinstance(event, Outside):
                self.note("bytes outside frames", f"{event.size} bytes are ignored")
            elif isinstance(event, Cut):
                self.note("frame without an end", f"{event.size} bytes are dropped, since another frame begins")
            else:
                self.note("message too long", f"{event.size} bytes, and {self._stream.frame_limit} can be accepted")
                turn = object()
                self.turns.take(turn)
                replies.append(self.turns.decide(turn, self._stream.settings.nak))
        if any(replies):
            self.send(b"".join(replies))
        self.accept(messages)
