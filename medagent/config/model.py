"""The typed configuration: frozen values, valid by construction, the same for every source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
class RetryConfig:
    """What becomes of messages that failed for a passing reason; docs/batching.md has the classes of failure."""

    auto: bool = True
    """Agent.setting `channelAutoRetry`: try again; false ends a message at its first failure."""
    guaranteed: bool = True
    """Agent.setting `channelGuaranteedDelivery`: where nobody knows whether the server has the message, send it again without
    end, whatever the other settings say; false has such failures count like any other."""
    base_delay_ms: int = 1000
    """Agent.setting `channelAutoRetryBaseDelayMs`: before the second attempt, milliseconds."""
    max_delay_ms: int = 60_000
    """Agent.setting `channelAutoRetryMaxDelayMs`: longest delay, milliseconds; not below `base_delay_ms`."""
    max_attempts: int = 0
    """Agent.setting `channelAutoRetryMaxAttempts`: failures that end a message; 0 for no end."""
    backoff_multiplier: float = 2.0
    """Agent.setting `channelAutoRetryBackoffMultiplier`: each delay is the one before times this, at least 1."""

    def in_mode(self, mode: str) -> RetryConfig:
        """With `mode`, the choice of the address parameter `retryMode`: none, normal or guaranteed; "" for no choice."""
        if not mode:
            return self
        return replace(self, auto=mode != "none", guaranteed=mode == "guaranteed")

    def delay(self, failures: int) -> float:
        """Seconds to wait after failure number `failures`, from 1."""
        longest = self.max_delay_ms / 1000
        if not self.base_delay_ms:
            return 0.0
        try:
            return min(self.base_delay_ms / 1000 * self.backoff_multiplier ** (failures - 1), longest)
        except OverflowError:
            return longest

    @property
    def endless(self) -> bool:
        """No number of failures ends a message."""
        return self.auto and not self.max_attempts

    def ends(self, failures: int) -> bool:
        """Whether a message has ended with failure number `failures`."""
        return not self.auto or 0 < self.max_attempts <= failures


@dataclass(frozen=True, slots=True)
class BacklogConfig:
    """How much the queue may hold; 0 is no limit."""

    max_messages: int = 0
    """Agent.setting `queueMaxMessages`: live messages."""
    max_mb: int = 0
    """Agent.setting `queueMaxMb`: bodies of the live messages, MiB."""
    max_age_secs: int = 0
    """Agent.setting `queueMaxAgeSecs`: age of the oldest live message, seconds."""
    full_behavior: str = "refuse"
    """Agent.setting `queueFullBehavior`: `refuse` new messages, or `pause` the channels' reading."""

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self.max_messages or self.max_mb or self.max_age_secs)


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """One channel: an Agent.channel and the Endpoint it names."""

    name: str
    """Agent.channel.name, unique in the Agent."""
    scheme: str
    """Of the Endpoint's address, in lower case: `mllp`."""
    host: str
    """Of the address; a plugin listens there unless `ChannelContext.bind_any` says otherwise."""
    port: int
    """Of the address; 0 for one that the system chooses."""
    address: str
    """Endpoint.address as spelled."""
    parameters: Mapping[str, Value] = field(default_factory=lambda: _EMPTY)
    """Typed values of the address's query parameters, defaults filled in, by name."""
    enabled: bool = True
    """False when Endpoint.status is `off`."""
    barred: str = ""
    """Why it does not listen although it is enabled: a mistake that would let everybody in; "" if it may listen."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What an Agent resource asks for."""

    agent_id: str
    """Agent.id; "" in a file without one."""
    name: str
    """Agent.name."""
    status: str = "active"
    """Agent.status: `active`, `off` or `error`."""
    batch: BatchConfig = field(default_factory=BatchConfig)
    """How messages are gathered into commits."""
    queue_strategy: str = "batched"
    """Agent.setting `queueStrategy`; without it `batched` or `immediate`, by `batchEnabled`."""
    retry: RetryConfig = field(default_factory=RetryConfig)
    """What becomes of messages that failed, where a channel does not say otherwise (`retry_of`)."""
    backlog: BacklogConfig = field(default_factory=BacklogConfig)
    """How much the queue may hold."""
    max_in_flight: int = 1000
    """Unanswered messages a channel, 1-10,000."""
    response_timeout_ms: int = 60_000
    """After this a sent message is sent again under the same key, milliseconds."""
    max_frame_bytes: int = 1_048_576
    """Largest frame the server takes, bytes of the whole JSON text."""
    log_stats_freq_secs: int = -1
    """Seconds between statistics lines; -1 for none."""
    strict_validation: bool = False
    """Agent.setting `strictConfigValidation`: a reload that has any fault changes nothing."""
    strict_plugins: bool = False
    """Agent.setting `strictPlugins`: no agent works by this while a plugin cannot be loaded."""
    keep_alive: bool = False
    """Agent.setting `keepAlive`, for senders."""
    max_clients_per_remote: int = 5
    """Agent.setting `maxClientsPerRemote`, for senders."""
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    """How long ended messages are kept."""
    settings: Mapping[str, Value] = field(default_factory=lambda: _EMPTY)
    """Every known setting by its name, defaults filled in: where a plugin finds its own."""
    given: frozenset[str] = frozenset()
    """Names of those that the Agent gives."""
    channels: tuple[ChannelConfig, ...] = ()
    """In the order of the Agent; those that are off too."""

    @property
    def sends(self) -> bool:
        """Whether messages are sent to the server; else they stay in the queue."""
        return self.status != "off"

    def off_reason(self, channel: ChannelConfig) -> str:
        """Why `channel`, one of its own, is not to listen; "" if it is."""
        if self.status == "off":
            return "Agent.status is off"
        return "" if channel.enabled else "Endpoint.status is off"

    def retry_of(self, channel: str) -> RetryConfig:
        """What holds for the channel of the name `channel`: its own `retryMode`, else what the Agent says."""
        modes = (each.parameters.get("retryMode", "") for each in self.channels if each.name == channel)
        return self.retry.in_mode(str(next(modes, "")))
