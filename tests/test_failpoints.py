from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from medagent import failpoints
from medagent.errors import ConfigError


async def reach_three_times(value: str) -> int:
    """Exit code of a process that arms the value, and reaches `after_ack` once and `after_send` three times."""
    program = (
        "import os; from medagent.failpoints import arm, reach; arm(os.environ); reach('after_ack');"
        "[reach('after_send') for _ in range(3)]"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env={failpoints.VARIABLE: value})
    return await process.wait()


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", 0),
        ("after_ack", -signal.SIGKILL),
        ("after_send:3", -signal.SIGKILL),
        ("after_send:4", 0),
        ("after_commit", 0),
    ],
)
async def test_the_armed_point_ends_the_process_in_its_turn(value: str, code: int) -> None:
    assert await reach_three_times(value) == code


@pytest.mark.parametrize("value", ["nowhere", "after_send:often", ":3"])
def test_a_point_that_does_not_exist_is_an_error(value: str) -> None:
    with pytest.raises(ConfigError, match="MEDAGENT_FAILPOINT"):
        failpoints.arm({failpoints.VARIABLE: value})
