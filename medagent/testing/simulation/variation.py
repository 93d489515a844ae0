"""Other configurations for an agent that runs: what an administrator may change, one thing after the other."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from medagent.config.model import AgentConfig, BacklogConfig, BatchConfig, ChannelConfig, RetryConfig

PORTS = range(1, 6)
LEVEL = "level"
"""A parameter of no meaning. It can be changed on open connections by an even number only."""
BACKLOGS = (
    BacklogConfig(),
    BacklogConfig(max_messages=6, full_behavior="pause"),
    BacklogConfig(max_messages=6),
    BacklogConfig(max_age_secs=20, full_behavior="pause"),
)
RETRIES = (
    RetryConfig(),
    RetryConfig(base_delay_ms=50, max_delay_ms=500),
    RetryConfig(max_attempts=3),
    RetryConfig(auto=False),
    RetryConfig(guaranteed=False),
)


def first_config(random: Random, agent_id: str, names: tuple[str, ...]) -> AgentConfig:
    """What an agent with these channels begins with, and ends with."""
    return AgentConfig(
        agent_id,
        "Simulated",
        batch=_batch(random),
        queue_strategy=_strategy(random),
        max_in_flight=_window(random),
        response_timeout_ms=_timeout(random),
        channels=tuple(_channel(name, port) for port, name in enumerate(names, start=PORTS.start)),
    )


def vary(config: AgentConfig, full: AgentConfig, random: Random) -> AgentConfig:
    """With some changes; `full` has all channels that there may be."""
    for _ in range(random.choice((1, 1, 2, 4))):
        if random.random() < 0.6:
            config = _vary_channel(config, random.choice(full.channels), random)
        else:
            config = _vary_settings(config, random)
    return config


def _vary_settings(config: AgentConfig, random: Random) -> AgentConfig:
    match random.randrange(7):
        case 0:
            return replace(config, batch=_batch(random))
        case 1:
            return replace(config, queue_strategy=_strategy(random))
        case 2:
            return replace(config, max_in_flight=_window(random))
        case 3:
            return replace(config, response_timeout_ms=_timeout(random))
        case 4:
            return replace(config, backlog=random.choice(BACKLOGS))
        case 5:
            return replace(config, retry=random.choice(RETRIES))
        case _:
            return replace(config, status="active" if config.status == "off" else "off")


def _vary_channel(config: AgentConfig, full: ChannelConfig, random: Random) -> AgentConfig:
    """Another place, state or parameter for one channel. It may take another one's port, which then gets its own."""
    present = next((each for each in config.channels if each.name == full.name), None)
    others = tuple(each for each in config.channels if each.name != full.name)
    if present is None:
        return replace(config, channels=(*others, _at(full, min(set(PORTS) - {each.port for each in others}))))
    match random.randrange(4):
        case 0:
            return replace(config, channels=others)
        case 1:
            changed = replace(present, enabled=not present.enabled)
        case 2:
            changed = replace(present, parameters={LEVEL: random.randrange(4)})
        case _:
            changed = _at(present, random.choice(PORTS))
            others = tuple(_at(each, present.port) if each.port == changed.port else each for each in others)
    return replace(config, channels=(*others, changed))


def _channel(name: str, port: int) -> ChannelConfig:
    return ChannelConfig(name, "sim", "127.0.0.1", port, f"sim://127.0.0.1:{port}", {LEVEL: 0})


def _at(channel: ChannelConfig, port: int) -> ChannelConfig:
    return replace(channel, port=port, address=f"sim://127.0.0.1:{port}")


def _batch(random: Random) -> BatchConfig:
    return BatchConfig(
        max_batch_size=random.choice((1, 3, 10, 100)),
        flush_interval_ms=random.choice((5, 50, 100, 500)),
        adaptive=random.random() < 0.6,
    )


def _strategy(random: Random) -> str:
    return random.choice(("batched", "batched", "immediate"))


def _window(random: Random) -> int:
    return random.choice((1, 2, 5, 50, 1000))


def _timeout(random: Random) -> int:
    return random.choice((2_000, 10_000, 30_000))
