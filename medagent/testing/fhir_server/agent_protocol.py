"""The server's side of the agent protocol: what each frame from an agent leads to. No I/O.

The checks, their order and their words are those of a Medplum server 5.0.10.
"""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Awaitable, Callable

from medagent.tasks import Tasks
from medagent.testing.bots import HL7, Bot, BotRequest, BotResult, NoAnswer, Reply
from medagent.testing.fhir_server import outcomes
from medagent.testing.fhir_server.faults import Faults
from medagent.testing.fhir_server.hub import Connection, Hub
from medagent.testing.fhir_server.journal import TO_SERVER, Journal
from medagent.testing.fhir_server.jsontext import JsonObject, decode, encode
from medagent.testing.fhir_server.store import Store
from medagent.testing.fhir_server.tokens import Tokens

_ANSWERS = frozenset(
    {
        "agent:transmit:response",
        "agent:reloadconfig:response",
        "agent:logs:response",
        "agent:upgrade:response",
        "agent:error",
    }
)


class AgentProtocol:
    """Handles the frames of all connections; state of one connection is in its `Connection`."""

    def __init__(
        self, *, hub: Hub, tokens: Tokens, store: Store, journal: Journal, faults: Faults, tasks: Tasks, bot: Bot, version: str
    ) -> None:
        self.bot = bot
        self.on_transmit: Callable[[JsonObject, JsonObject], None] | None = None
        self._hub = hub
        self._tokens = tokens
        self._store = store
        self._journal = journal
        self._faults = faults
        self._tasks = tasks
        self._version = version

    def receive(self, connection: Connection, text: str) -> None:
        """One WebSocket message. Answers go to the same connection, at once or when the bot has ended."""
        try:
            frame = decode(text)
        except ValueError as error:
            self._journal.exchanged(TO_SERVER, {"text": text})
            _error(connection, str(error))
            return
        self._journal.exchanged(TO_SERVER, frame if isinstance(frame, dict) else {"text": text})
        if self._faults.mute:
            return
        if frame is None:
            _error(connection, "Cannot read properties of null (reading 'type')")
            return
        self._dispatch(connection, frame if isinstance(frame, dict) else {})

    def _dispatch(self, connection: Connection, frame: JsonObject) -> None:
        kind = frame.get("type", "undefined")
        if kind in ("agent:transmit:request", "transmit"):
            self._transmit(connection, frame)
        elif kind in ("agent:connect:request", "connect"):
            self._connect(connection, frame)
        elif kind == "agent:heartbeat:request":
            connection.send({"type": "agent:heartbeat:response", "version": self._version})
        elif kind == "agent:heartbeat:response":
            self._hub.heartbeat_answered(connection, str(frame.get("version", "unknown")))
        elif kind in _ANSWERS:
            self._hub.answered(frame)
        else:
            _error(connection, f"Unknown message type: {kind}")

    def _connect(self, connection: Connection, frame: JsonObject) -> None:
        token, agent_id = frame.get("accessToken"), frame.get("agentId")
        if not token:
            _error(connection, "Missing access token")
        elif not agent_id:
            _error(connection, "Missing agent ID")
        else:
            connection.agent_id = str(agent_id)
            if not self._tokens.valid(token):
                self._journal.refused_tokens += 1
                _error(connection, "Invalid access token")
            elif self._store.get("Agent", connection.agent_id) is None:
                _error(connection, "Not found")
            else:
                self._hub.connect(connection)
                self._journal.connects += 1
                if not self._faults.swallow_connect_response:
                    connection.send({"type": "agent:connect:response"})
                self._journal.changed()

    def _transmit(self, connection: Connection, frame: JsonObject) -> None:
        self._journal.transmitted(frame)
        refusal = self._refusal(connection, frame)
        if refusal is not None:
            _error(connection, refusal)
            return
        self._journal.execute(frame)
        request = BotRequest(
            agent_id=connection.agent_id,
            channel=frame["channel"],
            body=frame["body"],
            content_type=frame.get("contentType"),
            remote=frame.get("remote"),
            callback=frame.get("callback"),
        )
        try:
            result = self.bot(request)
        except Exception as error:  # noqa: BLE001  whatever a bot raises is answered, as the real server does
            result = _failure(error)
        if inspect.isawaitable(result) or self._faults.answer_delay:
            self._tasks.spawn(self._answer_later(connection, frame, request, result), "bot")
        else:
            self._answer(connection, frame, request, result)

    def _refusal(self, connection: Connection, frame: JsonObject) -> str | None:
        if not connection.agent_id:
            return "Not connected"
        for name, field in (("access token", "accessToken"), ("channel", "channel"), ("body", "body")):
            if not frame.get(field):
                return f"Missing {name}"
        if not self._tokens.valid(frame["accessToken"]):
            self._journal.refused_tokens += 1
            return "Invalid access token"
        agent = self._store.get("Agent", connection.agent_id)
        if agent is None:
            return "Not found"
        if not any(channel.get("name") == frame["channel"] for channel in agent.get("channel", [])):
            return "Channel not found"
        return _content_refusal(frame.get("contentType"), str(frame["body"]))

    async def _answer_later(
        self, connection: Connection, frame: JsonObject, request: BotRequest, result: BotResult | Awaitable[BotResult]
    ) -> None:
        try:
            ended = await result if inspect.isawaitable(result) else result
        except Exception as error:  # noqa: BLE001  as in _transmit
            ended = _failure(error)
        if self._faults.answer_delay:
            await asyncio.sleep(self._faults.answer_delay)
        self._answer(connection, frame, request, ended)

    def _answer(self, connection: Connection, frame: JsonObject, request: BotRequest, result: BotResult) -> None:
        if isinstance(result, NoAnswer) or connection.closed:
            return
        if not isinstance(result, Reply):
            result = Reply(200, result or "Bot execution logs:\n" + "\n".join(request.log))
        response: JsonObject = {"type": "agent:transmit:response"}
        response |= {name: frame[name] for name in ("channel", "remote") if name in frame}
        content_type = result.content_type or request.content_type
        if content_type is not None:
            response["contentType"] = content_type
        response |= {"statusCode": result.status_code, "body": result.body}
        if self._faults.unknown_callback:
            response["callback"] = f"Agent/{connection.agent_id}-{uuid.uuid4()}"
        elif "callback" in frame:
            response["callback"] = frame["callback"]
        for _ in range(2 if self._faults.answer_twice else 1):
            connection.send(response)
        self._journal.response_count += 1
        if self.on_transmit is not None:
            self.on_transmit(frame, response)
        self._journal.changed()


def _error(connection: Connection, text: str) -> None:
    connection.send({"type": "agent:error", "body": text})


def _content_refusal(content_type: object, body: str) -> str | None:
    if content_type == HL7 and not body.startswith("MSH"):
        return "Invalid HL7 message"
    if content_type == "application/json":
        try:
            decode(body)
        except ValueError as error:
            return str(error)
    return None


def _failure(error: Exception) -> Reply:
    return Reply(400, encode(outcomes.bad_request(str(error))), "application/json")
