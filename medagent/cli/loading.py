"""The plugins of a command that starts no agent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from medagent.cli.state import state_dir_or_default
from medagent.config.bootstrap import resolve_plugin_options
from medagent.config.options import Flags
from medagent.errors import PluginError

if TYPE_CHECKING:
    from medagent.config.plugin_options import PluginOptions
    from medagent.plugins import Plugins


def load_plugins(options: PluginOptions | None = None, *, state_dir: Path | None = None) -> Plugins:
    """Those that `options` choose; without these, the environment and the files that it names.

    Raises `ConfigError` if these cannot be used.
    """
    from medagent.plugins import Plugins  # not every command needs it

    chosen = options if options is not None else resolve_plugin_options(Flags(), os.environ)
    return Plugins(chosen, state_dir=state_dir_or_default(state_dir))


def refuse_left_out(options: PluginOptions, plugins: Plugins) -> None:
    """Raises `PluginError` if all plugins must be loaded, and one is not."""
    from medagent.plugins.info import strict_fault  # as above

    if options.strict and plugins.left_out:
        raise PluginError(strict_fault(plugins.left_out))
