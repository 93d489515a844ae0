"""The built-in plugin that serves the server's requests: pushes, pings, reloads, logs, and the refusal of upgrades."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from medagent import hookimpl
from medagent.outbound.push import OFF
from medagent.requests.logs import answer_logs
from medagent.requests.ping import CONTENT_TYPE, PingFailed, Pings
from medagent.uplink.answers import agent_error, transmit_failed, transmit_response, with_callback
from medagent.uplink.base import ServerRequest

if TYPE_CHECKING:
    from medagent.agent import Agent
    from medagent.pipeline import Pipeline

log = logging.getLogger(__name__)

NO_UPGRADE = (
    "medagent is upgraded on its machine and not by the server: install the new version there as the old one was installed, "
    "and restart the service"
)

_pings: WeakKeyDictionary[Agent, Pings] = WeakKeyDictionary()


@hookimpl
def medagent_handle_frame(agent: Agent, frame: ServerRequest) -> Awaitable[bool] | bool | None:
    pipeline = agent.pipeline
    if pipeline is None:
        return None
    match frame.type:
        case "agent:transmit:request":
            if agent.config is not None and agent.config.status == "off":
                log.warning("a push or ping is refused: %s", OFF)
                pipeline.reply(agent_error(frame.callback, OFF))
            elif frame.fields.get("contentType") == CONTENT_TYPE:
                return _ping(_pings.setdefault(agent, Pings()), pipeline, frame)
            else:
                pipeline.outbound.push(frame)
        case "agent:reloadconfig:request":
            return _reload(agent, pipeline, frame)
        case "agent:logs:request":
            pipeline.reply(answer_logs(frame))
        case "agent:upgrade:request":
            log.warning("the server asks for an upgrade; %s", NO_UPGRADE)
            pipeline.reply(agent_error(frame.callback, NO_UPGRADE))
        case _:
            return None
    return True


async def _ping(pings: Pings, pipeline: Pipeline, frame: ServerRequest) -> bool:
    remote = frame.fields.get("remote")
    try:
        output = await pings.ping(remote, frame.fields.get("body"))
    except PingFailed as error:
        log.warning("a ping failed: %s", error)
        pipeline.reply(transmit_failed(frame.callback, remote, str(error)))
    else:
        pipeline.reply(transmit_response(frame.callback, remote, 200, CONTENT_TYPE, output))
    return True


async def _reload(agent: Agent, pipeline: Pipeline, frame: ServerRequest) -> bool:
    problems = await agent.reload()
    # the pipeline of before may have been replaced
    answering = agent.pipeline or pipeline
    if problems:
        answering.reply(agent_error(frame.callback, "; ".join(problems)))
    else:
        answering.reply({"type": "agent:reloadconfig:response", "statusCode": 200, **with_callback(frame.callback)})
    return True
