"""The interpreter's search for cyclic garbage, fitted to a process that starts once and then handles messages for months.

What a start makes stays for ever, and is many times what the messages under way are: each full search of it holds everything
up for tens of milliseconds, and finds nothing. Messages themselves make no cycles.
"""

from __future__ import annotations

import gc

NEW_OBJECTS = 20_000
"""More objects made than freed since the last search make the next; the interpreter's own limit is 700."""


def search_rarely() -> None:
    """From now on; to be called first thing."""
    gc.set_threshold(NEW_OBJECTS, 10, 10)


def keep_all() -> None:
    """What there is now is not searched again: to be called once the agent works."""
    gc.collect()
    gc.freeze()
