"""The agent: holds the queue, loads its configuration however long that takes, and runs the pipeline until told to stop."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import TypeVar

from medagent import __version__
from medagent.admin import AdminServer
from medagent.channel import Channel, Resynchronizable
from medagent.config.bootstrap import Bootstrap
from medagent.config.in_force import describe_agent, describe_start
from medagent.config.model import AgentConfig
from medagent.configuration import Configuration
from medagent.errors import ChannelError, MedagentError, QueueError
from medagent.fhir.access import FhirAccess
from medagent.fhir.client import FhirClient
from medagent.fhir.route import DIRECT, make_route
from medagent.guard import Watchdog
from medagent.hosting import make_store
from medagent.loading import FIRST_RETRY, RETRY_CAP
from medagent.pipeline import Pipeline
from medagent.plugins import Plugins
from medagent.queue.base import QueueStore, StoreContext
from medagent.queue.lock import QueueLock
from medagent.queue.sqlite.store import QUEUE_NAME, SqliteStore
from medagent.reload.watch import FileWatch
from medagent.report import Report, add_notices, add_statistics, queue_report, statistics_line
from medagent.running import RunningAgent
from medagent.status import plugin_figures, status_report
from medagent.tasks import Tasks
from medagent.throttle import Throttle
from medagent.uplink.answers import Frame, agent_error
from medagent.uplink.base import ServerRequest

log = logging.getLogger(__name__)

T = TypeVar("T")

WATCH_SECONDS = 2.0
"""Between two looks at the files of the configuration."""
SECONDS_BETWEEN_NOTES = 10.0
"""Between two lines of the log about refused requests of one type."""
STORE_SECONDS = 3.0
"""What the queue may take to tell its figures, when it is asked how the agent is."""
_TYPE = re.compile(r"[a-z:-]{1,40}")
"""Of a request; what else stands there is never shown: it may be anything."""


class Agent(RunningAgent):
    """One agent over one state folder. `run` is all a caller needs."""

    def __init__(self, bootstrap: Bootstrap, plugins: Plugins | None = None) -> None:
        self.bootstrap = bootstrap
        self.plugins = plugins if plugins is not None else Plugins(bootstrap.plugins)
        self.configuration: Configuration | None = None
        """None until there is a queue."""
        self.pipeline: Pipeline | None = None
        """None until the configuration is loaded."""
        self.waiting_for = ""
        """Why it does not work at the moment, if that is the queue's fault."""
        self.listening = asyncio.Event()
        """Set when the channels have been told to listen."""
        self._tasks = Tasks()
        self._work_tasks = Tasks()
        """What goes on while there is a pipeline."""
        self._notes = Throttle(SECONDS_BETWEEN_NOTES)
        self._works = asyncio.Event()
        """Set while a pipeline works: before and after, nothing must be changed in it."""
        self._files = FileWatch(bootstrap.agent_files)
        self._statistics: asyncio.Task[None] | None = None
        self._started_at = time.monotonic()

    @property
    def config(self) -> AgentConfig | None:
        """In force; None until it is loaded."""
        return self.configuration.config if self.configuration is not None else None

    @property
    def not_configured(self) -> str:
        """Why it does not work by what the server, or the file, has; "" if it does."""
        return self.configuration.missing if self.configuration is not None else "starting"

    @property
    def channels(self) -> Mapping[str, Channel]:
        """As their plugins made them, by name."""
        return {name: host.hosted for name, host in self.pipeline.channels.items()} if self.pipeline is not None else {}

    @property
    def _queue_url(self) -> str:
        return self.bootstrap.queue_store or f"sqlite:{self.bootstrap.state_dir / QUEUE_NAME}"

    @property
    def uptime(self) -> float:
        """Seconds."""
        return time.monotonic() - self._started_at

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then shut down in order.

        Raises `QueueHeld` or `QueueError` if there is no queue to run on, `ConfigError` for local files that cannot be used,
        and `PluginError` if the Agent's setting `strictPlugins` wants a plugin that cannot be loaded; nothing else ends it.
        """
        lock = QueueLock(self.bootstrap.state_dir)
        watchdog = Watchdog(self.plugins.guards)
        watchdog.start()
        try:
            if await _unless(stop, _true_after(lock.acquire(wait=self.bootstrap.wait))):
                await self._run_on_queue(stop)
        finally:
            watchdog.stop()
            lock.release()

    async def _run_on_queue(self, stop: asyncio.Event) -> None:
        state_dir = self.bootstrap.state_dir
        store = make_store(self.plugins, self._queue_url, StoreContext(str(state_dir)))
        admin = AdminServer(
            state_dir,
            {
                "stats": lambda _arguments: self.report(store),
                "status": lambda _arguments: self._status(store),
                "config": self._describe,
                "resync": self._resync,
                "reload": self._reload_now,
                "hold": lambda arguments: _hold(store, arguments),
                "release": lambda arguments: _release(store, arguments),
            },
        )
        access = _open_access(self.bootstrap)
        try:
            last_seq = await store.open()
            await admin.start()
            configuration = self.configuration = Configuration(self.bootstrap, self.plugins, access)
            await _unless(stop, configuration.load())
            if access is None:
                log.warning("no FHIR server is given: messages are kept and not sent on; original mode will not be answered")
            delay = FIRST_RETRY
            while configuration.config is not None and not stop.is_set():
                begun = time.monotonic()
                try:
                    await self._work(stop, configuration, configuration.config, store, last_seq, access)
                # what is read at the start of the work may be what is damaged
                except Exception:
                    if not store.damage:
                        raise
                delay = FIRST_RETRY if time.monotonic() - begun > RETRY_CAP else min(delay * 2, RETRY_CAP)
                last_seq = await self._open_anew(stop, store, delay)
        finally:
            await self._tasks.cancel()
            if self.configuration is not None:
                await self.configuration.close()
            await admin.close()
            await store.close()
            if access is not None:
                await access.close()
            log.info("stopped")

    async def _open_anew(self, stop: asyncio.Event, store: QueueStore, delay: float) -> int:
        """Close the damaged queue and open it again, however often that takes; a disk that spoils it at once is given time."""
        self.waiting_for = "the queue is damaged and is opened anew"
        last_seq = 0
        while not stop.is_set():
            await store.close()
            try:
                last_seq = await store.open()
                break
            except QueueError as error:
                self.waiting_for = f"{error}; trying again"
                log.error("%s", self.waiting_for)
            await _unless(stop, _true_after(asyncio.sleep(delay)))
            delay = min(delay * 2, RETRY_CAP)
        return last_seq

    async def _work(
        self,
        stop: asyncio.Event,
        configuration: Configuration,
        config: AgentConfig,
        store: QueueStore,
        last_seq: int,
        access: FhirAccess | None,
    ) -> None:
        pipeline = self.pipeline = Pipeline(
            self.bootstrap,
            config,
            plugins=self.plugins,
            store=store,
            last_seq=last_seq,
            registers=await store.registers(),
            tokens=access.tokens if access else None,
            route=access.route if access else DIRECT,
            requested=self._requested,
            channel_names=partial(_channel_names, access.client, config.agent_id) if access else None,
        )
        await self.plugins.await_each("medagent_startup", agent=self)
        try:
            await pipeline.start()
            self.waiting_for = ""
            self._works.set()
            self.listening.set()
            self._work_tasks.spawn(self._watch_files(), "watch of the configuration's files")
            self._work_tasks.spawn(self._follow(pipeline, configuration), "configuration of the server")
            self._log_statistics(store)
            await _unless(stop, _true_after(pipeline.damaged.wait()))
        finally:
            log.info("stopping")
            self._works.clear()
            await self._work_tasks.cancel()
            await pipeline.stop()
            await self.plugins.await_each("medagent_shutdown", agent=self)

    async def reload(self) -> list[str]:
        """Read the configuration again and bring it into force; returns all that keeps it from that, and then nothing has
        changed."""
        reload = self._work_tasks.spawn(self._reload(), "reload")
        try:
            problems: list[str] = await asyncio.shield(reload)
            return problems
        except asyncio.CancelledError:
            if not reload.cancelled():
                raise
            return ["the agent stops, or opens its queue anew: the reload was given up"]

    def reload_soon(self, why: str) -> None:
        """The same in the background; the log says how it ended."""
        if self.config is None:
            log.warning("%s: the agent has no configuration yet, and goes on asking for one: %s", why, self.not_configured)
            return
        log.info("%s: reloading the configuration", why)
        self._work_tasks.spawn(self._reload(), "reload")

    async def _reload(self) -> list[str]:
        configuration = self.configuration
        if configuration is None or configuration.config is None:
            return [f"the agent does not work yet: {self.waiting_for or self.not_configured}"]
        await self._works.wait()
        pipeline = self.pipeline
        assert pipeline is not None  # noqa: S101  for the type checker: it works
        if not (problems := await configuration.reload(pipeline)):
            await self._reloaded()
        return problems

    async def _reload_now(self, _arguments: Mapping[str, object]) -> Report:
        problems, configuration = await self.reload(), self.configuration
        if problems or configuration is None:
            return {"problems": problems, "changes": "", "faults": []}
        return {"problems": [], "changes": configuration.changes, "faults": configuration.faults}

    async def _follow(self, pipeline: Pipeline, configuration: Configuration) -> None:
        if configuration.saved_at is not None:
            await configuration.follow(pipeline)
            await self._reloaded()

    async def _reloaded(self) -> None:
        if self.pipeline is not None:
            self._log_statistics(self.pipeline.store)
        await self.plugins.await_each("medagent_reloaded", agent=self)

    async def _watch_files(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._files.changed():
                self.reload_soon("a file has changed")

    def reply(self, frame: Frame) -> None:
        """Answer a request of the server; in vain when there is no pipeline any more."""
        if self.pipeline is not None:
            self.pipeline.reply(frame)

    def _requested(self, frame: ServerRequest) -> None:
        self._tasks.spawn(self._serve(frame), "request of the server")

    async def _serve(self, frame: ServerRequest) -> None:
        """Let a plugin answer a request of the server, or say that nobody does."""
        if await self.plugins.served("medagent_handle_frame", agent=self, frame=frame) or self.pipeline is None:
            return
        text = (
            f"medagent {__version__} does not serve {frame.type if _TYPE.fullmatch(frame.type) else 'a request of such a type'}"
        )
        if self._notes.passes(text, time.monotonic()):
            log.warning("a request of the server is refused: %s", text)
        if frame.callback is not None:
            self.reply(agent_error(frame.callback, text))

    def _log_statistics(self, store: QueueStore) -> None:
        """As often as the configuration wants it."""
        if self._statistics is not None:
            self._statistics.cancel()
        seconds = self.config.log_stats_freq_secs if self.config is not None else 0
        if seconds > 0:
            self._statistics = self._work_tasks.spawn(self._log_statistics_every(store, seconds), "statistics")

    async def _log_statistics_every(self, store: QueueStore, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            log.info("%s", statistics_line(await self.report(store)))

    async def report(self, store: QueueStore) -> Report:
        """The queue's figures as of now."""
        pipeline = self.pipeline
        if pipeline is None:
            return queue_report(await store.depths())
        report = add_statistics(queue_report(await pipeline.depths()), pipeline.statistics, self.uptime)
        add_notices(report, {channel.config.name: channel.notices for channel in pipeline.supervisor.channels})
        figures = plugin_figures(self.plugins)
        report["plugin_faults"] = self.plugins.guards.report()
        return report | pipeline.figures() | ({"plugins": figures} if figures else {})

    async def _resync(self, arguments: Mapping[str, object]) -> None:
        """Release what a channel has frozen: `channel`, its name; `seq` or null; `link`, a key or ""."""
        name, expected, link = arguments.get("channel"), arguments.get("seq"), arguments.get("link")
        if not (isinstance(name, str) and isinstance(expected, int | None) and isinstance(link, str)):
            raise ChannelError("resync takes a channel, a sequence number or null, and a link or an empty text")
        channel = self.pipeline.channels.get(name) if self.pipeline is not None and isinstance(name, str) else None
        if channel is None:
            raise ChannelError(f"the agent has no channel {name} at work")
        if not isinstance(channel.hosted, Resynchronizable):
            raise ChannelError(f"channel {name} knows no sequence numbers")
        await channel.guard.wait("resync", channel.hosted.resync, expected, link, expected=(ChannelError,))

    async def _describe(self, _arguments: Mapping[str, object]) -> dict[str, object]:
        """What it was started with, and the Agent's settings and channels in force; `agent` is null until they are loaded."""
        agent = describe_agent(self.config, self.plugins.registry) if self.config is not None else None
        return describe_start(self.bootstrap) | {"agent": agent}

    async def _status(self, store: QueueStore) -> Report:
        reasons = []
        try:
            async with asyncio.timeout(STORE_SECONDS):
                report = await self.report(store)
        except QueueError:
            report = queue_report({})  # it is being opened anew, as `waiting_for` says
        except TimeoutError:
            report = queue_report({})
            reasons.append(f"it does not answer within {STORE_SECONDS:g} s: its disk hangs, or its plugin")
        return status_report(self, report, [*store.reasons(), *reasons])


