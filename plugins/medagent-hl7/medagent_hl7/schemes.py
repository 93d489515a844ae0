"""The URL schemes of the channels of this plugin."""

from __future__ import annotations

MLLP = "mllp"
MLLPS = "mllps"
"""MLLP over TLS."""
SCHEMES = (MLLP, MLLPS)
