"""The typed configuration: frozen values, valid by construction, the same for every source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Value = bool | int | float | str
"""What a setting or an address parameter can hold."""

_EMPTY: Mapping[str, Value] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How accepted messages are gathered into commits."""

    enabled: bool = True
    """Agent.setting `batchEnabled`."""
    max_batch_size: int = 100
    """Agent.setting `batchSize`: messages a commit, 1-10,000."""
    flush_interval_ms: int = 100
    """Agent.setting `batchFlushMs`: longest wait of a message for its commit, 1-60,000 milliseconds."""
    adaptive: bool = True
    """Agent.setting `batchAdaptive`: commit as soon as the writer is idle instead of waiting for the interval."""


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """How long ended messages are kept."""

    days: int = 7
    """Agent.setting `queueRetentionDays`."""
    errored_days: int = 90
    """Agent.setting `queueErroredRetentionDays`: the same for those that are `rejected` or `dead_letter`."""
    max_mb: int = 512
    """Agent.setting `queueRetentionMaxMb`: above it the oldest go earlier, MiB."""
    sweep_interval_secs: int = 3600
    """Agent.setting `queueSweepIntervalSecs`."""


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """One channel: an Agent.channel and the Endpoint it names."""

    name: str
    scheme: str
    """Of the Endpoint's address, in lower case: `mllp`."""
    host: str
    port: int
    address: str
    """Endpoint.address as spelled."""
    parameters: Mapping[str, Value] = field(default_factory=lambda: _EMPTY)
    """Typed values of the address's query parameters, defaults filled in, by name."""
    enabled: bool = True
    """False when Endpoint.status is `off`."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What an Agent resource asks for."""

    agent_id: str
    name: str
    status: str = "active"
    batch: BatchConfig = field(default_factory=BatchConfig)
    queue_strategy: str = "batched"
    """Agent.setting `queueStrategy`; without it `batched` or `immediate`, by `batchEnabled`."""
    max_in_flight: int = 1000
    """Unanswered messages a channel, 1-10,000."""
    response_timeout_ms: int = 60_000
    """After this a sent message is sent again under the same key, milliseconds."""
    max_frame_bytes: int = 1_048_576
    """Largest frame the server takes, bytes of the whole JSON text."""
    log_stats_freq_secs: int = -1
    """Seconds between statistics lines; -1 for none."""
    keep_alive: bool = False
    max_clients_per_remote: int = 5
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    settings: Mapping[str, Value] = field(default_factory=lambda: _EMPTY)
    """Every known setting by its name, defaults filled in: where a plugin finds its own."""
    channels: tuple[ChannelConfig, ...] = ()
