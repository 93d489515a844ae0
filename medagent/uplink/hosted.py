"""A plugin's uplink under guard: it is run again when it ends, and what it raises hurts nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from medagent.guard import Guard
from medagent.uplink.base import Transmit, Uplink, UplinkHandler, UplinkStatus

log = logging.getLogger(__name__)

FIRST_RETRY = 1.0
RETRY_CAP = 60.0
"""Seconds before `run` is called again: doubled from the first to the cap."""
LASTING_SECONDS = 60.0
"""After a run of so long, the next pause is the first again."""
MOST_OVERHEAD = 4096
"""Bytes counted for what surrounds a body in a frame, of an uplink that does not say it."""


class HostedUplink:
    """Implements `medagent.uplink.base.Uplink`."""

    def __init__(self, uplink: Uplink, guard: Guard, handler: UplinkHandler) -> None:
        self.hosted = uplink
        self._guard = guard
        self._handler = handler
        self._ended = ""
        """Why `run` has ended, until it is called again."""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_RETRY
        while True:
            begun = loop.time()
            try:
                await self._guard.wait("run", self.hosted.run, regardless=True)
                self._guard.fault("run", "it has ended", counts=False)
            except Exception:  # noqa: BLE001, S110  the guard has counted and logged it
                pass
            self._ended = self._guard.last_fault
            self._handler.disconnected()
            delay = FIRST_RETRY if loop.time() - begun > LASTING_SECONDS else delay
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_CAP)
            self._ended = ""

    def transmit(self, messages: Sequence[Transmit]) -> int:
        """Raises what the uplink does: one message may be the reason. While the breaker is open it takes none."""
        if self._guard.breaker.open and self._guard.seconds_left:
            return 0
        return self._guard.attempt("transmit", self._transmit, messages)

    def _transmit(self, messages: Sequence[Transmit]) -> int:
        taken = self.hosted.transmit(messages)
        if type(taken) is not int or not 0 <= taken <= len(messages):
            raise TypeError("not a number of messages")
        return taken

    # as in `Uplink.reply`
    def reply(self, frame: dict[str, Any]) -> None:
        self._guard.call("reply", self.hosted.reply, frame, otherwise=None, regardless=True)

    def reconnect(self, reason: str) -> None:
        self._guard.call("reconnect", self.hosted.reconnect, reason, otherwise=None, regardless=True)

    @property
    def status(self) -> UplinkStatus:
        if self._ended:
            return UplinkStatus("waiting", f"its plugin failed in {self._ended}; it is run again")
        if self._guard.breaker.open:
            return UplinkStatus("waiting", f"its plugin failed in {self._guard.stopped}")

        def asked() -> UplinkStatus:
            status = self.hosted.status
            if not isinstance(status, UplinkStatus):
                raise TypeError("not a status")
            return status

        unknown = UplinkStatus("waiting", "its plugin cannot tell its status")
        return self._guard.call("status", asked, otherwise=unknown, regardless=True)

    @property
    def overhead_bytes(self) -> int:
        return self._guard.call(
            "overhead_bytes", lambda: int(self.hosted.overhead_bytes), otherwise=MOST_OVERHEAD, regardless=True
        )
