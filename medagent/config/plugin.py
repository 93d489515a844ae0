"""The built-in plugin that declares the core's own settings."""

from __future__ import annotations

from medagent import hookimpl
from medagent.config import builtin
from medagent.config.settings import Registry


@hookimpl
def medagent_register_settings(registry: Registry) -> None:
    builtin.register(registry)
