"""The configuration that an agent works by: loaded at the start, and again whenever somebody asks.

What has been in force is kept in the state folder. If the server does not give the configuration soon, whatever the reason, the
agent starts by what was kept, and takes what the server has as soon as it gives it.
"""

from __future__ import annotations

import asyncio
import logging
import time

from medagent.config import snapshot
from medagent.config.bootstrap import Bootstrap
from medagent.config.model import AgentConfig
from medagent.config.problems import Problem, Severity
from medagent.configure import Loaded, configure
from medagent.errors import ConfigError, MedagentError, PluginError
from medagent.fhir import validation
from medagent.fhir.access import FhirAccess
from medagent.loading import RETRY_CAP, Loader
from medagent.pipeline import Pipeline
from medagent.plugins import Plugins
from medagent.plugins.info import strict_fault
from medagent.reload.apply import Reload
from medagent.reload.plan import make_plan
from medagent.tasks import Tasks

log = logging.getLogger(__name__)

PATIENCE = 1.5
"""Seconds that the server has before the agent starts by what was kept."""


class Configuration:
    """Of one agent."""

    def __init__(self, bootstrap: Bootstrap, plugins: Plugins, access: FhirAccess | None) -> None:
        self.config: AgentConfig | None = None
        """In force; None until it is loaded."""
        self.problems: list[Problem] = []
        """What is wrong with it."""
        self.saved_at: float | None = None
        """If it is what was kept: when that was saved, seconds since the epoch. None if it is what the server has."""
        self.missing = "starting"
        """Why what the server, or the file, has is not in force; "" once it is."""
        self.refused: list[str] = []
        """Why the last reload has changed nothing; empty if it is in force."""
        self.changes = ""
        """What the last reload that is in force has changed, in words."""
        self._lacking: frozenset[str] = frozenset()
        """Channels that cannot run as they are configured."""
        self._bootstrap = bootstrap
        self._plugins = plugins
        self._loader = Loader(bootstrap, plugins, access)
        self._failed = asyncio.Event()
        self._tasks = Tasks()
        self._turn = asyncio.Lock()

    async def load(self) -> AgentConfig:
        """The configuration to start with, however long that takes.

        Raises `ConfigError` for local files that cannot be used, and `PluginError` if it wants all plugins and one cannot be
        loaded.
        """
        loading: asyncio.Task[Loaded] = self._tasks.spawn(
            self._loader.until_loaded(self._not_loaded), "loading of the configuration"
        )
        failed = self._tasks.spawn(self._failed.wait(), "failure to load the configuration")
        await asyncio.wait((loading, failed), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        refusal = loading.result().refusal() if loading.done() else []
        kept = await self._kept() if refusal or not loading.done() else None
        if kept is None:
            if not loading.done():
                self._validated()  # so far; who knows when there is more
            loaded = await loading
            await self._keep(loaded)
        else:
            loading.cancel()
            loaded, self.saved_at = kept
            if refusal:
                self.missing = "the configuration of the server cannot be used as a whole"
                self._refuse(refusal)
            log.warning("the configuration kept since %s is used until the server gives one that can be used", self.since)
        if loaded.fatal:
            raise PluginError(strict_fault(self._plugins.left_out))
        self._use(loaded)
        self._validated()
        return loaded.config

    @property
    def since(self) -> str:
        """`saved_at` in words."""
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.saved_at))

    def _not_loaded(self, reason: str) -> None:
        self.missing = reason
        self._failed.set()

    async def _kept(self) -> tuple[Loaded, float] | None:
        """What was in force before, and when it was saved."""
        start = self._bootstrap
        if not start.base_url:
            return None
        found = await asyncio.to_thread(snapshot.load, start.state_dir, server=start.base_url, agent_id=start.agent_id)
        if found is None:
            return None
        config, problems = await asyncio.to_thread(configure, found.source, self._plugins, bind_any=start.bind_any, local=True)
        return (Loaded(config, problems, found.source), found.saved_at) if config is not None else None

    async def _keep(self, loaded: Loaded) -> None:
        start = self._bootstrap
        if not start.base_url or loaded.refusal():
            return
        try:
            await asyncio.to_thread(
                snapshot.save,
                start.state_dir,
                loaded.source,
                server=start.base_url,
                agent_id=start.agent_id,
                registry=self._plugins.registry,
            )
        except OSError as error:
            log.error("the configuration cannot be kept for a start without the server: %s", error.strerror)

    def _use(self, loaded: Loaded) -> None:
        known = set(self.problems)
        self.config, self.problems, self._lacking = loaded.config, loaded.problems, loaded.lacking
        for problem in self.problems:
            if problem in known:
                continue
            log.log(logging.ERROR if problem.severity is Severity.ERROR else logging.INFO, "configuration: %s", problem)
        log.info("configured as %s with %d channel(s)", loaded.config.name, len(loaded.config.channels))
        if self.saved_at is None:
            self.missing = ""

    async def follow(self, pipeline: Pipeline) -> None:
        """After a start by what was kept: bring into force what the server has, as soon as it gives something usable."""
        while self.saved_at is not None:
            try:
                loaded = await self._loader.until_loaded(self._not_loaded)
                async with self._turn:
                    if self.saved_at is None or not await self._apply(pipeline, loaded):
                        return
            except ConfigError as error:  # of local files
                self._not_loaded(str(error))
            finally:
                self._validated()
            await asyncio.sleep(RETRY_CAP)

    async def reload(self, pipeline: Pipeline) -> list[str]:
        """Load it again and bring it into force; returns all that keeps it from that, and then nothing has changed."""
        async with self._turn:
            try:
                loaded = await self._loader.once()
            except MedagentError as error:
                return self._refuse([f"the configuration cannot be loaded: {error}"])
            else:
                return await self._apply(pipeline, loaded)
            finally:
                self._validated()

    def _validated(self) -> None:
        """What validation holds is given back, without anybody having to wait for it."""
        self._tasks.spawn(asyncio.to_thread(validation.rest), "end of validation")

    async def _apply(self, pipeline: Pipeline, loaded: Loaded) -> list[str]:
        old, new = pipeline.config, loaded.config
        if new.agent_id != old.agent_id:
            return self._refuse([f"this is Agent/{old.agent_id}, and not Agent/{new.agent_id}: restart it to run as another"])
        if refusal := loaded.refusal(self._lacking):
            return self._refuse(refusal)
        plan = make_plan(old, new)
        # a strategy that has been replaced is tried again
        if (plan or pipeline.strategy_fault) and (problems := await Reload(pipeline, new, plan).apply()):
            return self._refuse(problems)
        self.refused, self.changes, self.saved_at = [], str(plan), None
        self._use(loaded)
        log.info("reloaded: %s", plan)
        await self._keep(loaded)
        return []

    def _refuse(self, reasons: list[str]) -> list[str]:
        for reason in reasons:
            if reason not in self.refused:
                log.error("the new configuration changes nothing: %s", reason)
        self.refused = reasons
        return reasons

    @property
    def faults(self) -> list[str]:
        """What of the configuration in force is not as it was written."""
        return [str(problem) for problem in self.problems if problem.severity is Severity.ERROR and not problem.passing]

    async def close(self) -> None:
        await self._tasks.cancel()
