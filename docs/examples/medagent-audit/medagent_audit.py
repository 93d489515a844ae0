"""An observer: a line in a file for each batch of messages that is accepted or has ended."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from medagent import hookimpl
from medagent.config.settings import Registry, Setting
from medagent.running import RunningAgent
from medagent.types import InboundMessage, State

log = logging.getLogger(__name__)

MOST_LINES = 10_000
"""Lines that wait for the disk at most; what comes then is counted as lost."""
PATIENCE = 1.0
"""Seconds that the end waits for the disk, for each of its two steps."""


class Audit:
    """Hooks run on the event loop and must not block it, so a thread of its own writes."""

    def __init__(self) -> None:
        self.path = ""
        self.fault = ""
        """Why the last line could not be written."""
        self.lost = 0
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_LINES)
        """None: write no more."""
        self._thread: threading.Thread | None = None

    @hookimpl
    def medagent_register_settings(self, registry: Registry) -> None:
        registry.add_setting(
            Setting(
                "auditFile",
                str,
                None,
                "File that gets a line for each batch accepted or ended. Unset: none.",
            )
        )

    @hookimpl
    def medagent_startup(self, agent: RunningAgent) -> None:
        self.begin(_path(agent))

    @hookimpl
    async def medagent_reloaded(self, agent: RunningAgent) -> None:
        if _path(agent) != self.path:
            await asyncio.to_thread(self.end)
            self.begin(_path(agent))

    @hookimpl
    async def medagent_shutdown(self) -> None:
        await asyncio.to_thread(self.end)

    @hookimpl
    def medagent_messages_accepted(
        self, channel: str, messages: Sequence[InboundMessage]
    ) -> None:
        self._note(channel, "accepted", len(messages))

    @hookimpl
    def medagent_messages_settled(
        self, channel: str, settled: Sequence[tuple[InboundMessage, State]]
    ) -> None:
        self._note(channel, "ended", Counter(state.name.lower() for _, state in settled))

    @hookimpl
    def medagent_health(self) -> list[tuple[str, bool, str]]:
        reason = self.fault or (
            f"{self.lost} line(s) are lost: the disk is too slow" if self.lost else ""
        )
        return [("audit trail", not reason, reason)] if self.path else []

    def begin(self, path: str) -> None:
        """Write to this file from now on; to none if it is ""."""
        self.path, self.fault, self.lost = path, "", 0
        if path:
            self._lines = queue.Queue(MOST_LINES)
            # a daemon: a disk that hangs must not keep the agent from ending
            self._thread = threading.Thread(
                target=self._write, args=(path, self._lines), name="audit", daemon=True
            )
            self._thread.start()

    def end(self) -> None:
        """Wait until all is written, for a while."""
        self.path = ""
        if self._thread is not None:
            try:
                self._lines.put(None, timeout=PATIENCE)
                self._thread.join(PATIENCE)
            except queue.Full:
                log.error("the audit trail is not complete: the disk does not take it")
            self._thread = None

    def _note(self, channel: str, event: str, figures: int | Counter[str]) -> None:
        if not self.path:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            self._lines.put_nowait(
                json.dumps({"at": now, "channel": channel, event: figures}) + "\n"
            )
        except queue.Full:
            self.lost += 1

    def _write(self, path: str, lines: queue.Queue[str | None]) -> None:
        """In the thread: append each line, until told to end."""
        while (line := lines.get()) is not None:
            try:
                with open(path, "a", encoding="utf-8", opener=_private) as file:
                    file.write(line)
                self.fault = ""
            except OSError as error:
                if not self.fault:
                    log.error(
                        "the audit trail has gaps: %s cannot be written: %s",
                        path,
                        error.strerror,
                    )
                self.fault = f"{path} cannot be written: {error.strerror}"


def _private(path: str, flags: int) -> int:
    """Opens it for its owner alone, from its first moment on."""
    return os.open(path, flags, 0o600)


def _path(agent: RunningAgent) -> str:
    return str(agent.config.settings.get("auditFile", "")) if agent.config is not None else ""


audit = Audit()
