"""The agent: holds the queue, loads its configuration however long that takes, and runs the pipeline until told to stop."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from medagent import __version__
from medagent.admin import AdminServer
from medagent.config.bootstrap import Bootstrap
from medagent.config.load import load_config
from medagent.config.model import AgentConfig
from medagent.config.problems import Problem, Severity
from medagent.errors import MedagentError, NotReady, PluginError
from medagent.pipeline import Pipeline
from medagent.plugins import Plugins
from medagent.queue.base import QueueStore, StoreContext
from medagent.queue.lock import QueueLock
from medagent.queue.sqlite import QUEUE_NAME
from medagent.report import Report, add_statistics, queue_report, statistics_line
from medagent.tasks import Tasks
from medagent.uplink.base import ServerRequest

log = logging.getLogger(__name__)

FIRST_RETRY = 1.0
RETRY_CAP = 60.0
"""Seconds between tries to load the configuration: doubled from the first to the cap, or what the server asks for."""


class Agent:
    """One agent over one state folder. `run` is all a caller needs."""

    def __init__(self, bootstrap: Bootstrap, plugins: Plugins | None = None) -> None:
        self.bootstrap = bootstrap
        self.plugins = plugins if plugins is not None else Plugins()
        self.config: AgentConfig | None = None
        self.problems: list[Problem] = []
        self.pipeline: Pipeline | None = None
        self._lock = QueueLock(bootstrap.state_dir)
        self._store: QueueStore | None = None
        self._tasks = Tasks()
        self._started_at = time.monotonic()
        self._waiting_for = "starting"
        self.listening = asyncio.Event()
        """Set when the channels have been told to listen."""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then shut down in order.

        Raises `QueueHeld` or `QueueError` if there is no queue to run on; nothing else ends it.
        """
        access = None
        admin = AdminServer(self.bootstrap.state_dir, {"status": self._status, "stats": self._stats})
        try:
            if not await _unless(stop, self._lock.acquire(wait=self.bootstrap.wait)):
                return
            self._store = self._make_store()
            last_seq = await self._store.open()
            await admin.start()
            if self.bootstrap.base_url:
                from medagent.fhir.access import FhirAccess

                access = FhirAccess(self.bootstrap)
            if not await _unless(stop, self._load(access.client if access else None)):
                return
            assert self.config is not None
            self.pipeline = Pipeline(
                self.bootstrap,
                self.config,
                plugins=self.plugins,
                store=self._store,
                last_seq=last_seq,
                tokens=access.tokens if access else None,
                requested=self._requested,
            )
            await self._call_all("medagent_startup")
            await self.pipeline.start()
            self._waiting_for = ""
            self.listening.set()
            if self.config.log_stats_freq_secs > 0:
                self._tasks.spawn(self._log_statistics(self.config.log_stats_freq_secs), "statistics")
            await stop.wait()
        finally:
            await self._stop(admin)
            if access is not None:
                await access.close()

    async def _stop(self, admin: AdminServer) -> None:
        log.info("stopping")
        await self._tasks.cancel()
        if self.pipeline is not None:
            await self.pipeline.stop()
            await self._call_all("medagent_shutdown")
        await admin.close()
        if self._store is not None:
            await self._store.close()
        self._lock.release()
        log.info("stopped")

    def _make_store(self) -> QueueStore:
        url = f"sqlite:{self.bootstrap.state_dir / QUEUE_NAME}"
        store: QueueStore | None = self.plugins.hook.medagent_make_queue_store(
            url=url, context=StoreContext(str(self.bootstrap.state_dir))
        )
        if store is None:
            raise PluginError(f"no plugin offers a queue store for {url}")
        return store

    async def _load(self, client: object) -> None:
        """Load the configuration, however often it takes: the server may be away, the secret wrong, the Agent not there yet."""
        delay = FIRST_RETRY
        logged = ""
        while self.config is None:
            try:
                loaded = await load_config(self.bootstrap, self.plugins, client)
            except MedagentError as error:
                if str(error) != logged:
                    log.error("cannot load the configuration: %s; trying again", error)
                logged = str(error)
                self._waiting_for = f"cannot load the configuration: {error}"
                wished = error.retry_after if isinstance(error, NotReady) else None
                await asyncio.sleep(wished or delay)
                delay = min(delay * 2, RETRY_CAP)
            else:
                self.config, self.problems = loaded
        for problem in self.problems:
            log.log(logging.ERROR if problem.severity is Severity.ERROR else logging.INFO, "configuration: %s", problem)
        log.info("configured as %s with %d channel(s)", self.config.name, len(self.config.channels))
        if not self.bootstrap.base_url:
            log.warning("no FHIR server is given: messages are kept and not sent on; channels in original mode will not answer")

    def _requested(self, frame: ServerRequest) -> None:
        self._tasks.spawn(self._serve(frame), f"request {frame.type}")

    async def _serve(self, frame: ServerRequest) -> None:
        assert self.pipeline is not None
        assert self.pipeline.uplink is not None
        served = await _awaited(self.plugins.hook.medagent_handle_frame(agent=self, frame=frame))
        if not served and frame.callback is not None:
            text = f"medagent {__version__} does not serve {frame.type}"
            self.pipeline.uplink.reply({"type": "agent:error", "callback": frame.callback, "body": text})

    async def _call_all(self, hook: str) -> None:
        """Call a life-cycle hook; one plugin's fault is its own."""
        for plugin, result in self.plugins.call_each(hook, agent=self):
            try:
                await _awaited(result)
            # a plugin may raise anything here; the agent starts and stops all the same
            except Exception as error:  # noqa: BLE001  as said above
                log.error("plugin %s failed in %s: %s", plugin, hook, type(error).__name__)

    async def _log_statistics(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            log.info("%s", statistics_line(await self._report()))

    async def _report(self) -> Report:
        assert self._store is not None
        if self.pipeline is None:
            return queue_report(await self._store.depths())
        await self.pipeline.flush_states()
        report = queue_report(await self._store.depths())
        add_statistics(report, self.pipeline.statistics, time.monotonic() - self._started_at)
        report["in_flight"] = self.pipeline.dispatcher.in_flight
        report["buffered"] = self.pipeline.intake.buffered
        report["refused"] = self.pipeline.intake.refused
        report["unmatched_answers"] = self.pipeline.dispatcher.unmatched
        report["server_errors"] = self.pipeline.statistics.server_errors
        extra: dict[str, float] = {}
        self.plugins.call_each("medagent_metrics", registry=extra)
        return report | ({"plugins": extra} if extra else {})

    async def _stats(self, _arguments: Mapping[str, Any]) -> Report:
        return await self._report()

    async def _status(self, _arguments: Mapping[str, Any]) -> Report:
        status: Report = {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self._started_at, 1),
            "state_dir": str(self.bootstrap.state_dir),
            "server": self.bootstrap.base_url,
            "problems": [str(problem) for problem in self.problems if problem.severity is Severity.ERROR],
            "queue": await self._report(),
            "channels": [],
        }
        reasons = [self._waiting_for] if self._waiting_for else []
        reasons += [f"plugin {info.name}: {info.error}" for info in self.plugins.infos if info.error]
        reasons += [f"configuration: {problem}" for problem in status["problems"]]
        if self.config is not None and self.pipeline is not None:
            status["agent"] = {"id": self.config.agent_id, "name": self.config.name, "status": self.config.status}
            uplink = self.pipeline.uplink
            if uplink is not None:
                status["uplink"] = {"state": uplink.status.state, "detail": uplink.status.detail}
                if uplink.status.state != "connected":
                    reasons.append(f"uplink {uplink.status.state}: {uplink.status.detail}")
            for channel in self.pipeline.supervisor.channels:
                status["channels"].append(
                    {
                        "name": channel.config.name,
                        "state": channel.state,
                        "reason": channel.reason,
                        "address": channel.address or channel.config.address,
                        "connections": channel.connections,
                    }
                )
                if channel.state != "listening":
                    reasons.append(f"channel {channel.config.name} {channel.state}: {channel.reason}")
        for _, checks in self.plugins.call_each("medagent_health", agent=self):
            reasons += [f"{what}: {why}" for what, well, why in checks or () if not well]
        return status | {"state": "degraded" if reasons else "ok", "reasons": reasons}


# hooks return values or awaitables of their own kind
async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def _unless(stop: asyncio.Event, work: Any) -> bool:
    """Run a coroutine; False if `stop` was set first and the work was given up."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        for future in (task, stopped):
            future.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
