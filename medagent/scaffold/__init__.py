"""New plugins: a distribution that installs, keeps its contract and runs, for its author to change."""

from __future__ import annotations

from medagent.scaffold.names import Names
from medagent.scaffold.writing import Kind, write

__all__ = ["Kind", "Names", "write"]
