"""The child process in which the import of one plugin is tried: `python -m medagent.plugins.probe package.module:object`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

PROBE_SECONDS = 10.0
"""For the import and the start of the process that tries it."""
SURVIVED = 90
"""Exit code of a child whose import has come to an end, well or not; no other end has it by chance."""
ORPHAN_SECONDS = 5
"""More than `PROBE_SECONDS`: then the child ends by itself, should the agent have been killed."""


def main(value: str) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, PROBE_SECONDS + ORPHAN_SECONDS)

    from medagent.plugins.importing import import_object
    from medagent.plugins.manager import Plugins

    # that it raises is for the agent to find, and to tell
    with contextlib.suppress(BaseException):
        Plugins(entry_points=False).register(import_object(value), "probed")
    os._exit(SURVIVED)


if __name__ == "__main__":
    main(sys.argv[1])
