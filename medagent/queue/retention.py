"""How long ended messages are kept: by age and by size, in small steps beside the traffic.

Live messages are never deleted. A wall clock that jumps must not delete what is young, so a jump holds the sweep for a while.
"""

from __future__ import annotations

import asyncio
import logging
import math

from medagent.clock import Clock
from medagent.config.model import RetentionConfig
from medagent.errors import QueueError
from medagent.queue.base import QueueStore, Removal

log = logging.getLogger(__name__)

DAY = 86_400.0
SIZE_SECONDS = 5.0
"""Between two looks at the size."""
NOTHING_SECONDS = 120.0
"""Before it is looked again for what can be deleted, after there was nothing."""
SMALLER = 0.9
"""What a file above its cap is brought down to, as a part of the cap."""
STEP = 500
"""Messages looked at in one step."""
STEP_BYTES = 4 * 1024 * 1024
"""Bodies deleted in one step, about."""
JUMP = DAY
"""Seconds that the wall clock may move against the monotonic one between two sweeps."""
HOLD = 3600.0
"""Seconds that a jump holds the sweep: time to set the clock right."""


class Retention:
    """Deletes what is old, and what is too much."""

    def __init__(self, store: QueueStore, config: RetentionConfig, clock: Clock) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._sweep_due = clock.monotonic() + min(config.sweep_interval_secs, 60.0)
        self._size_due = 0.0
        self._offset = clock.time() - clock.monotonic()
        self._held_until = 0.0
        self._nothing_until = 0.0

    def reconfigure(self, config: RetentionConfig) -> None:
        """Work by other settings from the next step on."""
        self._config = config
        self._sweep_due = min(self._sweep_due, self._clock.monotonic() + config.sweep_interval_secs)
        self._nothing_until = 0.0

    async def tick(self) -> None:
        """Called about once a second; returns when what was due is done."""
        now = self._clock.monotonic()
        self._look_at_clock(now)
        try:
            if now >= self._size_due:
                self._size_due = now + SIZE_SECONDS
                await self._shrink()
            if now >= self._sweep_due and now >= self._held_until:
                await self._remove(self._by_age())
                self._sweep_due = now + self._config.sweep_interval_secs
        # whatever keeps it from deleting now shows at the next commit, and there is a next time
        except Exception as error:  # noqa: BLE001  a store may be a plugin's
            reason = error if isinstance(error, QueueError) else type(error).__name__
            log.warning("old messages could not be deleted: %s", reason)

    def _look_at_clock(self, now: float) -> None:
        offset = self._clock.time() - now
        if abs(offset - self._offset) > JUMP:
            self._held_until = now + HOLD
            log.error("the clock has jumped by %.0f s: nothing is deleted by age for %.0f s", offset - self._offset, HOLD)
        self._offset = offset

    def _by_age(self) -> Removal:
        now = self._clock.time()
        return Removal(now - self._config.days * DAY, now - self._config.errored_days * DAY, STEP_BYTES)

    async def _shrink(self) -> None:
        cap = self._config.max_mb * 1024 * 1024
        used, target = await self._store.used_bytes(), int(cap * SMALLER)
        if used <= cap or self._clock.monotonic() < self._nothing_until:
            return
        # failed ones keep their time whatever the size
        step = min(STEP_BYTES, max(used - target, 1))
        if not await self._remove(Removal(math.inf, self._by_age().errored_before, step), down_to=target):
            # all of it is live: it takes a look at every message to know
            self._nothing_until = self._clock.monotonic() + NOTHING_SECONDS

    async def _remove(self, removal: Removal, *, down_to: int | None = None) -> int:
        position: int | None = 0
        count = 0
        while position is not None:
            begin = self._clock.monotonic()
            removed = await self._store.remove_ended(removal, position, STEP)
            position = removed.seen_up_to
            count += removed.count
            if down_to is not None and removed.count and await self._store.used_bytes() <= down_to:
                break
            # as long a pause as the step took: the traffic gets half of the time at least
            await asyncio.sleep(max(0.001, self._clock.monotonic() - begin))
        if count:
            log.info("%d ended message(s) deleted: %s", count, "old" if down_to is None else "the queue is at its size")
        while await self._store.give_back():  # noqa: ASYNC110  nothing is waited for: the traffic has its turn
            await asyncio.sleep(0.001)
        return count
