"""How long an agent needs to listen again when much has gathered in its queue, after a kill."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from medagent.testing.crash_site import MODES, CrashSite


async def restart_with_backlog(count: int, folder: str | None) -> float:
    """Queue `count` messages while the server answers nothing, kill the agent; returns the next one's seconds to listening."""
    channels = {f"aa{number}": MODES["aa"] for number in range(4)}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="medagent-backlog-", dir=folder) as path:
        site = CrashSite(Path(path), strategy="batched", channels=channels, window=1000, sizes=(500, 1000))
        async with site:
            async with site.agent() as process:
                await site.listening(process)
                site.fhir.faults.mute = True
                for sender in site.all_senders:
                    sender.left = -(-count // len(site.all_senders))
                await site.load(process)
                await process.kill()
            print(f"{time.monotonic() - begin:6.0f} s  {count} messages are queued", file=sys.stderr, flush=True)
            async with site.agent() as process:
                await site.listening(process)
                await process.kill()
    return site.restart_seconds[-1]


if __name__ == "__main__":
    print(asyncio.run(restart_with_backlog(100_000, None)))
