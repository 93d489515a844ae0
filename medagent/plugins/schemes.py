"""Which plugin's factory makes what serves a URL scheme."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from medagent.errors import PluginError

Factory = TypeVar("Factory")

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")  # RFC 3986, 3.1; capital letters of an address are made small


@dataclass(slots=True)
class Schemes(Generic[Factory]):
    """The factories of one kind."""

    factories: dict[str, Factory] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """The plugin of each scheme's factory, by scheme."""

    def register(self, scheme: str, factory: Factory) -> None:
        """Raises `PluginError` if the scheme is taken or none, or the factory cannot be called."""
        # both are a plugin's
        if not isinstance(scheme, str) or not _SCHEME.fullmatch(scheme):
            raise PluginError(f"{scheme!r} is no URL scheme: a small letter, then small letters, digits, '+', '-' and '.'")
        if not callable(factory):
            raise PluginError(f"the factory of the scheme {scheme} is a {type(factory).__name__}, which cannot be called")
        if scheme in self.factories:
            raise PluginError(f"the scheme {scheme} is already taken by plugin {self.owners.get(scheme) or 'itself'}")
        self.factories[scheme] = factory

    def claim(self, plugin: str) -> None:
        """What nobody owns yet is this plugin's: it has just been registered."""
        for scheme in self.factories:
            self.owners.setdefault(scheme, plugin)
