"""The errors of medagent, named by what the reader can do about them.

- `MedagentError`
    - `ConfigError`: the local configuration must be mended (exit 78)
    - `PluginError`: a plugin must be mended or blocked (exit 78)
        - `PluginTimeout`: it has taken too long
        - `BrokenPromise`: it has given or raised what it must not
    - `NotReady`: the other side is away; try again later (exit 69)
    - `AuthenticationFailed`: the server refuses the credentials (exit 77)
    - `QueueError`: the queue could not do what was asked (exit 1)
        - `StorageFailed`: it could store nothing, whatever it was given
        - `QueueHeld`: another agent holds the queue (exit 75)
    - `ChannelError`: a channel could not do what was asked (exit 1)
        - `BindFailed`: a channel cannot listen on its address
    - `DeviceError`: a message was not sent to a device, or not answered by it (exit 1)
        - `Unsendable`: the message or its destination cannot be used as it is

Each error's default message is its docstring. Exit codes are those of sysexits.h.
"""

from __future__ import annotations

from typing import ClassVar

PLUGIN_FAULTS: tuple[type[BaseException], ...] = (Exception, SystemExit)
"""What a plugin's code may raise without more harm than to itself."""


class MedagentError(Exception):
    """Something went wrong in medagent."""

    exit_code: ClassVar[int] = 1
    """Of a command that ends with it."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or "")


class ConfigError(MedagentError):
    """The configuration cannot be used."""

    exit_code = 78


class PluginError(MedagentError):
    """A plugin cannot be used."""

    exit_code = 78


class PluginTimeout(PluginError):
    """A plugin has taken too long."""


class BrokenPromise(PluginError):
    """A plugin has given or raised what it must not. Only the core raises it, so its text quotes no data."""

    @classmethod
    def by(cls, error: BaseException) -> BrokenPromise:
        """What is raised in the place of `error`, which would end more than the plugin, such as `SystemExit`."""
        return cls("it called sys.exit" if isinstance(error, SystemExit) else f"it raised {type(error).__name__}")


class NotReady(MedagentError):
    """The server cannot be reached at the moment."""

    exit_code = 69
    retry_after: float | None = None
    """Seconds after which the server wants to be asked again, if it said so."""


class AuthenticationFailed(MedagentError):
    """The server refuses the credentials."""

    exit_code = 77


class QueueError(MedagentError):
    """The queue could not do what was asked."""


class StorageFailed(QueueError):
    """Nothing can be stored at the moment."""


class QueueHeld(QueueError):
    """Another agent holds this queue."""

    exit_code = 75


class ChannelError(MedagentError):
    """A channel could not do what was asked."""


class BindFailed(ChannelError):
    """The channel cannot listen on its address."""


class DeviceError(MedagentError):
    """The device was not reached, or has not answered."""

    def __init__(self, message: str | None = None, *, may_have_it: bool = False) -> None:
        super().__init__(message)
        self.may_have_it = may_have_it
        """Whether the device may have the message nevertheless."""


class Unsendable(DeviceError):
    """The message cannot be sent as it is."""
