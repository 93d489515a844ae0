"""From the sources to the typed configuration, with every plugin's word: the same road for `run` and `check`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from medagent.config.build import build
from medagent.config.model import AgentConfig
from medagent.config.problems import Problem, Severity
from medagent.errors import BrokenPromise, ConfigError, NotReady, PluginTimeout
from medagent.fhir.source import Source
from medagent.guard import a_value
from medagent.plugins import Plugins
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.types import InboundMessage

if TYPE_CHECKING:
    from medagent.config.bootstrap import Bootstrap


VALIDATE_SECONDS = 10.0
"""What a plugin may take to look at a configuration."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and what it was made of."""

    config: AgentConfig
    problems: list[Problem]
    source: Source

    @property
    def errors(self) -> list[Problem]:
        """What is wrong with it, notes left out."""
        return [problem for problem in self.problems if problem.severity is Severity.ERROR]

    @property
    def lacking(self) -> frozenset[str]:
        """Channels that cannot run as they are configured: their names, or where they stand in the Agent."""
        barred = (channel.name for channel in self.config.channels if channel.enabled and channel.barred)
        return frozenset({*(problem.channel for problem in self.errors), *barred} - {""})

    @property
    def fatal(self) -> bool:
        """No agent works by it."""
        return any(problem.fatal for problem in self.problems)

    def refusal(self, lacking: frozenset[str] = frozenset()) -> list[str]:
        """All faults, if it is not to take the place of a configuration in which only channels `lacking` could not run."""
        if self.fatal or self.lacking - lacking or (self.config.strict_validation and self.errors):
            return [problem.fault for problem in self.errors if not problem.consequence]
        return []


async def load_config(bootstrap: Bootstrap, plugins: Plugins, client: object) -> Loaded:
    """Read the Agent and build its configuration. Raises `NotReady`, `AuthenticationFailed` or `ConfigError`."""
    source: Source | None = await plugins.load("medagent_load_agent", Source, bootstrap=bootstrap, client=client)
    if source is None:
        raise ConfigError("no plugin could load an Agent resource")
    # validation takes its time, which must not hold up the loop
    config, problems = await asyncio.to_thread(configure, source, plugins, bind_any=bootstrap.bind_any, local=True)
    if config is None:
        # a file is the operator's to mend; what a server holds may be mended there while this agent waits
        kind = ConfigError if bootstrap.agent_files else NotReady
        raise kind(f"{source.origin}: " + "; ".join(str(problem) for problem in problems))
    return Loaded(config, problems, source)


def configure(source: Source, plugins: Plugins, *, bind_any: bool, local: bool) -> tuple[AgentConfig | None, list[Problem]]:
    """Build the configuration; problems of the resource come first, then those that plugins see."""
    config, problems = build(source, plugins.registry, schemes=plugins.schemes, bind_any=bind_any, local=local)
    if config is None:
        return None, problems
    config, strategy_problems = _with_known_strategy(config, plugins)
    problems += strategy_problems
    if config.strict_plugins:
        problems += [
            Problem("Agent.setting strictPlugins", f"plugin {info.name} cannot be loaded: {info.error}", fatal=True)
            for info in plugins.left_out
        ]
    for guard, validate in plugins.implementations("medagent_validate_config", config=config):
        seconds = None if guard.plugin in plugins.guards.built_in else VALIDATE_SECONDS
        problems += guard.call("", _problems, partial(_in_thread, validate, seconds), otherwise=())
    return config, problems


# the result is the plugin's
def _in_thread(validate: Callable[[], Any], seconds: float | None) -> Any:
    """What it returns; it has a thread of its own, since nothing else ends the wait for it. Raises `PluginTimeout` too."""
    if seconds is None:
        return validate()
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(validate())
        except BaseException as error:  # noqa: BLE001  which is raised below
            result.set_exception(error)

    threading.Thread(target=run, name="validation by a plugin", daemon=True).start()
    if not wait((result,), seconds).done:
        raise PluginTimeout(f"it took more than {seconds:g} s")
    return result.result()


# what a plugin's function gives is looked at here
def _problems(validate: Callable[[], Any]) -> Sequence[Problem]:
    more = a_value(validate()) or ()
    if not (isinstance(more, Sequence) and all(isinstance(problem, Problem) for problem in more)):
        raise BrokenPromise("it gives no list of problems")
    return more


def _with_known_strategy(config: AgentConfig, plugins: Plugins) -> tuple[AgentConfig, list[Problem]]:
    """Ask the plugins for the strategy; an unknown one is replaced by that which `batchEnabled` chooses."""

    async def commit(_messages: Sequence[InboundMessage]) -> None: ...

    context = StrategyContext(config.batch, commit, lambda coroutine, _name: coroutine.close(), config.settings)
    if plugins.make("medagent_make_queue_strategy", QueueStrategy, name=config.queue_strategy, context=context) is not None:
        return config, []
    fallback = "batched" if config.batch.enabled else "immediate"
    problem = Problem(
        "Agent.setting queueStrategy", f"no installed plugin offers the strategy {config.queue_strategy!r}", repr(fallback)
    )
    return replace(config, queue_strategy=fallback), [problem]
