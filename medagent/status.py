"""What `medagent status` shows: how the agent is, and every reason why it is not well."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from medagent import __version__
from medagent.guard import a_value
from medagent.plugins import Plugins
from medagent.printable import printable
from medagent.report import Report
from medagent.types import PUSH_CHANNEL

if TYPE_CHECKING:
    from medagent.agent import Agent
    from medagent.configuration import Configuration

MAX_REASON = 400
"""Characters of what a plugin says about itself."""


def _left_behind(agent: Agent, queue: Report) -> list[str]:
    """Messages of channels that the Agent no longer has."""
    if agent.config is None:
        return []
    names = {channel.name for channel in agent.config.channels} | {PUSH_CHANNEL}
    return [
        f"{each['depth']} message(s) of channel {name}, which the Agent does not have, wait in the queue"
        for name, each in queue["channels"].items()
        if name not in names and each["depth"]
    ]


def _about(configuration: Configuration) -> list[str]:
    reasons = [f"the new configuration is not in force: {reason}" for reason in configuration.refused]
    if configuration.saved_at is not None:
        reasons.append(f"the configuration kept since {configuration.since} is used")
    return reasons


# as the plugin gives it, looked at here
def _unwell(health: Callable[[], Any]) -> list[str]:
    """What a plugin says is not well. Raises whatever it does, and `ValueError` or `TypeError` for what is no list of it."""
    return [printable(f"{what}: {why}", MAX_REASON) for what, well, why in a_value(health()) or () if not well]


def plugin_figures(plugins: Plugins) -> dict[str, float]:
    """What plugins count."""
    extra: dict[str, float] = {}
    plugins.call_each("medagent_metrics", registry=extra)
    # JSON has neither NaN nor infinity, and nobody reads longer integers
    limit = sys.float_info.max
    return {
        name: value
        for name, value in extra.items()
        if isinstance(name, str) and isinstance(value, int | float) and -limit < value < limit
    }


def status_report(agent: Agent, queue: Report, of_queue: Sequence[str]) -> Report:
    """The state of a running agent as plain JSON; `state` is `ok`, or `degraded` with the `reasons`.

    `of_queue`: why the queue is not well.
    """
    configuration = agent.configuration
    problems = configuration.faults if configuration is not None else []
    reasons = [reason for reason in (agent.waiting_for, agent.not_configured) if reason]
    reasons += [f"plugin {info.name}: {info.error}" for info in agent.plugins.infos if info.error]
    reasons += [f"queue: {reason}" for reason in of_queue]
    reasons += [f"configuration: {problem}" for problem in problems]
    if configuration is not None:
        reasons += _about(configuration)
    told: set[str] = set()
    """Things of plugins that a reason has been given for."""
    report: Report = {
        "version": __version__,
        "pid": os.getpid(),
        "uptime_seconds": round(agent.uptime, 1),
        "state_dir": str(agent.bootstrap.state_dir),
        "server": agent.bootstrap.base_url,
        "problems": problems,
        "plugin_faults": agent.plugins.guards.report(),
        "channels": [],
    }
    if agent.config is not None:
        report["agent"] = {"id": agent.config.agent_id, "name": agent.config.name, "status": agent.config.status}
    if agent.pipeline is not None:
        if (uplink := agent.pipeline.uplink) is not None:
            status = uplink.status
            report["uplink"] = {"state": status.state, "detail": status.detail, "reconnects": status.reconnects}
            if status.state != "connected":
                reasons.append(f"uplink {status.state}: {status.detail}")
        if fault := agent.pipeline.strategy_fault:
            reasons.append(f"the queue strategy {agent.pipeline.config.queue_strategy} is replaced by batched: {fault}")
            told.add(f"queue strategy {agent.pipeline.config.queue_strategy}")
        if fault := agent.pipeline.storage_fault:
            reasons.append(f"the queue refuses to commit: {fault}")
        if full := agent.pipeline.backlog.reason:
            reasons.append(f"the queue is full: {full}; {agent.pipeline.backlog.consequence}")
        reasons += [f"channel {name}: {reason}" for name, reason in agent.pipeline.failed_channels.items()]
        told |= {f"channel {name}" for name in agent.pipeline.failed_channels}
        reasons += [
            f"channel {name}: the server's Agent has no such channel; its messages wait"
            for name in agent.pipeline.dispatcher.held
        ]
        for channel in agent.pipeline.supervisor.channels:
            report["channels"].append(
                {
                    "name": channel.config.name,
                    "state": channel.state,
                    "reason": channel.reason,
                    "address": channel.address or channel.config.address,
                    "connections": channel.connections,
                    "faults": channel.faults,
                    "notices": channel.notices,
                }
            )
            if channel.state not in ("listening", "off"):
                reasons.append(f"channel {channel.config.name} {channel.state}: {channel.reason}".rstrip(": "))
                told.add(f"channel {channel.config.name}")
    reasons += _left_behind(agent, queue)
    for guard, health in agent.plugins.implementations("medagent_health", agent=agent):
        reasons += guard.call("", _unwell, health, otherwise=[])
    reasons += agent.plugins.guards.reasons(told)
    return report | {"state": "degraded" if reasons else "ok", "reasons": reasons, "queue": queue}
