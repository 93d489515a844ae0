"""The agent that `cuts.py` runs: `medagent` itself, but the uplink's time goes faster, and it may have a bug on purpose."""

from __future__ import annotations

import asyncio
import gc
import os
import time

import bugs

from medagent import hookimpl
from medagent.cli.main import main
from medagent.config.bootstrap import Bootstrap
from medagent.uplink import link, plugin
from medagent.uplink.base import UplinkContext
from medagent.uplink.connection import BatchConnection
from medagent.uplink.websocket import WebSocketUplink

SPEED = 40.0
"""Heartbeats, time limits and delays of the uplink are shorter by this factor: a dead link is found in about half a second."""
OPEN_TIMEOUT = 0.5
"""Seconds; a busy machine needs some."""


@hookimpl
def medagent_make_uplink(bootstrap: Bootstrap, context: UplinkContext) -> WebSocketUplink:
    assert context.tokens is not None
    return WebSocketUplink(
        bootstrap.base_url,
        context.agent_id,
        context.tokens,
        context,
        clock=lambda: time.monotonic() * SPEED,
        sleep=lambda seconds: asyncio.sleep(seconds / SPEED),
        tick=1 / SPEED,
        open_timeout=OPEN_TIMEOUT,
    )


@hookimpl
def medagent_metrics(registry: dict[str, float]) -> None:
    """What must not grow with the number of connections that were lost."""
    gc.collect()
    registry["tasks"] = len(asyncio.all_tasks())
    registry["server_connections"] = sum(isinstance(each, BatchConnection) for each in gc.get_objects())


if __name__ == "__main__":
    plugin.medagent_make_uplink = medagent_make_uplink
    plugin.medagent_metrics = medagent_metrics
    link.CLOSE_TIMEOUT /= SPEED
    bugs.plant(os.environ.get(bugs.VARIABLE, ""))
    main()
