"""A transform: messages about test patients stay here, the others name the right facility."""

from __future__ import annotations

from collections.abc import Callable

from medagent import hookimpl
from medagent.config.model import ChannelConfig
from medagent.config.settings import Parameter, Registry

SCHEMES = ("mllp", "mllps")
RECEIVING_FACILITY, PROCESSING_ID = 6, 11


@hookimpl
def medagent_register_settings(registry: Registry) -> None:
    registry.add_parameter(
        Parameter(
            "notForwarded",
            SCHEMES,
            str,
            None,
            "Processing IDs (MSH-11) that are not forwarded, such as `T,D`.",
        )
    )
    registry.add_parameter(
        Parameter(
            "forwardedFacility",
            SCHEMES,
            str,
            None,
            "Receiving facility (MSH-6) of what is forwarded.",
        )
    )


@hookimpl
def medagent_make_transform(channel: ChannelConfig) -> Callable[[str], str | None] | None:
    ids = str(channel.parameters.get("notForwarded", ""))
    facility = str(channel.parameters.get("forwardedFacility", ""))
    unwanted = {each.strip().upper() for each in ids.split(",")} - {""}
    if not (unwanted or facility):
        return None

    def transform(text: str) -> str | None:
        header, end, rest = text.partition("\r")
        # split at its own separator, MSH-n is at n - 1: MSH-1 is the separator itself
        separator = header[3:4] or "|"
        fields = header.split(separator)
        if len(fields) >= PROCESSING_ID:
            component_separator = fields[1][:1] or "^"
            if (
                fields[PROCESSING_ID - 1].split(component_separator)[0].strip().upper()
                in unwanted
            ):
                return None
        if facility and len(fields) >= RECEIVING_FACILITY:
            fields[RECEIVING_FACILITY - 1] = facility
        return separator.join(fields) + end + rest

    return transform
