"""The names of a new plugin: one is given, the others follow from it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass

from medagent.errors import ConfigError

PREFIX = "medagent-"
LONGEST = 40
OF_MEDAGENT = frozenset({"batched", "immediate", "sqlite", "tcp"})
"""Its strategies, its store and its base class of channels: a plugin called so would stand in their place."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Names:
    """What a plugin is called in different places."""

    name: str
    """Of the plugin and its entry point, such as `ward-monitor`; a channel's or store's URL scheme too."""

    @classmethod
    def of(cls, given: str) -> Names:
        """From the plugin's name or its distribution's. Raises `ConfigError` if no plugin can be called so."""
        name = given.removeprefix(PREFIX)
        if not _NAME.fullmatch(name) or len(name) > LONGEST:
            raise ConfigError(
                f"{given!r} cannot be the name of a plugin: lower-case letters, digits and single hyphens, a letter first, "
                f"at most {LONGEST} characters, such as ward-monitor"
            )
        return cls(name)

    @property
    def distribution(self) -> str:
        return PREFIX + self.name

    @property
    def module(self) -> str:
        return self.distribution.replace("-", "_")

    @property
    def title(self) -> str:
        """For classes: `WardMonitor`."""
        return "".join(part.capitalize() for part in self.name.split("-"))

    @property
    def camel(self) -> str:
        """For settings and parameters: `wardMonitor`."""
        return self.title[0].lower() + self.title[1:]

    @property
    def upper(self) -> str:
        """For environment variables: `WARD_MONITOR`."""
        return self.name.replace("-", "_").upper()

    def refuse_taken(self, plugins: frozenset[str], schemes: frozenset[str]) -> None:
        """Raises `ConfigError` if something that is installed has one of the names; `plugins` and `schemes` are those there."""
        if self.name in OF_MEDAGENT:
            raise ConfigError(f"{self.name} is a name of medagent's own; choose another name")
        if self.name in plugins:
            raise ConfigError(f"a plugin {self.name} is installed already; choose another name")
        if self.name in schemes:
            raise ConfigError(f"the URL scheme {self.name} is taken by an installed plugin; choose another name")
        try:
            importlib.metadata.distribution(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            if importlib.util.find_spec(self.module) is None:
                return
            raise ConfigError(f"there is a Python module {self.module} already; choose another name") from None
        raise ConfigError(f"a distribution {self.distribution} is installed already; choose another name")
