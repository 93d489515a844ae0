"""Which plugin's factory makes what serves a URL scheme."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from medagent.errors import PluginError

Factory = TypeVar("Factory")


@dataclass(slots=True)
class Schemes(Generic[Factory]):
    """The factories of one kind."""

    factories: dict[str, Factory] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """The plugin of each scheme's factory, by scheme."""

    def register(self, scheme: str, factory: Factory) -> None:
        """Raises `PluginError` if the scheme is taken."""
        if scheme in self.factories:
            raise PluginError(f"the scheme {scheme} is already taken by another plugin")
        self.factories[scheme] = factory

    def claim(self, plugin: str) -> None:
        """What nobody owns yet is this plugin's: it has just been registered."""
        for scheme in self.factories:
            self.owners.setdefault(scheme, plugin)
