"""The built-in plugin with the uplink to a Medplum server: one WebSocket."""

from __future__ import annotations

from medagent import hookimpl
from medagent.config.bootstrap import Bootstrap
from medagent.uplink.base import Uplink, UplinkContext
from medagent.uplink.websocket import WebSocketUplink


@hookimpl
def medagent_make_uplink(bootstrap: Bootstrap, context: UplinkContext) -> Uplink | None:
    if not bootstrap.base_url or context.tokens is None:
        return None
    return WebSocketUplink(bootstrap.base_url, context.agent_id, context.tokens, context)
