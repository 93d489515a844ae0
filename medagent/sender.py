"""What a sender is: the way to devices of one URL scheme, made by a plugin and used by `medagent.outbound`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SenderContext:
    """What a sender must know of the Agent."""

    keep_alive: bool = False
    """Agent.setting `keepAlive`: connections that are not in use stay open."""
    max_clients: int = 5
    """Agent.setting `maxClientsPerRemote`: most connections to one device."""


class Sender(Protocol):
    """Sends to the devices of one scheme. All methods run on the event loop and must not block."""

    content_type: str
    """Of the messages that it can send and of their answers, such as `x-application/hl7-v2+er7`."""

    def prepare(self, remote: str, text: str) -> bytes:
        """The bytes that the device `remote`, such as `mllp://10.0.0.7:2575`, gets for `text`.

        They go to the queue, and to `send` in this run or a later one. Raises `medagent.errors.Unsendable`, whose text names
        what is wrong and nothing of the content.
        """

    async def send(self, remote: str, body: bytes, seconds: float) -> str:
        """Send `body`, prepared bytes, once to `remote`; return the device's final answer as text within about `seconds`.

        Calls overlap; the sender has those wait that are too many for the device. Raises `medagent.errors.DeviceError`, which
        says whether the device may have the message; its text names the device, and nothing of the content.
        """

    def reconfigure(self, context: SenderContext) -> None:
        """The values of `context` are in force from now on; what is in flight goes on."""

    async def close(self) -> None:
        """Close all connections; what is in flight fails."""


SenderFactory = Callable[[SenderContext], Sender]
"""What `medagent_register_sender_types` registers; a class whose constructor takes the context is one."""
