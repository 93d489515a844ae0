"""What `medagent config` shows: every value in force and who gave it, as plain JSON without secrets."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl, urlsplit

from medagent.config.bootstrap import Bootstrap
from medagent.config.link import without_password
from medagent.config.model import AgentConfig, ChannelConfig
from medagent.config.options import OPTIONS
from medagent.config.plugin_options import NONE
from medagent.config.settings import Parameter, Registry
from medagent.config.values import from_text

DEFAULT = "default"


def describe_start(bootstrap: Bootstrap) -> dict[str, object]:
    """`options`: name, value and origin of each; `warnings`."""
    values: dict[str, object] = {
        "base_url": bootstrap.base_url,
        "client_id": bootstrap.client_id,
        "client_secret": "set" if bootstrap.client_secret else "",
        "agent_id": bootstrap.agent_id,
        "agent": [str(path) for path in bootstrap.agent_files],
        "ca_file": str(bootstrap.ca_file or ""),
        "client_cert_file": str(bootstrap.client_cert_file or ""),
        "client_key_file": str(bootstrap.client_key_file or ""),
        "proxy": without_password(bootstrap.proxy),
        "state_dir": str(bootstrap.state_dir),
        "queue_store": without_password(bootstrap.queue_store),
        "bind": "any" if bootstrap.bind_any else "",
        "no_wait": not bootstrap.wait,
        "log_level": bootstrap.log_level,
        "log_format": bootstrap.log_format,
        "block_plugins": list(bootstrap.plugins.blocked),
        "allow_plugins": _allowed(bootstrap.plugins.allowed),
        "load_plugins": list(bootstrap.plugins.modules),
        "strict_plugins": bootstrap.plugins.strict,
    }
    # the file of the secret is the secret's origin
    options = [
        {"name": name, "value": values[name], "origin": bootstrap.origins.get(name, DEFAULT)}
        for name in OPTIONS
        if name != "client_secret_file"
    ]
    return {"options": options, "warnings": list(bootstrap.warnings)}


def _allowed(names: tuple[str, ...] | None) -> list[str]:
    """Empty for all."""
    return [] if names is None else list(names) or [NONE]


def describe_agent(config: AgentConfig, registry: Registry) -> dict[str, object]:
    """The Agent's `settings` and `channels` with their `parameters`: name, value (null: unset) and origin of each."""
    # what these two come to is decided with the others in sight
    decided: dict[str, object] = {
        "queueStrategy": config.queue_strategy,
        "channelAutoRetryBaseDelayMs": config.retry.base_delay_ms,
    }
    values = {**config.settings, **decided}
    settings = [
        {
            "name": each.name,
            "value": values.get(each.name),
            "origin": "Agent" if each.name in config.given and values[each.name] == config.settings[each.name] else DEFAULT,
        }
        for each in registry.settings()
        if each.effective
    ]
    return {
        "id": config.agent_id,
        "name": config.name,
        "status": config.status,
        "settings": settings,
        "channels": [_channel(channel, registry.parameters(channel.scheme).values()) for channel in config.channels],
    }


def _channel(channel: ChannelConfig, known: Iterable[Parameter]) -> dict[str, object]:
    said: dict[str, str] = {}
    for name, text in parse_qsl(urlsplit(channel.address).query, keep_blank_values=True):
        said.setdefault(name, text)
    host = f"[{channel.host}]" if ":" in channel.host else channel.host
    return {
        "name": channel.name,
        "address": f"{channel.scheme}://{host}:{channel.port}",
        "enabled": channel.enabled,
        "barred": channel.barred,
        "parameters": [
            {
                "name": each.name,
                "value": channel.parameters.get(each.name),
                # what is said and cannot be used gives way to the default
                "origin": "Endpoint" if each.name in said and from_text(said[each.name], each) is not None else DEFAULT,
            }
            for each in sorted(known, key=lambda parameter: parameter.name)
            if each.effective
        ],
    }
