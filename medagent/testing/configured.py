"""What the installed plugins make of an Agent and its Endpoints."""

from __future__ import annotations

from medagent.config.model import AgentConfig
from medagent.config.problems import Problem
from medagent.configure import configure
from medagent.fhir.source import Source
from medagent.plugins import Plugins
from medagent.testing.resources import Resource


def configured(agent: Resource, *endpoints: Resource) -> tuple[AgentConfig | None, list[Problem]]:
    """The configuration, None if there can be none, and all problems: what `medagent check --no-here` works with.

    `agent` is the resource, `endpoints` are those that its channels name.
    """
    source = Source(agent, {f"Endpoint/{endpoint['id']}": endpoint for endpoint in endpoints})
    return configure(source, Plugins(), bind_any=False, local=False)
