"""The client's secret; one that stands in a file is read again after a refusal, so that mending the file is enough."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from medagent.errors import ConfigError

log = logging.getLogger(__name__)


class ClientSecret:
    """What the agent shows the token endpoint."""

    def __init__(self, value: str, file: Path | None = None) -> None:
        """`file`: where it was read; None if it came some other way."""
        self.value = value
        self._file = file
        self._told = ""

    async def read_again(self) -> None:
        """Take what the file holds now; if it cannot be used, the last secret stays, and the log says so once."""
        if self._file is None:
            return
        try:
            # in a thread: the file may lie on a file system that hangs
            self.value = await asyncio.to_thread(read_secret, self._file)
            self._told = ""
        except ConfigError as error:
            if str(error) != self._told:
                log.error("%s; the secret that was read before is tried on", error)
            self._told = str(error)

    @property
    def way_to_mend(self) -> str:
        """What to do when the server refuses it."""
        if self._file is None:
            return "a mended secret is used after a restart of the agent"
        if self._file.parent == Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere")):
            return f"{self._file} is systemd's copy, made when the service started: mend its source and restart the service"
        return f"{self._file} is read again for each try"


def read_secret(path: Path) -> str:
    """The secret that a file holds, without the white space around it. Raises `ConfigError`, which does not quote it."""
    try:
        secret = path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    if not secret:
        raise ConfigError(f"{path}: it is empty")
    return secret
