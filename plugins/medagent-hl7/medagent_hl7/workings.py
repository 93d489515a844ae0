"""What the parameters of a channel's address ask for, put to work: one value, exchanged as a whole when they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medagent.config.model import Value
from medagent.listening import Notices
from medagent.types import AcceptanceRules, KeepsAnswer
from medagent_hl7.acceptance import Acceptance, Objection
from medagent_hl7.acknowledgment import INTERNAL_ERROR
from medagent_hl7.allow import AllowedPeers, AllowedSenders
from medagent_hl7.batch import BatchSettings
from medagent_hl7.block_replies import BlockReplies
from medagent_hl7.keys import FieldPath, key_path
from medagent_hl7.limits import Limits
from medagent_hl7.message import Header
from medagent_hl7.reading import TextReader
from medagent_hl7.replies import Replies
from medagent_hl7.rules import acceptance_rules
from medagent_hl7.settings import Hl7Settings

NOT_ALLOWED = Objection("This sender is not allowed here", INTERNAL_ERROR)


@dataclass(frozen=True, slots=True)
class Workings:
    """How a channel treats its connections and the messages that it reads."""

    replies: Replies
    """To frames."""
    message_replies: Replies
    """To messages inside a batch: without blocks of MLLP release 2."""
    acceptance: Acceptance
    reader: TextReader
    limits: Limits
    peers: AllowedPeers | None
    """None for all."""
    senders: AllowedSenders | None
    """None for all."""
    rules: AcceptanceRules
    batches: BatchSettings
    key_path: FieldPath | None
    verify: bool
    """Whether MSH-13 is verified."""
    release2: bool
    """Whether the channel speaks MLLP release 2."""

    @classmethod
    def from_parameters(
        cls, parameters: Mapping[str, Value], notices: Notices, keeps_answer: KeepsAnswer | None = None
    ) -> Workings:
        """Read checked parameters; a missing one has its default. `keeps_answer` is as of `AcceptanceRules`."""
        settings = Hl7Settings.from_parameters(parameters)
        release2 = settings.mllp_release == 2
        return cls(
            replies=(BlockReplies if release2 else Replies)(settings),
            message_replies=Replies(settings),
            acceptance=Acceptance(settings),
            reader=TextReader(settings, notices),
            limits=Limits.from_parameters(parameters),
            peers=AllowedPeers.from_parameters(parameters),
            senders=AllowedSenders.from_parameters(parameters),
            rules=acceptance_rules(parameters, keeps_answer),
            batches=BatchSettings.from_parameters(parameters),
            key_path=key_path(parameters),
            verify=parameters.get("verifySeqNo") is True,
            release2=release2,
        )

    def objection(self, header: Header, body: bytes) -> Objection | None:
        """What is to be said against a message, beginning with its sender."""
        if self.senders is not None and header not in self.senders:
            return NOT_ALLOWED
        return self.acceptance.objection(header, body)
