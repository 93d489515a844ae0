"""From a `Source`, raw JSON that nobody has checked, to an `AgentConfig` and a list of all problems."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from medagent.config.agent_settings import parse_settings
from medagent.config.channels import parse_channels
from medagent.config.endpoints import EndpointRules
from medagent.config.model import AgentConfig, BacklogConfig, BatchConfig, RetentionConfig, RetryConfig, Value
from medagent.config.problems import Problem, Severity
from medagent.config.settings import Registry
from medagent.config.wording import from_findings, show
from medagent.fhir.source import Source
from medagent.fhir.validation import AGENT, validate

T = TypeVar("T", bool, int, str)

STATUSES = ("active", "off", "error")
"""Medplum's codes; all but `off` run."""


def build(
    source: Source, registry: Registry, *, schemes: Collection[str], bind_any: bool = False, local: bool = True
) -> tuple[AgentConfig | None, list[Problem]]:
    """Make a configuration of what is sound, and list every problem, in the order of the resource.

    A faulty setting gives way to its default, a faulty channel is set aside. The configuration is None only if the source
    holds no Agent at all. `schemes` are those that some plugin can listen on; `local=False` keeps from asking this machine
    for its addresses (the resource is checked for another). Never raises, whatever the JSON.
    """
    agent = source.agent
    if not isinstance(agent, Mapping) or agent.get("resourceType") != "Agent":
        found = show(agent.get("resourceType")) if isinstance(agent, Mapping) else show(agent)
        return None, [Problem("Agent", f"an Agent is expected, found {found}")]
    settings = parse_settings(agent.get("setting"), registry)
    channels = parse_channels(source, EndpointRules(registry, schemes, bind_any, local))
    problems = _agent_problems(agent, settings.sound, channels.sound)
    faulty = {problem.where for problem in problems}
    agent_id, name, code = (
        value if isinstance(value := agent.get(element), str) and f"Agent.{element}" not in faulty else ""
        for element in ("id", "name", "status")
    )
    status = _status(code, problems)
    retry, retry_problems = _retry(settings.values)
    problems += settings.problems + retry_problems + channels.problems
    config = replace(
        _config(settings.values, agent_id, name),
        status=status,
        retry=retry,
        given=frozenset(settings.given),
        channels=tuple(channels.channels),
    )
    return config, list(dict.fromkeys(problems))  # two channels on one Endpoint find its problems twice


# decoded JSON that nobody has validated yet
def _agent_problems(
    agent: Mapping[str, Any], settings: list[Mapping[str, Any]], channels: list[Mapping[str, Any]]
) -> list[Problem]:
    """What fhir.resources finds in the Agent once the faulty settings and channels are set aside."""
    survivors = {**agent, "setting": settings or None, "channel": channels or None}
    return from_findings("Agent", validate(AGENT, survivors))


def _status(status: str, problems: list[Problem]) -> str:
    if not status:
        return "active"  # the validation has said what is wrong
    if status == "off":
        problems.append(Problem("Agent.status", "off: no channel listens", severity=Severity.NOTE))
    elif status != "active":
        unknown = f"unknown code {show(status)}; known are {', '.join(STATUSES)}"
        text = "the code error does not keep the agent from running" if status in STATUSES else unknown
        problems.append(Problem("Agent.status", text, "active", Severity.NOTE))
    return status


def _value(values: Mapping[str, Value], setting: str, otherwise: T) -> T:
    found = values.get(setting, otherwise)
    return found if isinstance(found, type(otherwise)) else otherwise


def _retry(values: Mapping[str, Value]) -> tuple[RetryConfig, list[Problem]]:
    """The retry settings of the Agent, and whether they contradict each other."""
    default, value = RetryConfig(), partial(_value, values)
    base, longest = "channelAutoRetryBaseDelayMs", "channelAutoRetryMaxDelayMs"
    retry = RetryConfig(
        auto=value("channelAutoRetry", default.auto),
        guaranteed=value("channelGuaranteedDelivery", default.guaranteed),
        base_delay_ms=value(base, default.base_delay_ms),
        max_delay_ms=value(longest, default.max_delay_ms),
        max_attempts=value("channelAutoRetryMaxAttempts", default.max_attempts),
        # JSON knows no difference between 2 and 2.0
        backoff_multiplier=float(values.get("channelAutoRetryBackoffMultiplier", default.backoff_multiplier)),
    )
    if retry.base_delay_ms <= retry.max_delay_ms:
        return retry, []
    text = f"{base} is {retry.base_delay_ms}; wanted is no more than {longest}, which is {retry.max_delay_ms}"
    problem = Problem(f"Agent.setting {base}", text, f"{retry.max_delay_ms} for both")
    return replace(retry, base_delay_ms=retry.max_delay_ms), [problem]


def _config(values: Mapping[str, Value], agent_id: str, name: str) -> AgentConfig:
    """The typed configuration of the settings."""
    default = AgentConfig(agent_id, name)
    value = partial(_value, values)
    batch = BatchConfig(
        enabled=value("batchEnabled", default.batch.enabled),
        max_batch_size=value("batchSize", default.batch.max_batch_size),
        flush_interval_ms=value("batchFlushMs", default.batch.flush_interval_ms),
        adaptive=value("batchAdaptive", default.batch.adaptive),
    )
    retention = RetentionConfig(
        days=value("queueRetentionDays", default.retention.days),
        errored_days=value("queueErroredRetentionDays", default.retention.errored_days),
        max_mb=value("queueRetentionMaxMb", default.retention.max_mb),
        sweep_interval_secs=value("queueSweepIntervalSecs", default.retention.sweep_interval_secs),
    )
    backlog = BacklogConfig(
        max_messages=value("queueMaxMessages", default.backlog.max_messages),
        max_mb=value("queueMaxMb", default.backlog.max_mb),
        max_age_secs=value("queueMaxAgeSecs", default.backlog.max_age_secs),
        full_behavior=value("queueFullBehavior", default.backlog.full_behavior),
    )
    return AgentConfig(
        agent_id=agent_id,
        name=name,
        batch=batch,
        retention=retention,
        queue_strategy=value("queueStrategy", "batched" if batch.enabled else "immediate"),
        backlog=backlog,
        max_in_flight=value("maxInFlight", default.max_in_flight),
        response_timeout_ms=value("responseTimeoutMs", default.response_timeout_ms),
        max_frame_bytes=value("maxFrameBytes", default.max_frame_bytes),
        log_stats_freq_secs=value("logStatsFreqSecs", default.log_stats_freq_secs),
        strict_validation=value("strictConfigValidation", default.strict_validation),
        strict_plugins=value("strictPlugins", default.strict_plugins),
        keep_alive=value("keepAlive", default.keep_alive),
        max_clients_per_remote=value("maxClientsPerRemote", default.max_clients_per_remote),
        settings=MappingProxyType(dict(values)),
    )
