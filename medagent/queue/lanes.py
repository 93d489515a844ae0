"""The lanes of all channels, by name, in the order in which they take their turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

from medagent.channel import Channel
from medagent.queue.keyed_lane import make_lane
from medagent.queue.lane import Lane


class Lanes:
    """Makes lanes and finds them."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        max_in_flight: int,
        retries: Callable[[str], Awaitable[Sequence[tuple[int, float]]]],
        due: Callable[[str, float], float],
    ) -> None:
        """`retries` is as `Committer.retries`; `due` gives the monotonic time of a channel's retry that is noted for a time
        since the epoch, both in seconds."""
        self._channels = channels
        self._max_in_flight = max_in_flight
        self._retries = retries
        self._due = due
        self._lanes: dict[str, Lane] = {}

    def __getitem__(self, channel: str) -> Lane:
        return self._lanes[channel]

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def __contains__(self, channel: str) -> bool:
        return channel in self._lanes

    def get(self, channel: str) -> Lane | None:
        return self._lanes.get(channel)

    def put_last(self, lane: Lane) -> None:
        """Next time another channel comes first."""
        self._lanes[lane.channel] = self._lanes.pop(lane.channel)

    async def add(self, channel: str, newest: int) -> None:
        """Begin with all of its messages up to seq `newest` that are on disk."""
        lane = self._lanes[channel] = make_lane(channel, self._channels[channel], self._max_in_flight, newest)
        lane.reading = True  # no page may come before what has failed is known
        try:
            for seq, at in await self._retries(channel):
                lane.retry(seq, self._due(channel, at))
        finally:
            lane.reading = False

    def remove(self, channel: str) -> None:
        del self._lanes[channel]

    def widen(self, max_in_flight: int) -> None:
        """Allow so many unanswered messages, and hold none back; lanes by key must be made anew for it."""
        self._max_in_flight = max_in_flight
        for lane in self:
            lane.max_in_flight = max_in_flight
            lane.held_until = 0.0

    def idle(self, channels: Collection[str]) -> bool:
        """Whether nothing of these channels is left to send or unanswered."""
        return all(lane.idle for lane in self if lane.channel in channels)
