"""`python -m medagent` is `medagent`."""

from __future__ import annotations

import sys

from medagent.cli.main import main

if not sys.flags.safe_path:
    # as for the installed command: nothing is imported from the folder in which it is started
    del sys.path[0]
main()
