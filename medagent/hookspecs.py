"""Every hook of medagent.

A plugin is a module or object with functions of these names, marked with `medagent.hookimpl`, found by an entry point in
group `medagent`. Hooks make objects and run at set-up or for rare events; what happens per message goes through the objects
they return. A hook implementation takes only the arguments it needs. One whose result may be awaitable can be a coroutine
function. The last lines of each docstring say when it is called, what it must return, and what comes of a fault in it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from medagent.channel import ChannelFactory
    from medagent.config.bootstrap import Bootstrap
    from medagent.config.model import AgentConfig, ChannelConfig
    from medagent.config.problems import Problem
    from medagent.config.settings import Registry
    from medagent.fhir.client import FhirClient
    from medagent.fhir.source import Source
    from medagent.queue.base import QueueStore, QueueStrategy, StoreContext, StrategyContext
    from medagent.running import RunningAgent
    from medagent.sender import SenderFactory
    from medagent.types import InboundMessage, State
    from medagent.uplink.base import ServerRequest, Uplink, UplinkContext

hookspec = pluggy.HookspecMarker("medagent")


@hookspec(historic=True)
def medagent_register_settings(registry: Registry) -> None:
    """Declare names of Agent.setting and parameters of Endpoint.address.

    - `registry`: takes them, by `add_setting` and `add_parameter`

    Called: once, when the plugin is loaded.
    Fault: the plugin is left out, with all that it declared, and `medagent plugins` says why. A name that is taken is one.
    Since: 0.1.
    """


@hookspec(historic=True)
def medagent_register_channel_types(register: Callable[[str, ChannelFactory], None]) -> None:
    """Offer channels.

    - `register`: call `register(scheme, factory)` for each URL scheme that an Endpoint.address may begin with; `factory` takes
      a `ChannelContext` and returns a `Channel`

    Called: once, when the plugin is loaded. The factory: at start for each channel of the scheme, and when a reload makes one.
    Fault: the plugin is left out, and `medagent plugins` says why. A scheme that another plugin has is one. If the factory
    raises, its channel alone does not run, and the agent is degraded.
    Since: 0.1.
    """


@hookspec(historic=True)
def medagent_register_sender_types(register: Callable[[str, SenderFactory], None]) -> None:
    """Offer ways to devices, for messages of the server.

    - `register`: call `register(scheme, factory)` for each URL scheme of devices; `factory` takes a `SenderContext` and returns
      a `Sender`

    Called: once, when the plugin is loaded. The factory: at the first message for a device of the scheme.
    Fault: the plugin is left out, and `medagent plugins` says why. A scheme that another plugin has is one.
    Since: 0.1.
    """


@hookspec(firstresult=True)
def medagent_make_queue_strategy(name: str, context: StrategyContext) -> QueueStrategy | None:
    """Offer a queue strategy. One serves all channels of an agent.

    - `name`: what Agent.setting `queueStrategy` asks for
    - `context`: what the strategy works with

    Called: at start and at a reload that changes a setting; before that, and by `medagent check`, outside the event loop, to
    see whether the name is known: that one is thrown away, so a constructor only stores.
    Returns: a new strategy, or None for a name that is not this plugin's.
    Fault: logged by type, and the next plugin is asked. If nobody knows the name, that is a problem of the configuration, and
    `batched` or `immediate` is used, as `batchEnabled` says.
    Since: 0.1.
    """


@hookspec(firstresult=True)
def medagent_make_queue_store(url: str, context: StoreContext) -> QueueStore | None:
    """Offer a queue store.

    - `url`: where the queue is: what the option `queue_store` says, perhaps with a password, or else `sqlite:` and the path of
      a file in the state folder
    - `context`: what the store works with

    Called: once, at start.
    Returns: a store that is not opened yet, or None for a URL that is not this plugin's.
    Fault: logged by type, and the next plugin is asked. Without a store the agent does not start (exit 78).
    Since: 0.1.
    """


@hookspec(firstresult=True)
def medagent_make_uplink(bootstrap: Bootstrap, context: UplinkContext) -> Uplink | None:
    """Offer the connection to the FHIR server.

    - `bootstrap`: what the agent was started with, the client secret included
    - `context`: what the uplink works with

    Called: at start, and when the queue has been opened anew.
    Returns: an uplink that is not connected yet, or None if another plugin should make it.
    Fault: logged by type, and the next plugin is asked. Without an uplink an agent that has a server does not start (exit 78).
    Since: 0.1.
    """


@hookspec(firstresult=True)
def medagent_load_agent(bootstrap: Bootstrap, client: FhirClient | None) -> Awaitable[Source] | Source | None:
    """Say where the Agent resource and its Endpoints come from.

    - `bootstrap`: what the agent was started with
    - `client`: reads from the FHIR server; None without one

    Called: at start, at every reload, and by `medagent check`. Raise `medagent.errors.NotReady` to be asked again later.
    Returns: the resources as raw JSON, not yet checked, or None if another plugin should load them.
    Fault: this plugin is asked again later, as if it had raised `NotReady`; no other is asked in its place, since its
    configuration may be another. What takes more than 120 s is cancelled.
    Since: 0.1.
    """


@hookspec
def medagent_validate_config(config: AgentConfig) -> Sequence[Problem] | None:
    """Find what the core cannot know to be wrong, such as values that contradict each other.

    - `config`: what was made of the resources; where they are faulty, defaults have taken their place

    Called: at start, at every reload, and by `medagent check`, so it must start nothing. It runs beside the event loop, in a
    thread.
    Returns: more problems to list, or None. One that names a `channel` keeps that channel from listening.
    Fault: logged by type; its problems are missing.
    Since: 0.1.
    """


@hookspec
def medagent_startup(agent: RunningAgent) -> Awaitable[None] | None:
    """Begin what the plugin does beside its channels.

    - `agent`: the agent; its configuration is loaded, its queue open, its channels are made and do not listen yet

    Called: once before the channels listen, and again whenever the queue has been opened anew.
    Fault: logged by type; the agent starts all the same. What takes more than 3 s is cancelled.
    Since: 0.1.
    """


@hookspec
def medagent_shutdown(agent: RunningAgent) -> Awaitable[None] | None:
    """End what was begun.

    - `agent`: the agent; it has stopped listening, and its queue is still open

    Called: once for each call of `medagent_startup`.
    Fault: logged by type; the agent stops all the same. What takes more than 3 s is cancelled.
    Since: 0.1.
    """


@hookspec
def medagent_reloaded(agent: RunningAgent) -> Awaitable[None] | None:
    """Take note of another configuration.

    - `agent`: the agent; its `config` is the new one

    Called: after each reload that succeeds, when the new configuration is in force.
    Fault: logged by type; the configuration stays in force. What takes more than 3 s is cancelled.
    Since: 0.1.
    """


@hookspec
def medagent_messages_accepted(channel: str, messages: Sequence[InboundMessage]) -> None:
    """Observe messages that are on disk.

    - `channel`: the name of the channel they came by
    - `messages`: the core's own objects, in the order of acceptance: change nothing

    Called: once a commit for each channel that has messages in it. It delays their acknowledgments: be quick.
    Fault: logged by type; the messages are acknowledged all the same.
    Since: 0.1.
    """


@hookspec
def medagent_messages_settled(channel: str, settled: Sequence[tuple[InboundMessage, State]]) -> None:
    """Observe what the server said to messages.

    - `channel`: the name of the channel they came by
    - `settled`: the core's own objects, each with its state: one that has ended, or `RESPONSE_QUEUED`; change nothing

    Called: once a batch of answers for each channel.
    Fault: logged by type; the messages have ended all the same.
    Since: 0.1.
    """


@hookspec
def medagent_make_transform(channel: ChannelConfig) -> Callable[[str], str | None] | None:
    """Change the text of a channel's messages on its way to the server, or keep messages from it.

    What is stored stays as the device sent it. Transforms of several plugins run one after the other, in reverse alphabetical
    order of their entry points' names, unless `medagent.hookimpl(tryfirst=True)` or `trylast=True` says otherwise.

    - `channel`: the channel, as configured

    Called: for each channel at start, and at a reload.
    Returns: a function from the text to another text, or None. It is called for every attempt, on the event loop. If the
    function returns None, the message is not for the server: it ends as `filtered`, no later transform is asked, and the device
    is told as if the server had taken it.
    Fault: nobody knows what it would have changed, so the channel's messages wait in the queue until it can be made. If the
    function raises, or returns something else, that message is in `error` and tried again, as the channel's retry settings
    say; the others go. No message is sent past it.
    Since: 0.1.
    """


@hookspec(firstresult=True)
def medagent_handle_frame(agent: RunningAgent, frame: ServerRequest) -> Awaitable[bool] | bool | None:
    """Serve a request of the server, such as a push.

    medagent's own plugin, which serves what docs/protocol.md lists, is asked last.

    - `agent`: the agent; answer by its `reply`
    - `frame`: the request

    Called: for each request, beside others. Plugins are asked one after the other until one has served it.
    Returns: True if this plugin has answered, or will; anything false if another should be asked.
    Fault: logged by type, and the next plugin is asked. What takes more than 90 s is cancelled.
    Since: 0.1.
    """


@hookspec
def medagent_health(agent: RunningAgent) -> Sequence[tuple[str, bool, str]] | None:
    """Say how the plugin is, for `medagent status`.

    - `agent`: the agent

    Called: whenever somebody asks for the status.
    Returns: triples of what, whether it is well, and why not, or None. What is not well makes the agent degraded.
    Fault: logged by type; the agent is degraded, and the status says why.
    Since: 0.1.
    """


@hookspec
def medagent_metrics(registry: dict[str, float]) -> None:
    """Add figures to `medagent queue stats --format json`, where they appear under `plugins`.

    - `registry`: takes them, by name; what is no number is left out

    Called: whenever somebody asks for the statistics.
    Fault: logged by type; its figures are missing.
    Since: 0.1.
    """


@hookspec
def medagent_register_commands(app: typer.Typer) -> None:
    """Add commands to `medagent`.

    - `app`: takes them, by `command` and `add_typer`

    Called: when the command line starts. Every `medagent` command waits for it: import what a command needs inside the command.
    Fault: logged by type; its commands are missing.
    Since: 0.1.
    """
