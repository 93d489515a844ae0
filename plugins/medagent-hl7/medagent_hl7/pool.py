"""Sending to devices over shared connections: a pool for each remote, with one message at a time on each connection.

One at a time, because a device that works message by message may answer nothing else, and because a connection that dies then
fails one message only. A connection on which a message failed is closed: what comes late on it can answer nothing else. So is
one, after the message on it, whose receiver acknowledges what was never sent there. A control ID goes over a connection once,
since a receiver may repeat its answer.
"""

from __future__ import annotations

import asyncio

from medagent_hl7.answers import Acknowledgment, Busy, ConnectionLost, Expect
from medagent_hl7.client import CONNECT_TIMEOUT, Client, Remote
from medagent_hl7.message import Header
from medagent_hl7.room import Room, most_connections

IDLE_SECONDS = 10.0
"""How long an unused connection stays open without `keep_alive`."""
ANSWER_TIMEOUT = 30.0
MAX_CLIENTS = 5
MAX_CLIENTS_KEPT_ALIVE = 1
MOST_POOLS = 1000
"""Kept although they are not in use."""


class Pool:
    """The connections to one remote. Made and used on one event loop; `close` ends it."""

    def __init__(
        self,
        remote: Remote,
        *,
        keep_alive: bool = False,
        max_clients: int | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        idle_seconds: float = IDLE_SECONDS,
        room: Room | None = None,
    ) -> None:
        """`keep_alive`: unused connections stay open. `max_clients`: most connections; None for 5, or 1 with `keep_alive`.
        `room`: shared with other pools, None for no other limit."""
        self._remote = remote
        self._keep_alive = keep_alive
        self._connect_timeout = connect_timeout
        self._idle_seconds = idle_seconds
        self._room = room if room is not None else Room(most_connections(), lambda: None)
        default = MAX_CLIENTS_KEPT_ALIVE if keep_alive else MAX_CLIENTS
        self._free = asyncio.Semaphore(default if max_clients is None else max_clients)
        self._idle: dict[Client, asyncio.TimerHandle | None] = {}
        """Open and unused, the last used one last, with what will close it."""
        self._in_use: set[Client] = set()
        self._senders = 0
        """Messages that are being sent, or wait for that."""
        self._closed = False
        self._retired = False

    @property
    def used(self) -> bool:
        """Whether it has connections, or messages."""
        return bool(self._senders or self.connections)

    @property
    def connections(self) -> int:
        """Open connections, as far as noticed."""
        return sum(client.usable for client in self._idle) + len(self._in_use)

    async def send(
        self,
        body: bytes,
        expect: Expect | None = None,
        *,
        timeout: float = ANSWER_TIMEOUT,
        wait: float = ANSWER_TIMEOUT,
    ) -> list[Acknowledgment]:
        """Send one message on a free connection, or a new one, and return its acknowledgments in the order they came.

        `expect`: None for what MSH-15 and MSH-16 make due. `timeout`: seconds to wait for that. `wait`: seconds to wait for a
        free connection while all are in use; those who wait are served in the order they came.

        Raises `Busy` and `ConnectFailed` when nothing was sent; `AnswerTimeout`, `ConnectionLost`, `NotCommitted` when
        the receiver may have the message nevertheless; and `medagent_hl7.message.Hl7Error` without a usable MSH segment.
        """
        header = Header.parse(body)
        self._senders += 1
        try:
            return await self._send(header, body, expect, timeout, wait)
        finally:
            self._senders -= 1

    async def _send(
        self, header: Header, body: bytes, expect: Expect | None, timeout: float, wait: float
    ) -> list[Acknowledgment]:
        waits_until = asyncio.get_running_loop().time() + wait
        await self._turn(wait)
        try:
            client = self._reuse(header.control_id) or await self._open(waits_until, wait)
            try:
                answers = await client.send(body, Expect.due(header) if expect is None else expect, timeout)
            except BaseException:
                client.abort()
                raise
            finally:
                self._in_use.discard(client)
            self._keep(client)
            return answers
        finally:
            self._free.release()

    def retire(self) -> None:
        """Close each connection as soon as it is not in use; what is in flight, or waits, goes on."""
        self._retired = True
        for client in self._forget_idle():
            client.begin_close()

    async def close(self) -> None:
        """Close all connections; what is in flight fails with `ConnectionLost`."""
        self._closed = True
        await asyncio.gather(*(client.close() for client in [*self._forget_idle(), *self._in_use]))

    def _forget_idle(self) -> list[Client]:
        clients = list(self._idle)
        for timer in self._idle.values():
            if timer is not None:
                timer.cancel()
        self._idle.clear()
        return clients

    async def _turn(self, wait: float) -> None:
        try:
            async with asyncio.timeout(wait):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(f"all connections to {self._remote} were in use for {wait:g} s") from None

    def _reuse(self, control_id: str) -> Client | None:
        """The connection used last, of those that still stand."""
        while self._idle:
            client, timer = self._idle.popitem()
            if timer is not None:
                timer.cancel()
            if client.can_send(control_id) and not client.strayed:
                self._in_use.add(client)
                return client
            client.begin_close()
        return None

    def close_idle(self) -> bool:
        """Close the connection that has been idle the longest; False if there is none."""
        for client, timer in self._idle.items():
            if client.usable:
                del self._idle[client]
                if timer is not None:
                    timer.cancel()
                client.begin_close()
                return True
        return False

    async def _open(self, waits_until: float, wait: float) -> Client:
        self._refuse_if_closed()
        try:
            async with asyncio.timeout_at(waits_until):
                leave = await self._room.enter()
        except TimeoutError:
            raise Busy(f"as many connections as this process may open to devices were in use for {wait:g} s") from None
        try:
            client = await Client.connect(self._remote, self._connect_timeout, leave)
        except BaseException:
            leave()
            raise
        try:
            self._refuse_if_closed()
        except ConnectionLost:
            await client.close()
            raise
        self._in_use.add(client)
        return client

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ConnectionLost("the sender has been closed")

    def _keep(self, client: Client) -> None:
        if self._closed or self._retired or not client.usable or client.worn or client.strayed or self._room.wanted:
            client.begin_close()
            return
        timer = None
        if not self._keep_alive:
            timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._expire, client)
        self._idle[client] = timer

    def _expire(self, client: Client) -> None:
        if client in self._idle:
            del self._idle[client]
            client.begin_close()


