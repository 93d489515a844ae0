"""A configuration and its problems as plain JSON: what `medagent check --format json` prints and the fixtures expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from medagent.config.model import AgentConfig, ChannelConfig
from medagent.config.problems import Problem


def describe(config: AgentConfig) -> dict[str, object]:
    """Every field by its name; `settings` as the values of all known settings."""
    described: dict[str, object] = {item.name: getattr(config, item.name) for item in fields(config)}
    return described | {
        "batch": asdict(config.batch),
        "retention": asdict(config.retention),
        "retry": asdict(config.retry),
        "backlog": asdict(config.backlog),
        "settings": dict(config.settings),
        "given": sorted(config.given),
        "channels": [_describe_channel(channel) for channel in config.channels],
    }


def _describe_channel(channel: ChannelConfig) -> dict[str, object]:
    described: dict[str, object] = {item.name: getattr(channel, item.name) for item in fields(channel)}
    return described | {"parameters": dict(channel.parameters)}


def describe_problems(problems: Sequence[Problem]) -> list[dict[str, str]]:
    """One object each: severity, where, message, used."""
    return [
        {"severity": item.severity.value, "where": item.where, "message": item.message, "used": item.used} for item in problems
    ]
