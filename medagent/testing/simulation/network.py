"""A network without sockets: pipes that keep the order and take their time, and what dies with a connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Generic, TypeVar

from medagent.testing.simulation.world import World

T = TypeVar("T")


class Pipe(Generic[T]):
    """One direction of a connection. What has arrived by the same time is delivered as one read."""

    def __init__(self, world: World, deliver: Callable[[list[T]], None], context: Context) -> None:
        """`context` is that of the process which reads, or `World.outside`."""
        self._world = world
        self._deliver = deliver
        self._context = context
        self._under_way: deque[tuple[float, T]] = deque()
        self._last = 0.0
        self._closed = False

    def send(self, item: T) -> None:
        if self._closed:
            return
        loop = self._world.loop
        self._last = max(self._last, loop.time() + self._world.latency())
        self._under_way.append((self._last, item))
        loop.call_at(self._last, self._arrive, context=self._context)

    def close(self) -> None:
        """What is under way is lost."""
        self._closed = True
        self._under_way.clear()

    def _arrive(self) -> None:
        now = self._world.loop.time()
        arrived: list[T] = []
        while self._under_way and self._under_way[0][0] <= now:
            arrived.append(self._under_way.popleft()[1])
        if arrived:
            self._deliver(arrived)
