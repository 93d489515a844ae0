"""The senders of one agent, by the URL scheme of the device, with a guard between a plugin's faults and the core."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping

from medagent.errors import PLUGIN_FAULTS, DeviceError, Unsendable
from medagent.outbound.push import Push
from medagent.outbound.remote import show_remote
from medagent.sender import Sender, SenderContext, SenderFactory

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""What a sender may take beyond the time that it was given."""
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9.+-]{1,40}/[A-Za-z0-9.+-]{1,60}")


class Senders:
    """Makes each sender when it is first needed."""

    def __init__(self, factories: Mapping[str, SenderFactory], context: SenderContext) -> None:
        self._factories = factories
        self._context = context
        self._senders: dict[str, Sender] = {}

    def _of(self, remote: str) -> Sender:
        scheme, separator, _ = remote.partition("://")
        scheme = scheme.lower()
        if not separator or scheme not in self._factories:
            known = ", ".join(f"{known}://" for known in sorted(self._factories)) or "none"
            raise Unsendable(f"{show_remote(remote)} begins with no scheme that this agent can send to; it knows {known}")
        if scheme not in self._senders:
            self._senders[scheme] = self._factories[scheme](self._context)
        return self._senders[scheme]

    def content_type(self, remote: str) -> str:
        """Of the answers of a device that messages were prepared for."""
        return self._of(remote).content_type

    def prepare(self, push: Push) -> bytes:
        """As `Sender.prepare`. Raises `Unsendable` and nothing else."""
        try:
            sender = self._of(push.remote)
            if push.content_type not in (None, sender.content_type):
                found = f'"{push.content_type}"' if _MEDIA_TYPE.fullmatch(push.content_type or "") else "(no media type)"
                raise Unsendable(f"content of type {found} cannot be sent, only {sender.content_type}")
            return sender.prepare(push.remote, push.text)
        except Unsendable:
            raise
        except PLUGIN_FAULTS as error:
            raise Unsendable(f"the sender's plugin failed: {type(error).__name__}") from None

    async def send(self, remote: str, body: bytes, seconds: float) -> str:
        """As `Sender.send`. Raises `DeviceError` and nothing else, also if the sender forgets the time."""
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                return await self._of(remote).send(remote, body, seconds)
        except DeviceError:
            raise
        except Unsendable as error:  # of a push that an earlier version has taken
            raise DeviceError(str(error)) from None
        except TimeoutError:
            raise DeviceError(f"there was no answer within {seconds:g} s", may_have_it=True) from None
        except PLUGIN_FAULTS as error:
            raise DeviceError(f"the sender's plugin failed: {type(error).__name__}", may_have_it=True) from None

    def reconfigure(self, context: SenderContext) -> None:
        """Other values are in force."""
        self._context = context
        for scheme, sender in self._senders.items():
            try:
                sender.reconfigure(context)
            except PLUGIN_FAULTS as error:
                log.error("the sender for %s:// cannot be reconfigured: %s", scheme, type(error).__name__)

    async def close(self) -> None:
        """Close all connections; no plugin keeps the agent from ending."""
        senders, self._senders = self._senders, {}
        for scheme, sender in senders.items():
            try:
                async with asyncio.timeout(GRACE_SECONDS):
                    await sender.close()
            except PLUGIN_FAULTS as error:
                log.error("the sender for %s:// cannot be closed: %s", scheme, type(error).__name__)
