"""Pinging a host by the system's `ping`, so that no privileges are needed."""

from __future__ import annotations

import asyncio
import ipaddress
import re

from medagent.errors import MedagentError
from medagent.outbound.remote import show_remote

CONTENT_TYPE = "x-application/ping"
MAX_COUNT = 10
REPLY_SECONDS = 2
"""How long each reply is waited for."""
SPARE_SECONDS = 3.0
MOST_AT_ONCE = 5
MOST_WAITING = 20
"""Pings beside these; each is a process, and more are refused."""
MAX_OUTPUT = 10_000
"""Characters of its output that are told."""
_BODY = re.compile(r"PING(?:\s+(\d{1,9}))?\s*", re.IGNORECASE)
_NAME = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")


class PingFailed(MedagentError):
    """The host was not pinged, or does not answer."""


class Pings:
    """Those of one agent: a few at once, some more wait."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._asked_for = 0

    async def ping(self, host: object, body: object) -> str:
        """As `ping`, when it is its turn; `PingFailed` also if too many wait."""
        if self._asked_for >= MOST_AT_ONCE + MOST_WAITING:
            raise PingFailed(f"{self._asked_for} pings have not ended yet; ask again later")
        self._asked_for += 1
        try:
            async with self._turns:
                return await ping(host, body)
        finally:
            self._asked_for -= 1


async def ping(host: object, body: object) -> str:
    """Ping `host` as `body` asks, `PING` or `PING n`; what the program prints. Raises `PingFailed`."""
    command = ["ping", "-c", str(_count(body)), "-W", str(REPLY_SECONDS), _checked(host)]
    seconds = _count(body) * REPLY_SECONDS + SPARE_SECONDS
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        hint = "; install it (on Debian, the package iputils-ping)" if isinstance(error, FileNotFoundError) else ""
        raise PingFailed(f"the program ping cannot be run on the agent's machine: {error.strerror}{hint}") from None
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    except TimeoutError:
        raise PingFailed(f"{' '.join(command)} did not end within {seconds:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode(errors="replace").strip()[:MAX_OUTPUT]
    if process.returncode:
        raise PingFailed(f"{' '.join(command)} failed with exit code {process.returncode}: {text}")
    return text


def _count(body: object) -> int:
    found = _BODY.fullmatch(body) if isinstance(body, str) else None
    count = int(found[1] or 1) if found else 0
    if not 1 <= count <= MAX_COUNT:
        # its length alone: what is sent as a ping by mistake may be a message
        found_instead = f"{len(body)} characters" if isinstance(body, str) else "no text"
        raise PingFailed(f"the body of a ping is PING, or PING and a number from 1 to {MAX_COUNT}; found {found_instead}")
    return count


def _checked(host: object) -> str:
    """The host, if it can be taken for nothing else, such as an option."""
    if isinstance(host, str):
        try:
            return str(ipaddress.ip_address(host.partition("%")[0])) + _zone(host)
        except ValueError:
            if _NAME.fullmatch(host):
                return host
    shown = show_remote(host) if isinstance(host, str) else "what is no text"
    raise PingFailed(f"{shown} is no IP address and no host name")


def _zone(host: str) -> str:
    _, separator, zone = host.partition("%")
    if separator and not zone.isalnum():
        raise ValueError("no network interface")
    return separator + zone
