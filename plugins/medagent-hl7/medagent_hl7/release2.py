"""MLLP release 2: the one-byte blocks that say whether the data of a block is stored (HL7 v2 transport specification, MLLP R2).

Who sends a block waits for the receiver's 0x06 or 0x15 before the next one. These blocks are of the transport: they say nothing
in HL7, carry no control ID and are never acknowledged themselves. The wait is what ties them to what was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from medagent_hl7.answers import ConnectionLost, NotCommitted
from medagent_hl7.framing import encode_frame

COMMITTED = b"\x06"
"""The data of a commit acknowledgment block."""
NOT_COMMITTED = b"\x15"
"""The data of a negative commit acknowledgment block."""
COMMITTED_FRAME = encode_frame(COMMITTED)
NOT_COMMITTED_FRAME = encode_frame(NOT_COMMITTED)
MAX_ATTEMPTS = 3
"""How often a block is written before its sender gives up."""


def is_transport_block(body: bytes) -> bool:
    """Whether a frame's data is 0x06 or 0x15."""
    return body in (COMMITTED, NOT_COMMITTED)


class StopAndWait:
    """The sender's side of one connection: one block at a time, written again after 0x15 or a time-out.

    After a time-out the answer to the first writing may still come, and could be taken for that to a later block. The
    connection is `in_doubt` from then on, and takes no other block than the one it is at.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        """`write` sends one block."""
        self._write = write
        self._turn = asyncio.Lock()
        self._verdict: asyncio.Future[bytes] | None = None
        self.in_doubt = False
        self.last = b""
        """What the receiver answered to the last block; nothing if it did not answer in time, or has not yet."""
        self._heard = False
        """Whether any answer has come on this connection."""

    async def send(self, body: bytes, timeout: float) -> None:
        """Send a block when those before it are settled; return when the receiver has it. `timeout`: seconds an attempt.

        Raises `NotCommitted` and, if the connection ends or is in doubt, `ConnectionLost`.
        """
        async with self._turn:
            if self.in_doubt:
                raise ConnectionLost("the connection is out of step: an answer to an earlier block did not come in time")
            self.last = b""
            for _ in range(MAX_ATTEMPTS):
                self.last = await self._attempt(body, timeout)
                if self.last == COMMITTED:
                    return
            if self.last:
                raise NotCommitted(f"not stored by the receiver: refused by 0x15, {MAX_ATTEMPTS} attempts")
            text = f"no commit acknowledgment block within {timeout:g} s in {MAX_ATTEMPTS} attempts"
            question = "" if self._heard else "; does the receiver speak MLLP release 2?"
            raise NotCommitted(f"not known to be stored: {text}{question}")

    async def _attempt(self, body: bytes, timeout: float) -> bytes:
        """Write the block once; return the data of the answer, or nothing after a time-out."""
        self._verdict = asyncio.get_running_loop().create_future()
        self._write(body)
        try:
            async with asyncio.timeout(timeout):
                return await self._verdict
        except TimeoutError:
            self.in_doubt = True
            return b""
        except asyncio.CancelledError:
            self.in_doubt = True
            raise
        finally:
            self._verdict = None

    def received(self, block: bytes) -> None:
        """0x06 or 0x15 has come in."""
        self._heard = True
        if self._verdict is None or self._verdict.done():
            self.in_doubt = True
        else:
            self._verdict.set_result(block)

    def lost(self, reason: str) -> None:
        """The connection has ended; `reason` is the receiver's, "" if it gave none."""
        self.in_doubt = True
        if self._verdict is not None and not self._verdict.done():
            self._verdict.set_exception(ConnectionLost(f"{reason} before it acknowledged the block"))
