"""The text of a message, as it is forwarded: decoded by its character set, with notices about what cannot be. Without I/O."""

from __future__ import annotations

from medagent.listening import Notices
from medagent_hl7 import charset
from medagent_hl7.charset import Unusable
from medagent_hl7.message import Header
from medagent_hl7.settings import Hl7Settings


class TextReader:
    """Reads the messages of one channel."""

    def __init__(self, settings: Hl7Settings, notices: Notices) -> None:
        self._codec = settings.codec
        self._invalid_text = settings.invalid_text
        self._notices = notices

    def read(self, header: Header, body: bytes, remote: str) -> str:
        """Never raises; a message that was accepted before `invalidText` became `reject` is passed."""
        codec = charset.codec_of(header, self._codec)
        if codec is self._codec and charset.declared(header) is Unusable.UNKNOWN:
            self._note_unknown(header, remote)
        text, valid = charset.decode(body, codec, self._invalid_text)
        if not valid:
            self._notices.add("message not valid in its character set", f"{codec} expected, from {remote}")
        return text

    def _note_unknown(self, header: Header, remote: str) -> None:
        """Once for each sender and name. The name is not logged: a shifted field may hold anything."""
        sender = remote.rpartition(":")[0]
        name = header.field(18)[: charset.LONGEST_FIELD]
        self._notices.add_once("unknown character set in MSH-18", (sender, name), f"read as {self._codec}, from {sender}")
