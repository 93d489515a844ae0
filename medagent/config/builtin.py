"""The Agent settings that the core declares: its own, and those of Medplum's agent, so that no existing Agent is "wrong"."""

from __future__ import annotations

from dataclasses import replace

from medagent.config.model import AgentConfig, BacklogConfig, BatchConfig
from medagent.config.settings import Registry, Setting

_BACKLOG = BacklogConfig()
_BATCH = BatchConfig()
_AGENT = AgentConfig(agent_id="", name="")

MAX_CLIENTS_WITH_KEEP_ALIVE = 1
"""The default of `maxClientsPerRemote` when `keepAlive` is true."""

RETRY = (
    Setting(
        "channelAutoRetry",
        bool,
        _AGENT.retry.auto,
        "Try again what failed for a passing reason; false ends such a message as `dead_letter` at once.",
    ),
    Setting(
        "channelGuaranteedDelivery",
        bool,
        _AGENT.retry.guaranteed,
        "Send again without end where nobody knows whether the server has a message; false has that count as a failure.",
    ),
    Setting(
        "channelAutoRetryBaseDelayMs",
        int,
        _AGENT.retry.base_delay_ms,
        "Delay after the first failure, milliseconds; no more than `channelAutoRetryMaxDelayMs`.",
        minimum=0,
    ),
    Setting(
        "channelAutoRetryMaxDelayMs",
        int,
        _AGENT.retry.max_delay_ms,
        "Longest delay before a message is tried again, milliseconds.",
        minimum=0,
    ),
    Setting(
        "channelAutoRetryMaxAttempts",
        int,
        _AGENT.retry.max_attempts,
        "Failures that end a message as `dead_letter`; 0 for no end.",
        minimum=0,
    ),
    Setting(
        "channelAutoRetryBackoffMultiplier",
        float,
        _AGENT.retry.backoff_multiplier,
        "Each delay is the one before times this.",
        minimum=1,
    ),
)
"""What becomes of a message that failed; a channel can choose otherwise by its `retryMode`."""

EFFECTIVE = (
    Setting("batchEnabled", bool, _BATCH.enabled, "Gather messages into commits; false commits each message by itself."),
    Setting("batchSize", int, _BATCH.max_batch_size, "Messages a commit.", minimum=1, maximum=10_000),
    Setting(
        "batchFlushMs",
        int,
        _BATCH.flush_interval_ms,
        "Longest wait of a message for its commit, milliseconds.",
        minimum=1,
        maximum=60_000,
    ),
    Setting(
        "batchAdaptive",
        bool,
        _BATCH.adaptive,
        "Commit as soon as the writer is idle; false waits until `batchSize` or `batchFlushMs` is reached.",
    ),
    Setting(
        "queueStrategy",
        str,
        None,
        "Name of the queue strategy, medagent's or a plugin's. Unset: `batched`, or `immediate` when `batchEnabled` is false.",
    ),
    Setting(
        "queueMaxMessages",
        int,
        _BACKLOG.max_messages,
        "Live messages that fill the queue; 0 for no limit.",
        minimum=0,
    ),
    Setting(
        "queueMaxMb",
        int,
        _BACKLOG.max_mb,
        "Live messages that fill the queue by the size of their bodies, MiB; 0 for no limit.",
        minimum=0,
    ),
    Setting(
        "queueMaxAgeSecs",
        int,
        _BACKLOG.max_age_secs,
        "Age of the oldest live message that fills the queue, seconds; 0 for no limit.",
        minimum=0,
    ),
    Setting(
        "queueFullBehavior",
        str,
        _BACKLOG.full_behavior,
        "While the queue is full: answer each new message with `CE` or `AE`, or read nothing more from the devices.",
        choices=("refuse", "pause"),
    ),
    Setting(
        "maxInFlight",
        int,
        _AGENT.max_in_flight,
        "Messages of a channel sent and not answered yet. 1 keeps the order of processing.",
        minimum=1,
        maximum=10_000,
    ),
    Setting(
        "responseTimeoutMs",
        int,
        _AGENT.response_timeout_ms,
        "A message without an answer for so long is sent again under the same key, milliseconds.",
        minimum=1000,
    ),
    Setting(
        "maxFrameBytes",
        int,
        _AGENT.max_frame_bytes,
        "Largest frame that the server takes, bytes of the whole JSON text; longer messages are refused. With the default "
        "about 1,044,480 bytes are left for a frame of a device.",
        minimum=1024,
    ),
    *RETRY,
    Setting(
        "logStatsFreqSecs",
        int,
        _AGENT.log_stats_freq_secs,
        "Seconds between statistics lines in the log; -1 for none.",
        minimum=-1,
    ),
    Setting(
        "strictConfigValidation",
        bool,
        _AGENT.strict_validation,
        "A reload with any fault changes nothing; false lets a faulty setting or parameter give way to its default.",
    ),
    Setting(
        "strictPlugins",
        bool,
        _AGENT.strict_plugins,
        "While a plugin cannot be loaded, the agent leaves with 78 at its start, and a reload to this changes nothing.",
    ),
    Setting(
        "queueRetentionDays",
        int,
        _AGENT.retention.days,
        "Days that ended messages are kept; a resend within them gets the stored answer.",
        minimum=1,
    ),
    Setting(
        "queueErroredRetentionDays",
        int,
        _AGENT.retention.errored_days,
        "Days that messages in the states `rejected` and `dead_letter` are kept, whatever the size.",
        minimum=1,
    ),
    Setting(
        "queueRetentionMaxMb",
        int,
        _AGENT.retention.max_mb,
        "Soft cap of the queue file, MiB: above it the oldest ended messages are deleted early. Live ones never are.",
        minimum=1,
    ),
    Setting(
        "queueSweepIntervalSecs",
        int,
        _AGENT.retention.sweep_interval_secs,
        "Seconds between two looks for messages that are kept long enough.",
        minimum=1,
    ),
    Setting("keepAlive", bool, _AGENT.keep_alive, "Keep outbound device connections open."),
    Setting(
        "maxClientsPerRemote",
        int,
        _AGENT.max_clients_per_remote,
        f"Outbound connections to one device; {MAX_CLIENTS_WITH_KEEP_ALIVE} by default when `keepAlive` is true.",
        minimum=1,
    ),
)

WITHOUT_EFFECT = (
    Setting("durableQueue", bool, True, "Queue on disk. medagent always does, so false changes nothing."),
    Setting("queueDbPath", str, None, "Path of the queue file. medagent keeps it in the folder that `--state-dir` names."),
)
"""Known, so never a fault, and noted as without effect when set. Names, types, defaults and bounds are those of Medplum's
agent (https://www.medplum.com/docs/agent), but for `durableQueue`."""


def register(registry: Registry) -> None:
    """Declare all of them."""
    for setting in EFFECTIVE:
        registry.add_setting(setting)
    for setting in WITHOUT_EFFECT:
        registry.add_setting(replace(setting, effective=False))
