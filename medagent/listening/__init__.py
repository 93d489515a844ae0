"""For channels that listen on TCP: what is the same for all of them, so that a plugin writes only its framing and its answers.

`TcpChannel` and `TcpConnection` are there to be subclassed; `limit_parameters` and `duplicate_parameters` declare the address
parameters that they obey.
"""

from __future__ import annotations

from medagent.listening.accepting import accept
from medagent.listening.channel import TcpChannel
from medagent.listening.connection import TcpConnection
from medagent.listening.duplicates import duplicate_parameters, duplicate_rules
from medagent.listening.limits import Limits, Overdue, limit_parameters
from medagent.listening.notices import Notices
from medagent.listening.senders import sender_of
from medagent.listening.sockets import format_address, open_sockets

__all__ = [
    "TcpChannel",
    "TcpConnection",
    "limit_parameters",
    "duplicate_parameters",
    "duplicate_rules",
    "sender_of",
    "Limits",
    "Overdue",
    "Notices",
    "open_sockets",
    "accept",
    "format_address",
]
