"""`medagent run` as a child process, for tests of the whole: the real command, real signals, real files."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from medagent.admin import call

_LISTENS = re.compile(r"channel (\S+) listens on (\S+):(\d+)")


class AgentProcess:
    """A running agent; an async context manager that ends it."""

    def __init__(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        python: str = sys.executable,
        program: Sequence[str] = ("-m", "medagent"),
        before: Sequence[str] = (),
    ) -> None:
        """`arguments` are those of `medagent run`; `program` tells Python what to run as `medagent`; `before` is a command
        that runs another, such as a tracer, and takes its place."""
        self._command = [*before, python, *program, "run", *arguments]
        self._environ = {**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self.addresses: dict[str, tuple[str, int]] = {}
        """Where its channels listen, by channel."""
        self.log: list[str] = []
        """The lines of its standard error so far."""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environ, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        self._reader = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._running.returncode is None:
            self._running.kill()
        await self.wait()

    @property
    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the agent was not started: use `async with`")
        return self._process

    @property
    def pid(self) -> int:
        return self._running.pid

    async def _read(self) -> None:
        stream = self._running.stderr
        while stream is not None and (line := await stream.readline()):
            text = line.decode().rstrip()
            if found := _LISTENS.search(text):
                self.addresses[found[1]] = (found[2], int(found[3]))
            async with self._news:
                self.log.append(text)
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    async def logged(self, text: str, timeout: float = 20.0) -> str:
        """Wait for a line of the log that holds `text`. Raises `RuntimeError`, with the log, if it ends without one."""
        async with asyncio.timeout(timeout), self._news:
            while True:
                for line in self.log:
                    if text in line:
                        return line
                if self._reader is None or self._reader.done():
                    raise RuntimeError("the agent has ended:\n" + "\n".join(self.log))
                await self._news.wait()

    async def listening(self, *channels: str) -> None:
        """Wait until these channels listen."""
        for channel in channels:
            await self.logged(f"channel {channel} listens on")

    async def drained(self, state_dir: Path, timeout: float = 20.0) -> None:
        """Wait until no live message is left in its queue."""
        async with asyncio.timeout(timeout):
            # the agent tells its figures only when asked
            while (await asyncio.to_thread(call, state_dir, "stats"))["depth"]:  # noqa: ASYNC110  as said above
                await asyncio.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        self._running.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; returns the exit code (negative: the signal that ended it)."""
        code = await self._running.wait()
        if self._reader is not None:
            await self._reader
        return code

    async def stop(self) -> int:
        """Have it stop in order."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        await self.wait()


def server_arguments(base_url: str, agent_id: str, state_dir: Path) -> list[str]:
    """Arguments of `medagent run` for the embedded FHIR server; the secret belongs in `SERVER_ENVIRON`."""
    return ["--base-url", base_url, "--client-id", "client1", "--agent-id", agent_id, "--state-dir", str(state_dir)]


SERVER_ENVIRON = {"MEDAGENT_CLIENT_SECRET": "secret"}
"""Of the embedded FHIR server's default client."""
