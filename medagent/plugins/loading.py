"""Loading the chosen plugins one by one: what is wrong with one is its own affair."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

from medagent.errors import PluginError, PluginTimeout
from medagent.guard.place import raised_at
from medagent.plugins.discovery import Candidate
from medagent.plugins.marker import ImportMarker
from medagent.printable import printable

log = logging.getLogger(__name__)

MAX_REASON = 400
"""Characters of a reason that are shown."""


def load(
    candidates: Sequence[Candidate], add: Callable[[Candidate], None], marker: ImportMarker, *, mark: bool
) -> Iterator[tuple[Candidate, str]]:
    """Give each to `add`, which imports it; yields those that are left out, with the reason.

    If a start has ended within an import and left its `marker`, imports are tried in other processes first. `mark` has this one
    leave a marker too.
    """
    never_end: Mapping[str, str] = {}
    if mark and candidates:
        marker.take()
    try:
        if candidates and (interrupted := marker.read()):
            log.warning("a start has ended within the import of plugin %s: imports are tried apart first", interrupted)
            from medagent.plugins.probing import probe

            never_end = probe([each.value for each in candidates if not each.fault])
        for candidate in candidates:
            marker.write(candidate.name)
            if reason := candidate.fault or never_end.get(candidate.value) or _why_not(candidate, add):
                log.error("plugin %s (%s) is left out: %s", candidate.name, candidate.origin, reason)
                yield candidate, reason
    finally:
        marker.release([each.name for each in candidates if each.value in never_end])


def _why_not(candidate: Candidate, add: Callable[[Candidate], None]) -> str:
    package = candidate.value.partition(":")[0].partition(".")[0].strip()
    try:
        add(candidate)
    except KeyboardInterrupt:
        raise
    # an import runs a stranger's code: whatever it raises must not stop the others
    except BaseException as error:  # noqa: BLE001  as said above
        place = "" if isinstance(error, PluginTimeout) else raised_at(error, lambda frame: _package_of(frame) == package)
        return reason_of(error) + place
    return ""


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def reason_of(error: BaseException) -> str:
    """What a plugin has raised, in one line."""
    try:
        text = " ".join(str(error).split())
    # an exception class of the plugin's may have a text that fails too
    except Exception:  # noqa: BLE001  as said above
        text = ""
    return printable(text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}", MAX_REASON)
