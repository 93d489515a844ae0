"""Validation of raw JSON by fhir.resources, in this process or in one of its own, which takes what the library costs with it.

The library takes 0.2 s and 15 MB, and an agent needs it only when it reads its configuration: `work_apart` has it loaded in a
child process, beside the rest of a start, and `rest` gives the memory back. What is found is the same in both.
"""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from medagent.interpreter import command_of

log = logging.getLogger(__name__)

Finding = tuple[str, str]
"""Where, relative to what was validated, such as `identifier[0].system` ("" for the whole); and what is wrong."""

ANSWER_SECONDS = 10.0
"""For the start of a child process and its answer."""
AGENT, SETTING, CHANNEL, ENDPOINT = "Agent", "Agent.setting", "Agent.channel", "Endpoint"
"""What can be validated. Of an Agent, `contained` resources are not: they are checked where they are used."""


class _Child:
    """A process that validates, told and answering by one JSON value a line (`medagent.fhir.validate`)."""

    def __init__(self) -> None:
        """Raises `OSError`."""
        command = command_of("medagent.fhir.validate")
        ours, its = socket.socketpair()
        with ours, its:
            ours.settimeout(ANSWER_SECONDS)
            self._process = subprocess.Popen(  # noqa: S603  the interpreter's own file and flags
                command,
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a key pressed in the agent's terminal is not for it
            )
            self._stream = ours.makefile("rwb")  # keeps `ours` open

    # decoded JSON that nobody has validated yet
    def ask(self, kind: str, raw: Mapping[str, Any]) -> list[Finding]:
        """Raises `OSError`, or `ValueError` and others for what it does not answer or JSON does not hold."""
        self._stream.write(json.dumps([kind, raw]).encode() + b"\n")
        self._stream.flush()
        return [(where, what) for where, what in json.loads(self._stream.readline())]

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        with suppress(OSError):  # what was not sent is for nobody any more
            self._stream.close()


class _Place:
    """Where this process has resources validated. Findings depend on what is validated alone, so all agents in it share it."""

    def __init__(self) -> None:
        self.apart = False
        self.child: _Child | None = None
        self.lock = threading.Lock()
        """Held while somebody asks the child."""


_place = _Place()


# decoded JSON that nobody has validated yet
def validate(kind: str, raw: Mapping[str, Any]) -> list[Finding]:
    """What fhir.resources finds wrong with what is said to be a `kind`; never raises, whatever the JSON."""
    with _place.lock:
        if _place.apart:
            try:
                _place.child = _place.child or _Child()
                return _place.child.ask(kind, raw)
            # RecursionError and TypeError: as the library is to find it
            except (OSError, ValueError, TypeError, RecursionError) as error:
                reason = type(error).__name__
                log.warning("the process that validates resources fails (%s): they are validated in this one", reason)
                _place.apart = False
                _end_child()
    from medagent.fhir.validate import find

    return find(kind, raw)


def work_apart() -> None:
    """Have resources validated in a child process, which begins to load the library now."""
    with _place.lock:
        _place.apart = True
        with suppress(OSError):  # it is tried again when there is something to validate
            _place.child = _place.child or _Child()


def rest() -> None:
    """End the child process until there is something to validate again."""
    with _place.lock:
        _end_child()


def _end_child() -> None:
    child, _place.child = _place.child, None
    if child is not None:
        child.end()
