"""Validation of raw JSON by the fhir.resources classes, told as (path, message) pairs; for `medagent.fhir.validation` alone.

`python -m medagent.fhir.validate` is the child process: its standard input is a socket, over which it is asked and answers.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from fhir.resources.R4B.endpoint import Endpoint
from fhir_core.fhirabstractmodel import FHIRAbstractModel
from pydantic import ValidationError

from medagent.fhir import validation
from medagent.fhir.agent import Agent, AgentChannel, AgentSetting
from medagent.fhir.validation import Finding

# servers add elements of their own to Resource.meta (Medplum with "X-Medplum: extended": author, project, compartment, account)
_META_ELEMENTS = {"id", "extension", "versionId", "lastUpdated", "source", "profile", "security", "tag"}


_MODELS: dict[str, type[FHIRAbstractModel]] = {
    validation.AGENT: Agent,
    validation.SETTING: AgentSetting,
    validation.CHANNEL: AgentChannel,
    validation.ENDPOINT: Endpoint,
}
_RESOURCES = (validation.AGENT, validation.ENDPOINT)


# here and below: decoded JSON that nobody has validated yet
def find(kind: str, raw: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with `raw` as a `kind`, one of those of `medagent.fhir.validation`."""
    return _validate(_MODELS[kind], _without_additions(raw) if kind in _RESOURCES else raw)


def _without_additions(raw: Mapping[str, Any]) -> dict[str, Any]:
    resource = {name: value for name, value in raw.items() if name != "contained"}
    meta = resource.get("meta")
    if isinstance(meta, dict):
        known = {name: value for name, value in meta.items() if name.lstrip("_") in _META_ELEMENTS}
        resource["meta"] = known or None
    return resource


def _validate(model: type[FHIRAbstractModel], raw: Mapping[str, Any]) -> list[Finding]:
    try:
        model.model_validate(raw)
    except RecursionError:
        return [("", "nested too deeply")]
    except ValidationError as error:
        try:
            details = error.errors(include_url=False, include_context=False, include_input=False)
        except UnicodeError:  # JSON can hold half a surrogate pair, and pydantic cannot tell of it
            return [("", "a text is not Unicode")]
        return [(_path(detail["loc"]), _message(detail["type"], detail["msg"])) for detail in details]
    # fhir.resources meets some JSON that is no FHIR with errors of its own code, such as a number where it wants a text
    except Exception as error:  # noqa: BLE001  as said above
        return [("", f"FHIR allows no such JSON here ({type(error).__name__})")]
    return []


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")


def _message(kind: str, text: str) -> str:
    if kind in ("missing", "model_field_validation.missing"):
        return "required, but missing"
    if kind == "json_invalid":  # fhir.resources reads a text as JSON
        return "an object is expected, found a text"
    if kind == "extra_forbidden":
        return "FHIR knows no such element here"
    text = " ".join(text.removeprefix("Value error, ").split())
    return text[:1].lower() + text[1:]


def main() -> None:
    """Answer until the agent, whose end of the socket ends with it, is gone."""
    with socket.socket(fileno=0) as connection, connection.makefile("rwb") as stream:
        for line in stream:
            stream.write(json.dumps(find(*json.loads(line))).encode() + b"\n")
            stream.flush()


if __name__ == "__main__":
    main()
