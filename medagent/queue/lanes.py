"""The lanes of all channels, by name, in the order in which they take their turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence

from medagent.channel import Channel, Keyed
from medagent.queue.keyed_lane import KeyedLane, make_lane, workers_of
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
        """`retries` is as `Committer.retries`.

        `due` gives the monotonic time of a channel's retry that is noted for a time since the epoch, both in seconds.
        """
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
        lane = self._make(channel, newest)
        lane.reading = True  # no page may come before what has failed is known
        try:
            self._take_retries(lane, await self._retries(channel))
        finally:
            lane.reading = False

    def put(self, channel: str, newest: int, retries: Iterable[tuple[int, float]]) -> None:
        """The same, when it is known what has failed; in the place of the lane that is there, if there is one."""
        self._take_retries(self._make(channel, newest), retries)

    def _make(self, channel: str, newest: int) -> Lane:
        lane = self._lanes[channel] = make_lane(channel, self._channels[channel], self._max_in_flight, newest)
        return lane

    def _take_retries(self, lane: Lane, retries: Iterable[tuple[int, float]]) -> None:
        for seq, at in retries:
            lane.retry(seq, self._due(lane.channel, at))

    def fits(self, lane: Lane, host: Channel, max_in_flight: int) -> bool:
        """Whether a lane can go on with this channel and so many messages unanswered."""
        return isinstance(lane, KeyedLane) == bool(workers_of(host, max_in_flight))

    def remove(self, channel: str) -> None:
        del self._lanes[channel]

    def go_on(self, max_in_flight: int) -> None:
        """Work for the channels that have their names now, with so many unanswered messages, and hold none back.

        Each must fit.
        """
        self._max_in_flight = max_in_flight
        for lane in self:
            host = self._channels[lane.channel]
            lane.held_until = 0.0
            lane.max_in_flight = workers_of(host, max_in_flight) or max_in_flight
            if isinstance(lane, KeyedLane) and isinstance(host, Keyed):
                lane.key = host.key

    def idle(self, channels: Collection[str]) -> bool:
        """Whether nothing of these channels is left to send or unanswered."""
        return all(lane.idle for lane in self if lane.channel in channels)
