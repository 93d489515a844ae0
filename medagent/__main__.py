"""`python -m medagent` is `medagent`."""

from __future__ import annotations

from medagent.cli.main import main

main()
