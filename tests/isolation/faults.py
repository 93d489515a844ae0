"""Plugins that are faulty in one way each: the source of a distribution, and where the fault must show.

Those with a channel are the channel of `docs/examples/medagent-lines` with one thing broken.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One faulty distribution, `medagent-fault-<name>`."""

    source: str
    """`SCHEME` in it stands for the scheme of its own, `CHANNEL` for the channel that it is to harm."""
    told: str
    """What the reason must hold, in `medagent plugins` for one that cannot be loaded, else in `medagent status`."""
    own_scheme: bool = False
    """The channel that it is to harm is of its own scheme."""
    loads: bool = True
    """It can be loaded: the fault is in what it does afterwards."""
    entry_point: str = ""
    """Its name, if that is the fault."""
    requires: str = ""
    """Another requirement of the distribution, which nothing meets."""
    blocks: bool = False
    """It blocks the event loop, which no other channel can be spared."""
    starts_late: bool = False
    """The agent waits for it before it starts without it."""
    after_good_start: bool = False
    """An agent needs its plugin to come to its first configuration; one that has run before goes on by what it has saved."""


_HOOKS = """
from medagent import hookimpl
"""

_CHANNEL = """
import asyncio
import sys
from medagent import hookimpl
from medagent_lines import LineChannel

@hookimpl
def medagent_register_channel_types(register):
    register("SCHEME", make)

def make(context):
    return Faulty(context)

class Faulty(LineChannel):
"""


def _channel(body: str, told: str = "channel CHANNEL") -> Fault:
    return Fault(_CHANNEL + body, told, own_scheme=True)


FAULTS = {
    # cannot be loaded
    "import-error": Fault("raise RuntimeError('half a file')", told="RuntimeError", loads=False),
    "syntax-error": Fault("def (", told="SyntaxError", loads=False),
    "missing-dependency": Fault(
        "import a_library_that_nobody_has", told="a_library_that_nobody_has", loads=False, requires="a-library-that-nobody-has"
    ),
    "system-exit": Fault("import sys; sys.exit('goodbye')", told="SystemExit", loads=False),
    "bad-signature": Fault(_HOOKS + "@hookimpl\ndef medagent_health(agent, colour): ...", told="colour", loads=False),
    "unknown-hook": Fault(_HOOKS + "@hookimpl\ndef medagent_start_up(agent): ...", told="medagent_start_up", loads=False),
    "name-clash": Fault("", told="name", loads=False, entry_point="queue"),
    "scheme-clash": Fault(
        _HOOKS + "@hookimpl\ndef medagent_register_channel_types(register):\n    register('mllp', print)",
        told="mllp",
        loads=False,
    ),
    "hang-at-import": Fault("import time\nwhile True: time.sleep(1)", told="import", loads=False, starts_late=True),
    # runs, and fails
    "channel-factory": _channel("    def __init__(self, context): raise RuntimeError"),
    "channel-start-hangs": _channel("    async def start(self): await asyncio.Event().wait()"),
    "channel-start-raises": _channel("    async def start(self): raise RuntimeError"),
    "channel-committed": _channel("    def committed(self, messages): raise RuntimeError"),
    "channel-committed-exits": _channel("    def committed(self, messages): sys.exit(3)"),
    "channel-answer-type": _channel("    def answer(self, answers): return 17"),
    "channel-answer-coroutine": _channel("    async def answer(self, answers): return []"),
    "channel-forward": _channel("    def forward(self, message): raise RuntimeError"),
    "channel-connections": _channel(
        "    @property\n    def connections(self): raise RuntimeError", "fault-channel-connections"
    ),
    "channel-task-exits": _channel(
        "    async def start(self):\n"
        "        await super().start()\n"
        "        self.context.spawn(self.leave(), 'leaving')\n"
        "    async def leave(self): sys.exit(3)",
        "fault-channel-task-exits",
    ),
    "observer-raises": Fault(
        _HOOKS + "@hookimpl\ndef medagent_messages_accepted(channel, messages): raise RuntimeError", told="observer-raises"
    ),
    "observer-coroutine": Fault(
        _HOOKS + "@hookimpl\nasync def medagent_messages_settled(channel, settled): ...",
        told="async def",
        loads=False,
    ),
    "transform-raises": Fault(
        _HOOKS
        + "def broken(text): raise RuntimeError\n"
        + "@hookimpl\ndef medagent_make_transform(channel): return broken if channel.name == 'CHANNEL' else None",
        told="CHANNEL",
    ),
    "transform-type": Fault(
        _HOOKS
        + "def broken(text): return 17\n"
        + "@hookimpl\ndef medagent_make_transform(channel): return broken if channel.name == 'CHANNEL' else None",
        told="CHANNEL",
    ),
    "health-raises": Fault(_HOOKS + "@hookimpl\ndef medagent_health(agent): raise RuntimeError", told="health-raises"),
    "health-type": Fault(_HOOKS + "@hookimpl\ndef medagent_health(agent): return [('a', 'b')]", told="health-type"),
    "startup-hangs": Fault(
        "import asyncio\n" + _HOOKS + "@hookimpl\nasync def medagent_startup(agent): await asyncio.Event().wait()",
        told="startup-hangs",
        starts_late=True,
    ),
    "startup-exits": Fault(
        "import sys\n" + _HOOKS + "@hookimpl\ndef medagent_startup(agent): sys.exit(3)", told="startup-exits"
    ),
    "load-agent-raises": Fault(
        _HOOKS + "@hookimpl\ndef medagent_load_agent(bootstrap): raise RuntimeError",
        told="load-agent-raises",
        after_good_start=True,
    ),
    "uplink-type": Fault(_HOOKS + "@hookimpl\ndef medagent_make_uplink(bootstrap): return 17", told="uplink-type"),
    "blocks-the-loop": Fault(
        "import time\n" + _HOOKS + "@hookimpl\ndef medagent_messages_accepted(channel, messages): time.sleep(3)",
        told="blocks-the-loop",
        blocks=True,
    ),
}
