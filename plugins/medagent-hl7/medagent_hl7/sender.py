"""Sending the server's HL7 v2 messages to devices: an address and a text in, the device's final acknowledgment out."""

from __future__ import annotations

import asyncio
import ssl

from medagent.errors import ConfigError, DeviceError, Unsendable
from medagent.listening import format_address
from medagent.printable import printable
from medagent.sender import SenderContext
from medagent_hl7 import charset
from medagent_hl7.answers import Acknowledgment, Busy, ConnectFailed, SendFailed
from medagent_hl7.client import Remote
from medagent_hl7.client_tls import client_context
from medagent_hl7.destination import Destination, TlsFiles, parse_destination
from medagent_hl7.framing import END, START
from medagent_hl7.message import Header, Hl7Error
from medagent_hl7.pool import Pools
from medagent_hl7.schemes import CONTENT_TYPE

GRACE_SECONDS = 0.5
"""What the whole of an attempt may take beyond its time, so that the part that was too slow says so itself."""
MOST_SECURE = 1000
"""Addresses with TLS whose certificates are kept loaded."""

_Stamps = tuple[int, ...]


class Hl7Sender:
    """A `medagent.sender.Sender` for `mllp` and `mllps`.

    A CA is not the final answer, unless MSH-16 says that no other follows; the answer is the acknowledgment whose MSA-2 is
    the message's MSH-10 (HL7 v2.5.1, chapter 2.9). A message whose MSH-15 and MSH-16 say that none is due is answered by "".
    """

    content_type = CONTENT_TYPE

    def __init__(self, context: SenderContext) -> None:
        self._pools = Pools(keep_alive=context.keep_alive, max_clients=context.max_clients)
        self._secure: dict[tuple[str, int, TlsFiles], tuple[_Stamps, Remote]] = {}

    def prepare(self, remote: str, text: str) -> bytes:
        """As `Sender.prepare`: the text in the destination's encoding, its segments ended by CR."""
        destination = parse_destination(remote)
        try:
            body = text.replace("\r\n", "\r").replace("\n", "\r").encode(destination.codec)
        except UnicodeEncodeError as error:
            raise Unsendable(f"character {error.start + 1} of the message does not exist in {destination.encoding}") from None
        try:
            header = Header.parse(body)
        except Hl7Error as error:
            raise Unsendable(f"the message is no HL7 v2: {error}") from None
        if not header.control_id.strip():
            raise Unsendable("the message has no control ID (MSH-10), so no acknowledgment could be told to be its own")
        if START in body or END in body:
            raise Unsendable("the message holds the start or end block of MLLP, 0x0B or 0x1C 0x0D")
        return body

    async def send(self, remote: str, body: bytes, seconds: float) -> str:
        """As `Sender.send`."""
        destination = parse_destination(remote)
        where = format_address((destination.host, destination.port))
        pool = self._pools.to(self._remote(destination))
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                answers = await pool.send(body, timeout=seconds, wait=seconds)
        except (Busy, ConnectFailed) as error:
            raise DeviceError(_about(where, error)) from None
        except SendFailed as error:
            raise DeviceError(_about(where, error), may_have_it=True) from None
        except TimeoutError:
            raise DeviceError(f"{where}: no final answer within {seconds:g} s", may_have_it=True) from None
        return charset.read(_final(answers), destination.codec)[0]

    def reconfigure(self, context: SenderContext) -> None:
        """As `Sender.reconfigure`."""
        self._pools.reconfigure(keep_alive=context.keep_alive, max_clients=context.max_clients)

    async def close(self) -> None:
        """As `Sender.close`."""
        await self._pools.close()

    def _remote(self, destination: Destination) -> Remote:
        """The same for the same device, so that its connections are used again; another one once a TLS file has changed."""
        host, port, files = destination.host, destination.port, destination.tls
        if files is None:
            return Remote(host, port)
        stamps = _stamps(files)
        known = self._secure.get((host, port, files))
        if known is not None and known[0] == stamps:
            return known[1]
        remote = Remote(host, port, _context(files))
        self._secure[host, port, files] = stamps, remote
        if known is None and len(self._secure) > MOST_SECURE:
            known = self._secure.pop(next(iter(self._secure)))
        if known is not None:
            self._pools.retire(known[1])
        return remote


def _about(where: str, error: Exception) -> str:
    text = str(error)
    return text if where in text else f"{where}: {text}"


def _final(answers: list[Acknowledgment]) -> bytes:
    return next((answer.body for answer in answers if answer.code != "CA"), answers[0].body if answers else b"")


def _context(files: TlsFiles) -> ssl.SSLContext:
    try:
        return client_context(files.ca, files.cert, files.key)
    except ConfigError as error:
        raise DeviceError(str(error)) from None


def _stamps(files: TlsFiles) -> _Stamps:
    """What changes when a file does."""
    try:
        return tuple(file.stat().st_mtime_ns for file in (files.ca, files.cert, files.key) if file is not None)
    except OSError as error:
        raise DeviceError(f"{printable(str(error.filename), 200)} cannot be read: {error.strerror}") from None
