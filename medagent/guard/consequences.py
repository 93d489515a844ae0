"""What follows from a fault of one thing of a plugin, for who reads the status. docs/plugins/isolation.md says it in full."""

from __future__ import annotations

_BY_BEGINNING = {
    "medagent_handle_frame": "the next plugin was asked",
    "medagent_load_agent": "it is asked again",
    "medagent_make_": "the next plugin was asked",
    "medagent_": "it was passed over",
    "forward of channel": "what it fails on is tried again",
    "transform of channel": "what it fails on is tried again",
    "channel": "its devices may lack an answer, or were cut off",
    "sender": "the push was answered by an error, or is tried again",
    "queue strategy": "what it held was committed by batched, or refused",
    "queue store": "what is not stored is not acknowledged",
    "uplink": "what was in flight is sent again",
}


def consequence(where: str) -> str:
    """Of a fault of this thing: a hook's name, or words such as `channel adt`."""
    return next((text for beginning, text in _BY_BEGINNING.items() if where.startswith(beginning)), "the rest goes on")
