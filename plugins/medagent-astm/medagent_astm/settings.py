"""The parameters that the address of an `astm` Endpoint may hold, and their typed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medagent.config.model import Value
from medagent.config.settings import Parameter
from medagent.listening import duplicate_parameters, limit_parameters
from medagent_astm.events import Timing
from medagent_astm.frames import LONGEST_FRAME, OVERHEAD, SHORT_FRAME

SCHEME = "astm"
_DAY = 86_400_000


def _choice(name: str, default: str, help: str, *others: str) -> Parameter:  # noqa: A002  the name of the field
    return Parameter(name, (SCHEME,), str, default, help, choices=(default, *others))


def _milliseconds(name: str, default: int, help: str) -> Parameter:  # noqa: A002  as above
    return Parameter(name, (SCHEME,), int, default, f"{help}, milliseconds", minimum=1, maximum=_DAY)


PARAMETERS = (
    # a pause inside a frame is the line's own matter: see receiveTimeoutMs
    *(parameter for parameter in limit_parameters(SCHEME) if parameter.name != "frameIdleTimeoutMs"),
    _choice(
        "encoding",
        "iso-8859-1",
        "character set of the messages, of answers too",
        "utf-8",
        "ascii",
        "iso-8859-2",
        "iso-8859-5",
        "iso-8859-15",
        "windows-1250",
        "windows-1251",
        "windows-1252",
        "cp437",
        "cp850",
        "shift_jis",
        "gb18030",
    ),
    _choice(
        "checksum",
        "strict",
        "what becomes of a frame with a wrong checksum: strict refuses it, lenient takes it; both count it",
        "lenient",
    ),
    _choice(
        "messageEnd",
        "terminator",
        "what ends a message: terminator for its L record only; transmission for the end of the transmission too, "
        "which is then acknowledged before it is stored",
        "transmission",
    ),
    Parameter(
        "frameLength",
        (SCHEME,),
        int,
        SHORT_FRAME,
        "longest frame that is sent, bytes: 247 as of E1381, up to 64000 as of LIS01-A2. Longer ones are always taken",
        minimum=OVERHEAD + 1,
        maximum=LONGEST_FRAME,
    ),
    _choice(
        "answerFrames",
        "record",
        "what a frame of an answer ends with: record for the end of each record, message for that of the whole message",
        "message",
    ),
    *duplicate_parameters(SCHEME, control_id="a control ID (H-3)", sender="H-5 and IP address"),
    _milliseconds("replyTimeoutMs", 15_000, "how long the analyser has to reply to ENQ or to a frame"),
    _milliseconds(
        "receiveTimeoutMs", 30_000, "longest pause of an analyser inside its transmission; then it has lost the line"
    ),
    _milliseconds(
        "busyWaitMs",
        10_000,
        "until ENQ is sent again to an analyser that was busy; and the longest time until an analyser hears that the agent is",
    ),
    _milliseconds("refusalWaitMs", 1_000, "until an analyser hears that its message could not be stored, and sends it again"),
    _milliseconds("contentionWaitMs", 20_000, "until ENQ is sent again when both sides have sent it at once"),
    _milliseconds("interruptWaitMs", 15_000, "until ENQ is sent again to an analyser that has interrupted a transmission"),
    _milliseconds("answerTimeoutMs", 120_000, "how long an answer waits for the line to its analyser; then it is given up"),
)
_DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the address of a channel asks for. All times in seconds."""

    encoding: str
    strict: bool
    """A wrong checksum is refused."""
    needs_terminator: bool
    """Only an L record ends a message."""
    frame_length: int
    by_record: bool
    """Each record of an answer is a text of its own."""
    timing: Timing
    refusal_seconds: float
    answer_seconds: float

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Value]) -> Settings:
        """Read checked parameters; a missing one has its default."""
        values = {**_DEFAULTS, **parameters}

        def seconds(name: str) -> float:
            return int(values[name] or 0) / 1000

        return cls(
            encoding=str(values["encoding"]),
            strict=values["checksum"] == "strict",
            needs_terminator=values["messageEnd"] == "terminator",
            frame_length=int(values["frameLength"] or 0),
            by_record=values["answerFrames"] == "record",
            timing=Timing(
                reply=seconds("replyTimeoutMs"),
                receive=seconds("receiveTimeoutMs"),
                busy=seconds("busyWaitMs"),
                contention=seconds("contentionWaitMs"),
                interrupt=seconds("interruptWaitMs"),
            ),
            refusal_seconds=seconds("refusalWaitMs"),
            answer_seconds=seconds("answerTimeoutMs"),
        )
