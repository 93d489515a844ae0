"""What a seed stands for: the agent's configuration, its devices, and which faults come how often."""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random

from medagent.config.model import AgentConfig
from medagent.testing.simulation.variation import first_config
from medagent.types import AcceptanceRules, Duplicates

MODES = ("original", "enhanced", "aa")
AGENT_ID = "sim"


@dataclass(slots=True)
class Faults:
    """Probabilities, each per occasion; 0 for what this seed does without."""

    commit_fails: float = 0.0
    commit_in_doubt: float = 0.0
    """The flush fails, and what it should have flushed may be there after a crash."""
    read_fails: float = 0.0
    slow_disk: float = 0.0
    crash: float = 0.0
    """At any effect of the agent on the world, and between any two callbacks."""
    stop: float = 0.0
    """An orderly restart, per second."""
    clock_jump: float = 0.0
    """Per second."""
    connection_lost: float = 0.0
    """Server: before or after it has worked on a message."""
    silent_loss: float = 0.0
    """The server's connection is gone and nobody is told, per connection."""
    refused: float = 0.0
    """Server: a connection cannot be made, or the connect request is refused."""
    answer_lost: float = 0.0
    answer_twice: float = 0.0
    answer_late: float = 0.0
    rejected: float = 0.0
    """400."""
    overloaded: float = 0.0
    """429."""
    broken: float = 0.0
    """500."""
    server_error: float = 0.0
    """`agent:error` that names no message."""
    full: float = 0.0
    """The uplink's buffer is full after a write."""
    no_token: float = 0.0
    slow_device: float = 0.0
    device_hangs_up: float = 0.0
    vanished: float = 0.0
    """A device is never seen again, per message."""
    bind_fails: float = 0.0
    plugin: float = 0.0
    """The channel's plugin raises when it is to make the text that is forwarded."""
    reload: float = 0.0
    """The agent is to work by another configuration, per second."""
    filtered: float = 0.0
    """A transform keeps a message from the server, each time that it is to be sent."""


HIGHEST = Faults(
    commit_fails=0.1,
    commit_in_doubt=0.1,
    read_fails=0.2,
    slow_disk=0.1,
    crash=0.003,
    stop=0.02,
    clock_jump=0.05,
    connection_lost=0.04,
    silent_loss=0.1,
    refused=0.4,
    answer_lost=0.05,
    answer_twice=0.1,
    answer_late=0.05,
    rejected=0.1,
    overloaded=0.1,
    broken=0.1,
    server_error=0.03,
    full=0.2,
    no_token=0.2,
    slow_device=0.2,
    device_hangs_up=0.1,
    vanished=0.02,
    bind_fails=0.3,
    plugin=0.02,
    reload=0.3,
    filtered=0.1,
)


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device."""

    name: str
    channel: str
    messages: int
    at_once: int
    """Messages sent without waiting for the acknowledgment of the first."""
    pause: float
    """Longest time between two rounds, seconds."""
    patience: float
    """How long it waits for an acknowledgment before it sends again, seconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it."""

    seed: int
    seconds: float
    """Virtual time in which faults happen."""
    config: AgentConfig
    """With which the agent begins, and to which it comes back in the end."""
    modes: dict[str, str]
    """By channel."""
    rules: dict[str, AcceptanceRules]
    """By channel."""
    devices: tuple[DevicePlan, ...]
    faults: Faults


def make_plan(seed: int, hours: float) -> Plan:
    """The plan of a seed. Each fault is left out by half of the seeds: together they hide from each other what they cause."""
    random = Random(f"plan {seed}")  # noqa: S311  it must be the same each time
    seconds = hours * 3600
    modes = {f"ch{number}": random.choice(MODES) for number in range(random.randint(1, 3))}
    rules = {
        name: AcceptanceRules(
            duplicates=random.choice((Duplicates.IDEMPOTENT, Duplicates.IDEMPOTENT, Duplicates.REJECT)),
            numbered=random.random() < 0.3,
        )
        for name in modes
    }
    config = first_config(random, AGENT_ID, tuple(modes))
    devices = tuple(_device(random, f"{channel}d{number}", channel, seconds) for channel in modes for number in range(2))
    faults = Faults()
    for field in fields(Faults):
        if random.random() < 0.5:
            setattr(faults, field.name, getattr(HIGHEST, field.name) * random.random())
    return Plan(seed, seconds, config, modes, rules, devices, faults)


def _device(random: Random, name: str, channel: str, seconds: float) -> DevicePlan:
    at_once = random.choice((1, 1, 4, 20))
    pause = random.choice((0.5, 3.0, 15.0))
    rounds = min(seconds / (pause / 2 + 1), 15 + seconds / 60)
    return DevicePlan(
        name,
        channel,
        messages=max(3, int(rounds * (at_once + 1) / 2 * random.random())),
        at_once=at_once,
        pause=pause,
        patience=random.choice((1.0, 5.0, 20.0)),
    )
