"""What the retry settings mean for a failure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.config.model import AgentConfig, ChannelConfig, RetryConfig

RETRIES = st.builds(
    RetryConfig,
    base_delay_ms=st.integers(0, 2**31 - 1),
    max_delay_ms=st.integers(0, 2**31 - 1),
    backoff_multiplier=st.floats(1.0, 1e308),
)


@given(RETRIES, st.integers(1, 10**6))
def test_delays_grow_and_are_bounded(retry: RetryConfig, failures: int) -> None:
    assert 0 <= retry.delay(failures) <= retry.delay(failures + 1) <= retry.max_delay_ms / 1000
    assert retry.delay(1) == min(retry.base_delay_ms, retry.max_delay_ms) / 1000


def test_the_default_delays() -> None:
    assert [RetryConfig().delay(failures) for failures in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(
    ("retry", "last"),
    [
        (RetryConfig(), None),
        (RetryConfig(max_attempts=1), 1),
        (RetryConfig(max_attempts=5), 5),
        (RetryConfig(auto=False), 1),
        (RetryConfig(auto=False, max_attempts=5), 1),
    ],
)
def test_the_failure_that_ends_a_message(retry: RetryConfig, last: int | None) -> None:
    assert next((failures for failures in range(1, 100) if retry.ends(failures)), None) == last


@pytest.mark.parametrize("agent", [RetryConfig(max_attempts=4), RetryConfig(auto=False, guaranteed=False, max_attempts=4)])
@pytest.mark.parametrize(
    ("mode", "auto", "guaranteed"), [("none", False, False), ("normal", True, False), ("guaranteed", True, True)]
)
def test_a_channel_chooses_for_itself(agent: RetryConfig, mode: str, auto: bool, guaranteed: bool) -> None:
    channel = ChannelConfig("adt", "mllp", "127.0.0.1", 1, "", parameters={"retryMode": mode})
    other = ChannelConfig("oru", "mllp", "127.0.0.1", 2, "")
    config = AgentConfig("1", "agent", retry=agent, channels=(other, channel))
    assert config.retry_of("adt") == RetryConfig(auto, guaranteed, max_attempts=4)
    assert config.retry_of("oru") == config.retry_of("unknown") == agent
