"""Sending HL7 v2 over MLLP, with asyncio.

`Connection` moves frames and knows nothing of their content; `Client` sends one message at a time or several at once and
finds each one's acknowledgments by MSA-2. What is written goes out as it is, in the caller's bytes.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from medagent.errors import MedagentError
from medagent_hl7.framing import Frame, FrameDecoder, encode_frame
from medagent_hl7.message import Header, msa

COMMIT_CODES = ("CA", "CE", "CR")
APPLICATION_CODES = ("AA", "AE", "AR")
POSITIVE_CODES = ("CA", "AA")
MAX_ANSWER_BYTES = 1_048_576
