"""`agent:logs:request`: the newest lines of the agent's log."""

from __future__ import annotations

from medagent.config.wording import show
from medagent.logs import RECENT_LINES, recent_lines
from medagent.uplink.answers import Frame, agent_error, with_callback
from medagent.uplink.base import ServerRequest

DEFAULT_LIMIT = 20


def answer_logs(request: ServerRequest) -> Frame:
    """The answer: entries of `level`, `msg` and `timestamp`, the newest first."""
    limit = request.fields.get("limit", DEFAULT_LIMIT)
    if isinstance(limit, float) and limit.is_integer():  # JavaScript knows no other numbers
        limit = int(limit)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= RECENT_LINES:
        return agent_error(request.callback, f"the limit must be a whole number from 1 to {RECENT_LINES}, found {show(limit)}")
    lines = recent_lines.newest(limit)
    return {"type": "agent:logs:response", "statusCode": 200, "logs": lines, **with_callback(request.callback)}
