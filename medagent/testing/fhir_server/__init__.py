"""An embedded FHIR server that speaks the agent protocol as a Medplum server does, for tests and the demo."""

from __future__ import annotations

from medagent.testing.fhir_server.faults import Faults, HttpFailure
from medagent.testing.fhir_server.journal import TO_AGENT, TO_SERVER, Exchange
from medagent.testing.fhir_server.server import FhirServer

__all__ = ["FhirServer", "Faults", "HttpFailure", "Exchange", "TO_AGENT", "TO_SERVER"]
