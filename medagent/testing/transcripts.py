"""Reading the recordings of a real server that lie beside a checkout on some machines (`medagent.testing.shared`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medagent.testing.shared import transcripts

TO_SERVER = "agent->server"
TO_AGENT = "server->agent"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened."""

    t_ms: int
    """Milliseconds since the recording began; a REST call is noted when it ended."""
    channel: str
    """`ws`, `http`, `rest`, `mllp`, `peer`, `agent-log`, `agent-exit` or `note`."""
    # a recorded line as decoded JSON
    raw: Mapping[str, Any]

    @property
    def direction(self) -> str:
        """`TO_SERVER`, `TO_AGENT`, or such as `device->agent`; "" for an event."""
        return str(self.raw.get("dir", ""))

    @property
    def event(self) -> str:
        """Such as `open` or `close`; "" for data."""
        return str(self.raw.get("event", ""))

    @property
    def connection(self) -> str:
        """Which WebSocket or device connection; "" for the reference agent's own."""
        return str(self.raw.get("conn", ""))

    # a frame as decoded JSON
    @property
    def frame(self) -> dict[str, Any] | str:
        """Of `ws`: the frame, or the text if it was none (long texts are abbreviated)."""
        frame: dict[str, Any] | str = self.raw["frame"]
        return frame


def names() -> list[str]:
    """The names of all recordings, without suffix; none where they are missing."""
    folder = transcripts()
    return sorted(path.stem for path in folder.glob("*.jsonl")) if folder is not None else []


def load(prefix: str) -> list[Line]:
    """The lines of the recording whose name begins with `prefix` and a hyphen, such as `02`. Raises `LookupError`."""
    folder = transcripts()
    paths = sorted(folder.glob(f"{prefix}-*.jsonl")) if folder is not None else []
    if len(paths) != 1:
        raise LookupError(f"{len(paths)} recordings begin with {prefix}-")
    decoded = [json.loads(text) for text in paths[0].read_text(encoding="utf-8").splitlines()]
    return [Line(raw.get("t_ms", 0), raw.get("ch", ""), raw) for raw in decoded]
