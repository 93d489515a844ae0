"""Holding the devices back: channels read while nobody asks them to pause."""

from __future__ import annotations

from collections.abc import Mapping

from medagent.channel import Channel


class Brake:
    """Pauses the reading of all channels for whoever holds it, and resumes it when the last one lets go."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = channels
        self._holders: set[str] = set()

    def hold(self, holder: str) -> None:
        """Read nothing more for now; `holder` names who asks."""
        if not self._holders:
            for channel in self._channels.values():
                channel.pause_reading()
        self._holders.add(holder)

    def release(self, holder: str) -> None:
        """As far as `holder` is concerned, read on. Does nothing if it does not hold."""
        if holder in self._holders:
            self._holders.remove(holder)
            if not self._holders:
                for channel in self._channels.values():
                    channel.resume_reading()

    def joined(self, channel: Channel) -> None:
        """Another channel has come: it pauses if the others do."""
        if self._holders:
            channel.pause_reading()
        else:
            channel.resume_reading()
