"""A file in the state folder that names the plugin being imported: if it is still there at the next start, that import has
never ended. Nothing else tells of code that hangs where no signal reaches it, or takes the process with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from medagent.folders import make_folder
from medagent.printable import printable

MARKER_NAME = "plugin-import"
MAX_BYTES = 1000


class ImportMarker:
    """Of one state folder. A folder that cannot be used is no error here: the queue's lock says so better."""

    def __init__(self, state_dir: Path | None) -> None:
        """Without a state folder there is none, and none is left."""
        self._path = state_dir / MARKER_NAME if state_dir is not None else None
        self._descriptor: int | None = None

    def read(self) -> str:
        """What an earlier start was importing when it ended, or another start is importing now; "" for nothing."""
        if self._path is None:
            return ""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return ""
        try:
            return printable(os.read(descriptor, MAX_BYTES).decode(errors="replace").strip(), MAX_BYTES)
        except OSError:
            return ""
        finally:
            os.close(descriptor)

    def take(self) -> None:
        """From now on it is this process's, unless another one has it: then nothing is marked."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            make_folder(self._path.parent)
            self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._close()
                return
            # whoever had it before may have removed it meanwhile
            if not os.fstat(self._descriptor).st_nlink:
                self._close()

    def write(self, text: str) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, text.encode()[:MAX_BYTES], 0)

    def release(self, never_ended: Sequence[str]) -> None:
        """Remove it; or leave it, if plugins were left out because their imports never end."""
        if self._descriptor is None or self._path is None:
            return
        if never_ended:
            self.write(", ".join(never_ended))
        else:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
