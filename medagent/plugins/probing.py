"""Trying the imports of plugins in child processes, which a hang or a crash then takes instead of the agent."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from medagent.interpreter import command_of
from medagent.plugins.probe import PROBE_SECONDS, SURVIVED

POLL_SECONDS = 0.01


def probe(values: Sequence[str]) -> Mapping[str, str]:
    """Import each of these entry points' values in a process of its own, all at once.

    Returns, by value, what is wrong with those that hang or end the process; a mere exception is not. The children, and what
    they have started in their process groups, are killed.
    """
    children: dict[str, subprocess.Popen[bytes]] = {}
    faults = {}
    try:
        for value in values:
            try:
                children[value] = _start(value)
            except OSError as error:
                faults[value] = f"its import cannot be tried in a process of its own: {error.strerror}"
        end = time.monotonic() + PROBE_SECONDS
        for value, child in children.items():
            if fault := _fault(child, end):
                faults[value] = fault
    finally:
        for child in children.values():
            _kill(child)
    return faults


def _start(value: str) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(  # noqa: S603  the value is an installed plugin's
        command_of("medagent.plugins.probe", value),
        stdin=nowhere,
        stdout=nowhere,
        stderr=nowhere,
        start_new_session=True,
    )


def _fault(child: subprocess.Popen[bytes], end: float) -> str:
    """ "" if it has come to its end in time."""
    # it is not reaped yet: until then its id, which is also its group's, is nobody else's
    while (found := os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)) is None:
        if time.monotonic() > end:
            return f"its import takes more than {PROBE_SECONDS:g} s"
        time.sleep(POLL_SECONDS)
    if found.si_code == os.CLD_EXITED:
        return "" if found.si_status == SURVIVED else f"its import ends the process with code {found.si_status}"
    try:
        name = signal.Signals(found.si_status).name
    except ValueError:
        name = str(found.si_status)
    return f"its import ends the process by signal {name}"


def _kill(child: subprocess.Popen[bytes]) -> None:
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
