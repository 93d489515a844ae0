"""Reading the recordings."""

from __future__ import annotations

import pytest

from medagent.testing.shared import transcripts
from medagent.testing.transcripts import TO_AGENT, TO_SERVER, load, names


def test_an_unknown_recording_is_an_error() -> None:
    with pytest.raises(LookupError, match="0 recordings begin with zz-"):
        load("zz")


@pytest.mark.skipif(transcripts() is None, reason="the recordings are not beside this checkout")
def test_a_recording_is_read_as_lines() -> None:
    lines = [line for line in load("32") if line.channel == "ws" and not line.event]
    assert {line.direction for line in lines} == {TO_SERVER, TO_AGENT}
    assert {line.connection for line in lines} == {"A", "B"}
    frame = lines[0].frame
    assert isinstance(frame, dict)
    assert frame["type"] == "agent:connect:request"
    assert "32-raw-two-connections-same-agent" in names()


@pytest.mark.skipif(transcripts() is None, reason="the recordings are not beside this checkout")
def test_a_prefix_ends_at_the_hyphen() -> None:
    assert load("12") != load("12b")
