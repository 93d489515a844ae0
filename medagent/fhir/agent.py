"""Agent as a fhir.resources R4B resource: the elements of Medplum's Agent (https://www.medplum.com/docs/api/fhir/medplum/agent).

Importing this costs about 0.3 s (fhir.resources), so only what validates resources does.
"""

# ruff: noqa: N815  the element names are FHIR's
from __future__ import annotations

from typing import Any

from fhir.resources.R4B import backboneelement, domainresource, fhirtypes
from fhir_core import types as fhir_core_types
from fhir_core.constraints import FHIR_TYPES_MAPS
from fhir_core.fhirabstractmodel import FHIRAbstractModel
from pydantic import Field


# the result goes where pydantic's Field() does, which is typed Any for the same reason
def _element(name: str, title: str, *, summary: bool = True, required: bool = False, choice: str = "") -> Any:
    """An optional element in fhir.resources' terms; `choice` is the x of x[x], one of which is required."""
    extra: dict[str, Any] = {"element_property": True, "summary_element_property": summary}
    if required:
        extra["element_required"] = True
    if choice:
        extra |= {"one_of_many": choice, "one_of_many_required": True}
    return Field(default=None, alias=name, title=title, json_schema_extra=extra)


# as above
def _extension(name: str) -> Any:
    """The element that holds the extensions of primitive `name` (https://hl7.org/fhir/R4B/json.html#primitive)."""
    return Field(default=None, alias=f"_{name}", title=f"Extension field for ``{name}``.")


class AgentSetting(backboneelement.BackboneElement):
    """Agent.setting: one named value."""

    __resource_type__ = "AgentSetting"

    name: fhirtypes.StringType | None = _element("name", "The setting's name", required=True)
    name__ext: fhirtypes.FHIRPrimitiveExtensionType | None = _extension("name")
    valueString: fhirtypes.StringType | None = _element("valueString", "A text", choice="value")
    valueString__ext: fhirtypes.FHIRPrimitiveExtensionType | None = _extension("valueString")
    valueBoolean: bool | None = _element("valueBoolean", "True or false", choice="value")
    valueBoolean__ext: fhirtypes.FHIRPrimitiveExtensionType | None = _extension("valueBoolean")
    valueDecimal: fhirtypes.DecimalType | None = _element("valueDecimal", "A number", choice="value")
    valueDecimal__ext: fhirtypes.FHIRPrimitiveExtensionType | None = _extension("valueDecimal")
    valueInteger: fhirtypes.IntegerType | None = _element("valueInteger", "An integer", choice="value")
    valueInteger__ext: fhirtypes.FHIRPrimitiveExtensionType | None = _extension("valueInteger")

    @classmethod
    def elements_sequence(cls) -> list[str]:
        return [
            *super().elements_sequence(),
            "name",
            "valueString",
            "valueBoolean",
            "valueDecimal",
            "valueInteger",
        ]

    @classmethod
    def summary_elements_sequence(cls) -> list[str]:
        return cls.elements_sequence()[2:]

    def get_required_fields(self) -> list[tuple[str, str | None]]:
        return [("name", "name__ext")]

    def get_one_of_many_fields(self) -> dict[str, list[str]]:
        return {"value": ["valueString", "valueBoolean", "valueDecimal", "valueInteger"]}


class AgentChannel(backboneelement.BackboneElement):
    """Agent.channel: where messages come in and to whom they go."""

    __resource_type__ = "AgentChannel"

    name: fhirtypes.StringType | None = _element("name", "The channel's name", required=True)
    name__ext: fhirtypes.FHIRPrimitiveExtensionType | None = _extension("name")
    endpoint: fhirtypes.ReferenceType = Field(
        default=...,
        alias="endpoint",
        title="Where the channel listens",
        json_schema_extra={
            "element_property": True,
            "summary_element_property": True,
            "enum_reference_types": ["Endpoint"],
        },
    )
    targetReference: fhirtypes.ReferenceType | None = _element(
        "targetReference", "The Bot that takes the messages", choice="target"
    )
    targetUrl: fhirtypes.UrlType | None = _element("targetUrl", "The address that takes the messages", choice="target")
    targetUrl__ext: fhirtypes.FHIRPrimitiveExtensionType | None = _extension("targetUrl")

    @classmethod
    def elements_sequence(cls) -> list[str]:
        return [*super().elements_sequence(), "name", "endpoint", "targetReference", "targetUrl"]

    @classmethod
    def summary_elements_sequence(cls) -> list[str]:
        return cls.elements_sequence()[2:]

    def get_required_fields(self) -> list[tuple[str, str | None]]:
        return [("name", "name__ext")]

    def get_one_of_many_fields(self) -> dict[str, list[str]]:
        return {"target": ["targetReference", "targetUrl"]}


class Agent(domainresource.DomainResource):
    """The configuration of one agent beside a hospital's devices."""

    __resource_type__ = "Agent"

    identifier: list[fhirtypes.IdentifierType] | None = _element("identifier", "What else the agent is called")
    name: fhirtypes.StringType | None = _element("name", "The agent's name", required=True)
    name__ext: fhirtypes.FHIRPrimitiveExtensionType | None = _extension("name")
    # any code is taken, as servers do; what an unknown one means is settled when the configuration is built
    status: fhirtypes.CodeType | None = _element("status", "active | off | error", required=True)
    status__ext: fhirtypes.FHIRPrimitiveExtensionType | None = _extension("status")
    device: fhirtypes.ReferenceType | None = _element("device", "The Device that the agent runs on")
    channel: list[AgentChannel] | None = _element("channel", "Where messages come in", summary=False)
    setting: list[AgentSetting] | None = _element("setting", "Named values", summary=False)

    @classmethod
    def elements_sequence(cls) -> list[str]:
        return [*super().elements_sequence(), "identifier", "name", "status", "device", "channel", "setting"]

    @classmethod
    def summary_elements_sequence(cls) -> list[str]:
        return [*super().summary_elements_sequence(), "identifier", "name", "status", "device"]

    def get_required_fields(self) -> list[tuple[str, str | None]]:
        return [("name", "name__ext"), ("status", "status__ext")]


def register() -> type[FHIRAbstractModel]:
    """Make `Agent` known to fhir.resources, so that Bundle.entry.resource, `contained` and `get_fhir_model_class` take it.

    Must run before the first `get_fhir_model_class("Agent")`. The keys of the type map and the attribute of `fhirtypes` are
    the library's private seam, used here alone; the map's prefix is `R4.` for R4B too. May be called again.
    """
    path = f"{Agent.__module__}.{Agent.__qualname__}"
    FHIR_TYPES_MAPS["R4.AgentType"] = path
    fhirtypes.AgentType = fhir_core_types.create_fhir_type("AgentType", path)  # type: ignore[attr-defined]  # added on purpose
    return Agent