def _open_access(server: Bootstrap) -> FhirAccess | None:
    """None without a server. Raises `ConfigError` for a proxy's address or files of certificates that cannot be used."""
    if not server.base_url:
        return None
    route = make_route(
        server.base_url,
        ca_file=server.ca_file,
        client_cert_file=server.client_cert_file,
        client_key_file=server.client_key_file,
        proxy=server.proxy,
    )
    return FhirAccess(server.base_url, server.client_id, server.client_secret, route, secret_file=server.client_secret_file)


async def _channel_names(client: FhirClient, agent_id: str) -> set[str] | None:
    """Of the Agent on the server, as of now; None if it cannot be read."""
    try:
        channels = (await client.read(f"Agent/{agent_id}")).get("channel")
    except MedagentError:
        return None
    entries = channels if isinstance(channels, list) else []
    return {name for entry in entries if isinstance(entry, dict) and isinstance(name := entry.get("name"), str)}


async def _hold(store: QueueStore, arguments: Mapping[str, object]) -> str:
    if not isinstance(store, SqliteStore):
        raise QueueError("this agent's queue is a plugin's: it has its own way of backup")
    return await store.hold(str(arguments.get("token", "")))


async def _release(store: QueueStore, arguments: Mapping[str, object]) -> bool:
    return isinstance(store, SqliteStore) and await store.release(str(arguments.get("token", "")))


async def _true_after(work: Coroutine[object, object, object]) -> bool:
    await work
    return True


async def _unless(stop: asyncio.Event, work: Coroutine[object, object, T]) -> T | None:
    """Run a coroutine; None if `stop` was set first and the work was given up."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopped.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
