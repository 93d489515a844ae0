"""The built-in plugin that declares the core's own settings and reads the Agent resource from the FHIR server or from files."""

from __future__ import annotations

from medagent import hookimpl
from medagent.config import builtin
from medagent.config.bootstrap import Bootstrap
from medagent.config.settings import Registry
from medagent.fhir.client import FhirClient
from medagent.fhir.source import Source, load


@hookimpl
def medagent_register_settings(registry: Registry) -> None:
    builtin.register(registry)


@hookimpl
async def medagent_load_agent(bootstrap: Bootstrap, client: FhirClient | None) -> Source:
    return await load(bootstrap.agent_files, client, bootstrap.agent_id)
