"""Every hook of medagent.

A plugin is a module or object with functions of these names, marked with `medagent.hookimpl`, found by an entry point in
group `medagent`. Hooks make objects and run at set-up or for rare events; what happens per message goes through the objects
they return. A hook implementation takes only the arguments it needs. Hooks marked *async* return an awaitable or a value.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from medagent.agent import Agent
    from medagent.channel import ChannelFactory
    from medagent.config.bootstrap import Bootstrap
    from medagent.config.model import AgentConfig, ChannelConfig
    from medagent.config.problems import Problem
    from medagent.config.settings import Registry
    from medagent.fhir.client import FhirClient
    from medagent.fhir.source import Source
    from medagent.queue.base import QueueStore, QueueStrategy, StoreContext, StrategyContext
    from medagent.sender import SenderFactory
    from medagent.types import InboundMessage, State
    from medagent.uplink.base import ServerRequest, Uplink, UplinkContext

hookspec = pluggy.HookspecMarker("medagent")


@hookspec(historic=True)
def medagent_register_settings(registry: Registry) -> None:
    """Declare Agent.setting names and Endpoint.address parameters."""


@hookspec(historic=True)
def medagent_register_channel_types(register: Callable[[str, ChannelFactory], None]) -> None:
    """Call `register(scheme, factory)` for each URL scheme that this plugin can listen on."""


@hookspec(historic=True)
def medagent_register_sender_types(register: Callable[[str, SenderFactory], None]) -> None:
    """Call `register(scheme, factory)` for each URL scheme of devices that this plugin can send to."""


@hookspec(firstresult=True)
def medagent_make_queue_strategy(name: str, context: StrategyContext) -> QueueStrategy | None:
    """Return the strategy of this name, or None. One strategy serves all channels of an agent."""


@hookspec(firstresult=True)
def medagent_make_queue_store(url: str, context: StoreContext) -> QueueStore | None:
    """Return a store for this URL (`sqlite:/path/queue.db`), or None."""


@hookspec(firstresult=True)
def medagent_make_uplink(bootstrap: Bootstrap, context: UplinkContext) -> Uplink | None:
    """Return the connection to the FHIR server, or None."""


@hookspec(firstresult=True)
def medagent_load_agent(bootstrap: Bootstrap, client: FhirClient | None) -> Awaitable[Source] | Source | None:
    """*async* Return the Agent resource and its Endpoints as raw JSON, or None if another plugin should.

    `client` reads from the FHIR server; None without one. Raise `medagent.errors.NotReady` to be asked again later.
    """


@hookspec
def medagent_validate_config(config: AgentConfig) -> Sequence[Problem] | None:
    """Return more problems to list."""


@hookspec
def medagent_startup(agent: Agent) -> Awaitable[None] | None:
    """*async* The agent has opened its queue and is about to listen."""


@hookspec
def medagent_shutdown(agent: Agent) -> Awaitable[None] | None:
    """*async* The agent has stopped listening and is about to close its queue."""


@hookspec
def medagent_reloaded(agent: Agent) -> Awaitable[None] | None:
    """*async* A new configuration is in force."""


@hookspec
def medagent_messages_accepted(channel: str, messages: Sequence[InboundMessage]) -> None:
    """Observe messages of one channel that were committed; called once a commit."""


@hookspec
def medagent_messages_settled(channel: str, settled: Sequence[tuple[InboundMessage, State]]) -> None:
    """Observe messages of one channel that have ended; called once per batch of answers."""


@hookspec
def medagent_make_transform(channel: ChannelConfig) -> Callable[[str], str | None] | None:
    """Return a function that changes the forwarded text of this channel's messages, or None. Several run in order.

    The function returns the text for the server, or None: the message is not for it, and ends as `State.FILTERED`.
    """


@hookspec(firstresult=True)
def medagent_handle_frame(agent: Agent, frame: ServerRequest) -> Awaitable[bool] | bool | None:
    """*async* Serve a request of the server; return True if this plugin has answered it."""


@hookspec
def medagent_health(agent: Agent) -> Sequence[tuple[str, bool, str]] | None:
    """Return (what, is it well, why) for `medagent status`."""


@hookspec
def medagent_metrics(registry: dict[str, float]) -> None:
    """Add figures, by name, to the statistics."""


@hookspec
def medagent_register_commands(app: typer.Typer) -> None:
    """Add commands to `medagent`."""
