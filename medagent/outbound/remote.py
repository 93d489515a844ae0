"""How texts show a device's address: what else stands in it may be a password or, by a caller's mistake, a patient's data."""

from __future__ import annotations

import re

_HOST = r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})"
_URL = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]{{0,19}}://)(?:[^/?#]*@)?{_HOST}(:\d{{1,9}})?(?:[/?#].*)?", re.DOTALL)
_BARE = re.compile(rf"{_HOST}:\d{{1,9}}")


def show_remote(remote: str) -> str:
    """Scheme, host and port of the address `remote`; of what is none, the length alone."""
    if found := _URL.fullmatch(remote):
        return f'"{"".join(part or "" for part in found.groups())}"'
    return f'"{remote}"' if _BARE.fullmatch(remote) else f"the address of {len(remote)} characters"
