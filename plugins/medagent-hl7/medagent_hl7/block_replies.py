"""What a listener of MLLP release 2 sends: a commit acknowledgment block for each block, before what release 1 would send."""

from __future__ import annotations

from medagent.types import Refusal
from medagent_hl7.message import Header
from medagent_hl7.release2 import COMMITTED_FRAME, NOT_COMMITTED_FRAME
from medagent_hl7.replies import Replies


class BlockReplies(Replies):
    """As `Replies`. The acknowledgments of HL7 follow the block as blocks of their own, and not one of them is left out."""

    def to_commit(self, header: Header) -> bytes:
        return COMMITTED_FRAME + (super().to_commit(header) or b"")

    def to_refusal(self, header: Header, refusal: Refusal) -> bytes:
        return NOT_COMMITTED_FRAME + (super().to_refusal(header, refusal) or b"")

    def to_unacceptable(self, header: Header, text: str, error_code: int, error_field: int | None = None) -> bytes:
        return NOT_COMMITTED_FRAME + (super().to_unacceptable(header, text, error_code, error_field) or b"")

    def to_unreadable(self) -> bytes:
        return NOT_COMMITTED_FRAME

    def to_ignored(self) -> bytes:
        return COMMITTED_FRAME
