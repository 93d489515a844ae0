"""What is different between two configurations of one agent, and what that asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from medagent.config.model import AgentConfig, ChannelConfig, Value
from medagent.printable import printable


@dataclass(frozen=True, slots=True)
class ChannelChange:
    """One channel that is not as it was."""

    name: str
    old: ChannelConfig | None
    """None if it is new."""
    new: ChannelConfig | None
    """None if it is gone."""
    listened: bool
    """Whether it has listened before, or tried to."""
    listens: bool
    """Whether it is to listen."""

    @property
    def in_place(self) -> bool:
        """Only its parameters differ: it may take them while it listens."""
        return self.listened and self.listens and _place(self.old) == _place(self.new)

    @property
    def words(self) -> str:
        """Such as `adt: moved to port 2576`."""
        if self.old is None:
            return f"{self.name}: added"
        if self.new is None:
            return f"{self.name}: removed"
        what = []
        if self.listened != self.listens:
            what.append("turned on" if self.listens else "turned off")
        if (self.old.scheme, self.old.host) != (self.new.scheme, self.new.host):
            what.append(f"moved to {self.new.scheme}://{self.new.host}:{self.new.port}")
        elif self.old.port != self.new.port:
            what.append(f"moved to port {self.new.port}")
        return f"{self.name}: " + ", ".join(what + differences(self.old.parameters, self.new.parameters))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is different."""

    channels: tuple[ChannelChange, ...] = ()
    settings: tuple[str, ...] = ()
    """What differs besides the channels, such as `batchSize 100 → 50`."""

    def __bool__(self) -> bool:
        return bool(self.channels or self.settings)

    def __str__(self) -> str:
        parts = [change.words for change in self.channels]
        if self.settings:
            parts.append(", ".join(self.settings))
        return "; ".join(parts) or "nothing has changed"


def make_plan(old: AgentConfig, new: AgentConfig) -> Plan:
    """Compare two configurations; channels are known by their names."""
    before = {channel.name: channel for channel in old.channels}
    after = {channel.name: channel for channel in new.channels}
    changes = []
    for name in [*before, *(name for name in after if name not in before)]:
        was, will = before.get(name), after.get(name)
        change = ChannelChange(name, was, will, _listens(old, was), _listens(new, will))
        if _meaning(was) != _meaning(will) or change.listened != change.listens:
            changes.append(change)
    settings = differences({"name": old.name, "status": old.status}, {"name": new.name, "status": new.status})
    settings += differences(old.settings, new.settings)
    if not settings and _values(old) != _values(new):
        settings.append("settings")  # which have no names of their own
    return Plan(tuple(changes), tuple(settings))


def _values(config: AgentConfig) -> list[object]:
    return [getattr(config, field.name) for field in fields(AgentConfig) if field.name not in ("channels", "given")]


def differences(old: Mapping[str, Value], new: Mapping[str, Value]) -> list[str]:
    """Such as `enhanced false → true`, by name."""
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return [f"{name} {_shown(old.get(name))} → {_shown(new.get(name))}" for name in names]


def _shown(value: Value | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "unset" if value is None else printable(str(value), None)


def _listens(config: AgentConfig, channel: ChannelConfig | None) -> bool:
    return channel is not None and config.off_reason(channel) == "" and not channel.barred


def _meaning(channel: ChannelConfig | None) -> ChannelConfig | None:
    """Without how the address is spelled, which says nothing that is not in the other fields."""
    return replace(channel, address="") if channel is not None else None


def _place(channel: ChannelConfig | None) -> tuple[str, str, int] | None:
    return (channel.scheme, channel.host, channel.port) if channel is not None else None