class Pools:
    """A pool for each remote, made when it is first used; of those that are not in use so many are kept."""

    def __init__(self, *, keep_alive: bool = False, max_clients: int | None = None, most: int | None = None) -> None:
        """As for `Pool`: the Agent settings `keepAlive` and `maxClientsPerRemote`. `most`: connections in all; None for what
        the process's limit of open files allows."""
        self._room = Room(most_connections() if most is None else most, self._make_room)
        self._keep_alive = keep_alive
        self._max_clients = max_clients
        self._pools: dict[Remote, Pool] = {}
        self._retired: list[Pool] = []
        """Of other settings, while they are in use."""

    def to(self, remote: Remote) -> Pool:
        pool = self._pools.get(remote)
        if pool is None:
            if len(self._pools) >= MOST_POOLS:
                self._pools = {known: pool for known, pool in self._pools.items() if pool.used}
            pool = self._pools[remote] = Pool(
                remote, keep_alive=self._keep_alive, max_clients=self._max_clients, room=self._room
            )
        return pool

    def _make_room(self) -> None:
        for pool in [*self._retired, *self._pools.values()]:
            if pool.close_idle():
                return

    def reconfigure(self, *, keep_alive: bool, max_clients: int | None) -> None:
        """Work with these settings from now on; what is in flight goes on, and pools whose settings stay are left alone."""
        if (keep_alive, max_clients) == (self._keep_alive, self._max_clients):
            return
        self._keep_alive, self._max_clients = keep_alive, max_clients
        for remote in list(self._pools):
            self.retire(remote)

    def retire(self, remote: Remote) -> None:
        """Make a new pool for `remote` when it is next used; what is in flight goes on."""
        self._retired = [pool for pool in self._retired if pool.connections]
        if (pool := self._pools.pop(remote, None)) is not None:
            pool.retire()
            self._retired.append(pool)

    async def close(self) -> None:
        """Close all connections to all remotes."""
        pools = [*self._pools.values(), *self._retired]
        self._pools.clear()
        self._retired.clear()
        await asyncio.gather(*(pool.close() for pool in pools))
