"""The URL schemes that this plugin serves, and what their messages are called."""

from __future__ import annotations

MLLP = "mllp"
MLLPS = "mllps"
"""MLLP over TLS."""
SCHEMES = (MLLP, MLLPS)
CONTENT_TYPE = "x-application/hl7-v2+er7"
"""Of HL7 v2 messages in the agent protocol."""
