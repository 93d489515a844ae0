"""How a contract suite fails: with what was promised, where that is written, and what came instead."""

from __future__ import annotations

import pytest


def promised(kept: object, promise: str, where: str, found: str) -> None:
    """Fail the test if the promise was not kept. `where` names what documents it, `found` says what came instead."""
    if not kept:
        pytest.fail(f"{found}\npromised: {promise}\nwritten:  {where}", pytrace=False)
