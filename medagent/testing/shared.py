"""Public sample messages and protocol recordings that lie beside a checkout on some machines."""

from __future__ import annotations

from pathlib import Path


def _beside_checkout(relative: str) -> Path | None:
    path = Path(__file__).resolve().parents[2].parent / "shared" / relative
    return path if path.is_dir() else None


def corpus() -> Path | None:
    """The folder of public HL7 v2 sample messages (`*.hl7`), or None where it is missing."""
    return _beside_checkout("hl7/corpus")


def transcripts() -> Path | None:
    """The folder of recordings from a real server (`*.jsonl`), or None where it is missing."""
    return _beside_checkout("protocol/transcripts")
