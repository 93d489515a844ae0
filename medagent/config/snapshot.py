"""The last good configuration, kept in the state folder for a start without the server: `snapshot.json`.

Two lines of JSON: a head with the form's version and the SHA-256 of the second line, and what is kept. Written to a file beside
it that is flushed and takes its name: after a crash or a power cut either the old one is there or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from medagent.config.keepsake import reduce_source
from medagent.config.settings import Registry
from medagent.fhir.source import Source
from medagent.folders import sync_folder

log = logging.getLogger(__name__)

SNAPSHOT_NAME = "snapshot.json"
VERSION = 1
LATEST = 253_402_300_800.0
"""The year 10000, seconds since the epoch."""
MAX_BYTES = 16 * 1024 * 1024
"""A larger file is none of ours."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A configuration that was in force."""

    source: Source
    """Only what `reduce_source` keeps of it."""
    saved_at: float
    """When it was first saved as it is, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class _Content:
    """The second line."""

    server: str
    agent_id: str
    saved_at: float
    # decoded JSON that nobody has validated yet
    agent: dict[str, Any]
    endpoints: dict[str, dict[str, Any]]
    faults: dict[str, str]
    origin: str


class _Unusable(Exception):
    """Why a snapshot is not used."""


def save(state_dir: Path, source: Source, *, server: str, agent_id: str, registry: Registry) -> None:
    """Keep a configuration that has been applied; nothing is written if it is kept already. Blocks for two flushes.

    `server` and `agent_id` are those of the `Bootstrap`. Raises `OSError`; then the old snapshot
    or the new one is there, whole.
    """
    kept = reduce_source(source, registry)
    with contextlib.suppress(_Unusable, FileNotFoundError):
        if _read(state_dir, server, agent_id).source == kept:
            return
    content = _Content(
        server=server,
        agent_id=agent_id,
        saved_at=time.time(),
        agent=dict(kept.agent),
        endpoints={name: dict(endpoint) for name, endpoint in kept.endpoints.items()},
        faults=dict(kept.faults),
        origin=kept.origin,
    )
    body = json.dumps(asdict(content)).encode()
    head = json.dumps({"version": VERSION, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    _write(state_dir, head + b"\n" + body + b"\n")


def load(state_dir: Path, *, server: str, agent_id: str) -> Snapshot | None:
    """The configuration saved last for this Agent of this server; None if there is none. Never raises.

    One that is there and cannot be used is logged with the reason.
    """
    try:
        return _read(state_dir, server, agent_id)
    except FileNotFoundError:
        return None
    except _Unusable as unusable:
        log.warning("the saved configuration in %s is not used: %s", state_dir / SNAPSHOT_NAME, unusable)
        return None


def _read(state_dir: Path, server: str, agent_id: str) -> Snapshot:
    """Raises `FileNotFoundError` or `_Unusable`."""
    try:
        # not to wait for a writer, should it be a pipe
        with open(os.open(state_dir / SNAPSHOT_NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            data = file.read(MAX_BYTES + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _Unusable(error.strerror) from None
    first, _, rest = data.partition(b"\n")
    head = _decoded(first)
    if len(data) > MAX_BYTES or not isinstance(head, Mapping) or "version" not in head:
        raise _Unusable("it is no snapshot")
    if head["version"] != VERSION:
        raise _Unusable(f"it is of another version than {VERSION}")
    body = rest.removesuffix(b"\n")
    if not rest.endswith(b"\n") or head.get("sha256") != hashlib.sha256(body).hexdigest():
        raise _Unusable("it is damaged: its checksum is wrong")
    try:
        content = msgspec.convert(_decoded(body), _Content)
    except msgspec.ValidationError:
        raise _Unusable("it is no snapshot") from None
    if not 0 <= content.saved_at < LATEST:
        raise _Unusable("it is no snapshot")
    if content.server != server:
        raise _Unusable("it is of another server")
    if content.agent_id != agent_id:
        raise _Unusable("it is of another Agent")
    return Snapshot(Source(content.agent, content.endpoints, content.faults, content.origin), content.saved_at)


# JSON of any form
def _decoded(line: bytes) -> Any:
    """None if it is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _write(state_dir: Path, data: bytes) -> None:
    path, new = state_dir / SNAPSHOT_NAME, state_dir / f"{SNAPSHOT_NAME}.new"
    new.unlink(missing_ok=True)  # a crash may have left it
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync_folder(state_dir)
