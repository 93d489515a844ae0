"""The uplink to a Medplum server: one WebSocket, connected again whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidProxyMessage, InvalidProxyStatus, InvalidStatus

from medagent import __version__
from medagent.errors import ConfigError, MedagentError, NotReady
from medagent.fhir import tls
from medagent.fhir.http import parse_retry_after
from medagent.fhir.proxy import Proxy
from medagent.tasks import Tasks
from medagent.uplink.backoff import Backoff
from medagent.uplink.base import TokenSource, Transmit, UplinkContext, UplinkStatus
from medagent.uplink.connection import BatchConnection, extensions
from medagent.uplink.frames import encode_frame
from medagent.uplink.link import CLOSE_TIMEOUT, Link
from medagent.uplink.replies import Replies
from medagent.uplink.session import Dead, Session

VERSION = f"medagent-{__version__}"
"""What the server's `$status` shows as the agent's version."""
STABLE_AFTER = 10.0
"""Seconds that a connection without an answer must have lasted, before the next loss starts from the shortest delay."""
AFTER_USE = 0.5
"""Least seconds before the next connection after one that gave answers."""
OPEN_TIMEOUT = 10.0
"""Seconds for TCP, TLS and the WebSocket upgrade together."""
MAX_FRAME_BYTES = 64 * 1024 * 1024
"""A longer message from the server ends the connection."""
WRITE_LIMIT_BYTES = 1024 * 1024
"""`transmit` takes no more while this much waits for the socket."""
LEAST_RENEWAL_PAUSE = 0.1
"""Seconds between renewals of the token, however short its lifetime is."""
TOKEN_BYTES = 4096
"""Assumed for the length of a token before there is one."""
ENVELOPE_BYTES = 1024
"""More than a transmit holds besides token and body: names, channel, remote, content type, callback."""

log = logging.getLogger(__name__)
_library_log = logging.getLogger("medagent.websockets")
_library_log.setLevel(logging.INFO)  # at DEBUG the library logs the frames, with tokens and patient data


class _Connect(connect):
    """Follows no redirect: whoever is at its end would be sent the access token."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class WebSocketUplink:
    """An `Uplink` to the agent WebSocket of a Medplum server."""

    def __init__(
        self,
        base_url: str,
        agent_id: str,
        tokens: TokenSource,
        context: UplinkContext,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        backoff: Backoff | None = None,
        tick: float = 1.0,
        open_timeout: float = OPEN_TIMEOUT,
    ) -> None:
        """`tick` is how often deadlines are looked at, seconds. Raises `ConfigError` if `base_url` is no HTTP address."""
        self._url = websocket_url(base_url)
        self._agent_id = agent_id
        self._where = f"to {self._url} as Agent/{agent_id}"
        self._tokens = tokens
        self._context = context
        self._clock = clock
        self._sleep = sleep
        self._backoff = backoff or Backoff()
        self._tick = tick
        self._open_timeout = open_timeout
        self._tasks = Tasks()
        self._link: Link | None = None
        self._replies = Replies()
        self._starved = False
        """Messages were not taken for want of a token."""
        self._status = UplinkStatus("off", "not started")
        self._connects = 0
        self._logged = ""
        """The reason that the log has for being away; "" while connected."""

    async def run(self) -> None:
        self._tasks.spawn(self._keep_token(), "uplink token")
        try:
            while True:
                self._set_status("connecting", self._logged or f"to {self._url}")
                delay = await self._connect_once()
                await self._sleep(max(delay, self._backoff.next()))
        finally:
            self._set_status("off", "stopped")
            await self._tasks.cancel()

    def transmit(self, messages: Sequence[Transmit]) -> int:
        if self._link is None or not self._link.connected:
            return 0
        token = self._tokens.current
        if token is None:
            self._starved = True
            return 0
        return self._link.transmit(messages, token)

    # as in `Uplink.reply`
    def reply(self, frame: dict[str, Any]) -> None:
        encoded = encode_frame(frame)
        self._give_replies()
        if self._link is not None and self._link.writable_now:
            self._link.write(encoded)
        else:
            self._replies.keep(encoded, self._clock())

    def reconnect(self, reason: str) -> None:
        if self._link is not None:
            self._link.end(Dead(reason, renew_token=True))

    @property
    def status(self) -> UplinkStatus:
        if self._status.state == "connected" and self._tokens.current is None:
            return replace(self._status, state="waiting", detail="there is no access token: one has been asked for")
        return self._status

    @property
    def overhead_bytes(self) -> int:
        token = self._tokens.current
        return ENVELOPE_BYTES + (len(token) if token is not None else TOKEN_BYTES)

    async def _connect_once(self) -> float:
        """One connection from its token to its end; returns the least delay before the next, seconds."""
        try:
            token = await self._tokens.get()
            connection = await self._open()
        except Exception as error:  # noqa: BLE001  whatever goes wrong with one attempt, the next one is due
            self._down(self._describe(error))
            return _retry_after(error) or 0.0
        link = Link(
            connection,
            Session(self._agent_id, VERSION),
            self._context,
            token=token,
            connected=self._up,
            writable=self._give_replies,
            clock=self._clock,
        )
        self._link = link
        try:
            dead = await link.serve(self._tick)
            if link.answered or (link.connected_at is not None and self._clock() - link.connected_at >= STABLE_AFTER):
                self._backoff.reset()
            if dead.renew_token:
                self._tokens.invalidate(link.token)
            self._down(dead.reason)
        except Exception as error:  # noqa: BLE001  nothing that goes wrong on one connection may be the last of them all
            self._down(f"the connection failed: {type(error).__name__}")
        finally:
            self._link = None
            if link.connected_at is not None:
                self._context.handler.disconnected()
            await link.close()
        return AFTER_USE if link.answered else 0.0

    async def _open(self) -> BatchConnection:
        route = self._context.route
        connection = await _Connect(
            self._url,
            create_connection=BatchConnection,
            compression=None,  # instead of the library's own offer
            extensions=extensions(),
            max_size=MAX_FRAME_BYTES,
            write_limit=WRITE_LIMIT_BYTES,
            open_timeout=self._open_timeout,
            close_timeout=CLOSE_TIMEOUT,
            ping_timeout=None,  # the session judges life by every frame; pings only keep proxies from closing
            user_agent_header=VERSION,
            ssl=route.tls,
            proxy=route.proxy.url if route.proxy is not None else None,
            logger=_library_log,
        )
        assert isinstance(connection, BatchConnection)  # noqa: S101  for the type checker
        return connection

    async def _keep_token(self) -> None:
        """Renew the token beside the connection, which does not need to be opened again for it."""
        while True:
            due = max(self._tokens.renew_in, LEAST_RENEWAL_PAUSE) if self._link is not None else self._tick
            await asyncio.sleep(min(due, self._tick))
            link = self._link
            if link is None or not link.connected:
                continue
            if self._tokens.renew_in <= 0 or self._tokens.current is None:
                try:
                    await self._tokens.get()
                except Exception as error:  # noqa: BLE001  the next attempt may succeed
                    self._without_token(link, self._describe(error))
            if self._tokens.current is not None:
                self._with_token(link)

    def _without_token(self, link: Link, reason: str) -> None:
        if link is self._link:
            if self._status.state == "connected":
                log.warning("there is no access token: %s; messages are kept, and sent when there is one", reason)
            self._set_status("waiting", f"there is no access token: {reason}")

    def _with_token(self, link: Link) -> None:
        if link is self._link and self._status.state != "connected":
            log.info("there is an access token again")
            self._set_status("connected", self._where)
        if self._starved:
            self._starved = False
            link.writable()

    def _up(self) -> None:
        self._connects += 1
        self._set_status("connected", self._where)
        log.info("WebSocket worker connected %s", self._where)
        self._logged = ""
        self._give_replies()
        self._context.handler.connected()

    def _give_replies(self) -> None:
        """Send what waits; the rest waits on while the server does not read, since the socket's buffer has no limit."""
        link = self._link
        while link is not None and link.writable_now and (frame := self._replies.take(self._clock())) is not None:
            link.write(frame)

    def _down(self, reason: str) -> None:
        self._set_status("waiting", reason)
        if reason != self._logged:
            log.warning("WebSocket worker error: %s; messages are kept, and sent when the connection is back", reason)
            self._logged = reason

    def _describe(self, error: Exception) -> str:
        return describe(error, self._context.route.proxy)

    def _set_status(self, state: str, detail: str) -> None:
        self._status = UplinkStatus(state, detail, reconnects=max(self._connects - 1, 0))


