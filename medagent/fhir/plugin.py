"""The built-in plugin that reads the Agent resource from the FHIR server or from files."""

from __future__ import annotations

from medagent import hookimpl
from medagent.config.bootstrap import Bootstrap
from medagent.config.source import Source
from medagent.fhir.client import FhirClient


@hookimpl
async def medagent_load_agent(bootstrap: Bootstrap, client: FhirClient | None) -> Source:
    from medagent.fhir.source import load

    return await load(bootstrap, client)
