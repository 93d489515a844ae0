"""Registers: whole numbers of a channel that are kept with its messages, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Registers = dict[tuple[str, str], int]
"""Values by channel and name."""


class ChannelRegisters(Mapping[str, int]):
    """One channel's registers, as changes that are not committed yet have left them."""

    def __init__(self, channel: str, *layers: Registers) -> None:
        """`layers`: the newest changes first, what is on disk last."""
        self._channel = channel
        self._layers = layers

    def __getitem__(self, name: str) -> int:
        key = (self._channel, name)
        for layer in self._layers:
            if key in layer:
                return layer[key]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from {name: None for layer in self._layers for channel, name in layer if channel == self._channel}

    def __len__(self) -> int:
        return sum(1 for _ in self)


def by_channel(registers: Registers) -> dict[str, dict[str, int]]:
    """The same, by channel and then by name."""
    found: dict[str, dict[str, int]] = {}
    for (channel, name), value in registers.items():
        found.setdefault(channel, {})[name] = value
    return found