def _retry_after(error: Exception) -> float | None:
    """How long the server wants to be left alone, seconds."""
    if isinstance(error, NotReady):
        return error.retry_after
    if isinstance(error, InvalidStatus):
        return parse_retry_after(error.response.headers.get("Retry-After"), time.time())
    return None


def websocket_url(base_url: str) -> str:
    """The agent WebSocket of a server; it lies at the root, whatever path the base URL has.

    Raises `ConfigError` if `base_url` is no HTTP address.
    """
    try:
        parts = urlsplit(base_url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme)
    except ValueError:
        scheme = None
    if scheme is None or not parts.hostname:
        raise ConfigError("the base URL must begin with http:// or https:// and name a host; check --base-url")
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}/ws/agent"


def describe(error: Exception, proxy: Proxy | None = None) -> str:
    """Why a connection could not be made, without what an unknown exception's text may hold."""
    through = f" through the proxy {proxy}" if proxy is not None else ""
    if isinstance(error, MedagentError):
        return str(error)
    if fault := tls.fault_of(error):
        return fault
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        hint = ", a redirect, which is not followed: check --base-url" if 300 <= status < 400 else ""
        return f"the server answers the WebSocket upgrade with HTTP {status}{hint}"
    if isinstance(error, InvalidProxyStatus) and proxy is not None:
        return proxy.refusal(error.response.status_code)
    if isinstance(error, InvalidProxyMessage):
        return f"what answers at {proxy} is no HTTP proxy"
    if isinstance(error, TimeoutError):
        return f"the server does not answer in time{through}"
    if isinstance(error, OSError):
        return f"the server cannot be reached{through}: {error}"
    return f"the connection cannot be made{through}: {type(error).__name__}"
