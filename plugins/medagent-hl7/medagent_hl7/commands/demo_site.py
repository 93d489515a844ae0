"""What the demo runs: an embedded FHIR server, and an agent as a process of its own that gets everything from it."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from medagent.admin import call
from medagent.errors import MedagentError, NotReady
from medagent.testing.fhir_server import FhirServer
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent_hl7.commands.target import Target, parse_target

CHANNEL = "demo"
SETTINGS = {"batchEnabled": True, "batchSize": 100, "batchFlushMs": 100}
CLIENT_ID = "medagent-demo"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
SETTLE_TIMEOUT = 5.0
"""Seconds, like the others; for the queue to note what has been answered."""
POLL_INTERVAL = 0.1
ENDPOINT_ID = "9c1d7a52-4c0b-4a63-8f38-6f0a4e5d2c03"


class DemoSite:
    """Server and agent, running while used as an async context manager.

    The state folder is new, and deleted at the end unless something failed.
    """

    def __init__(self, port: int) -> None:
        """`port`: where the agent listens for MLLP on loopback; 0 for a free one."""
        address = f"mllp://127.0.0.1:{port}?enhanced=true"
        self.state_dir = Path(tempfile.mkdtemp(prefix="medagent-demo-"))
        self.log_path = self.state_dir / "agent.log"
        self.target = Target("127.0.0.1", port)
        """Where the agent listens, once it does."""
        self.secret = secrets.token_urlsafe(32)
        """Of the server's only client, for this run."""
        self.server = FhirServer(
            agent_resource({CHANNEL: ENDPOINT_ID}, SETTINGS, name="Demo agent"),
            [endpoint_resource(ENDPOINT_ID, address)],
            client_id=CLIENT_ID,
            client_secret=self.secret,
            keep_journal=False,
        )
        self._process: asyncio.subprocess.Process | None = None

    @property
    def agent_pid(self) -> int:
        return self._process.pid if self._process else 0

    async def __aenter__(self) -> Self:
        try:
            await self.server.start()
            await self._start_agent()
            await self._wait_until_ready()
        except BaseException as error:  # also when cancelled: nothing may be left running
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_agent()
        await self.server.close()
        if not isinstance(error, Exception):
            shutil.rmtree(self.state_dir, ignore_errors=True)

    async def _start_agent(self) -> None:
        arguments = ["--base-url", self.server.base_url, "--client-id", CLIENT_ID, "--agent-id", AGENT_ID]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MEDAGENT_")}
        environ["MEDAGENT_CLIENT_SECRET"] = self.secret
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "medagent", "run", *arguments, "--state-dir", str(self.state_dir)),
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the agent in order
            )
        finally:
            os.close(log)

    async def _wait_until_ready(self) -> None:
        """Wait until the agent listens and is connected. Raises `MedagentError` with the place of its log."""
        reasons: object = "it does not answer"
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while True:
                    try:
                        status = await self._ask("status")
                    except NotReady:
                        self._check_agent()
                    else:
                        if status["state"] == "ok" and status["channels"]:
                            self.target = parse_target(status["channels"][0]["address"])
                            return
                        reasons = "; ".join(status["reasons"])
                    await asyncio.sleep(POLL_INTERVAL)
        except TimeoutError:
            raise MedagentError(f"the agent is not ready after {START_TIMEOUT:g} s: {reasons}; {self.where_log}") from None

    def _check_agent(self) -> None:
        if self._process is not None and self._process.returncode is not None:
            raise MedagentError(f"the agent ended with exit code {self._process.returncode}; {self.where_log}")

    @property
    def where_log(self) -> str:
        return f"its log is {self.log_path}"

    # decoded JSON, nested by kind
    async def _ask(self, command: str) -> Any:
        return await asyncio.to_thread(call, self.state_dir, command)

    async def queue_report(self) -> Any:
        """The queue's figures (see `medagent.report`), as soon as every message has ended, or after `SETTLE_TIMEOUT`."""
        end = time.monotonic() + SETTLE_TIMEOUT
        # another process: it can only be asked again
        while (report := await self._ask("stats"))["depth"] and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL)
        return report

    async def _stop_agent(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
