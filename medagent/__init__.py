"""medagent: the FHIR-configured agent for hospital messages.

Public for plugins: `hookimpl`, the protocols in `medagent.channel`, `medagent.queue.base` and `medagent.uplink.base`, the
types in `medagent.types` and `medagent.errors`, the settings registry in `medagent.config.settings`, and `medagent.testing`.
"""

from __future__ import annotations

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("medagent")

__all__ = ["__version__", "hookimpl"]
