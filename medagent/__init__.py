"""medagent: the FHIR-configured agent for hospital messages.

Public for plugins are `hookimpl`, the hooks in `medagent.hookspecs`, what the documentation names of `medagent.testing`, and of
these modules the names in `__all__`, or else all that do not begin with an underscore:

- `medagent.channel`
- `medagent.listening`
- `medagent.sender`
- `medagent.queue.base`
- `medagent.uplink.base`
- `medagent.running`
- `medagent.types`
- `medagent.errors`
- `medagent.config.settings`
- `medagent.config.problems`
- `medagent.config.model`
- `medagent.config.bootstrap`
- `medagent.config.wording`
- `medagent.fhir.source`
- `medagent.fhir.client`
- `medagent.fhir.route`
- `medagent.fhir.proxy`
- `medagent.uplink.answers`
- `medagent.outbound.remote`
- `medagent.queue.parts`
- `medagent.tasks`
- `medagent.clock`
- `medagent.throttle`
- `medagent.printable`
- `medagent.admin`
- `medagent.cli.output`
- `medagent.cli.queue`

A test compares this list with the reference in docs/plugins, and with what the plugins of the repository import.
"""

from __future__ import annotations

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("medagent")

__all__ = ["__version__", "hookimpl"]
