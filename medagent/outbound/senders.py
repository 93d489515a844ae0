"""The senders of one agent, by the URL scheme of the device, with a guard between a plugin's faults and the core."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress

from medagent.errors import BrokenPromise, DeviceError, PluginTimeout, Unsendable
from medagent.guard import Guard, StoppedPlugin
from medagent.outbound.push import Push
from medagent.outbound.remote import show_remote
from medagent.sender import Sender, SenderContext, SenderFactory

GRACE_SECONDS = 5.0
"""What a sender may take beyond the time that it was given."""
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9.+-]{1,40}/[A-Za-z0-9.+-]{1,60}")


class Senders:
    """Makes each sender when it is first needed."""

    def __init__(
        self, factories: Mapping[str, SenderFactory], context: SenderContext, guard_of: Callable[[str], Guard] | None = None
    ) -> None:
        """`guard_of` gives the guard of a scheme's sender."""
        self._factories = factories
        self._context = context
        self._guard_of = guard_of or (lambda scheme: Guard("", f"sender for {scheme}://"))
        self._senders: dict[str, tuple[Sender, Guard]] = {}

    def _of(self, remote: str) -> tuple[Sender, Guard]:
        scheme, separator, _ = remote.partition("://")
        scheme = scheme.lower()
        if not separator or scheme not in self._factories:
            known = ", ".join(f"{known}://" for known in sorted(self._factories)) or "none"
            raise Unsendable(f"{show_remote(remote)} begins with no scheme that this agent can send to; it knows {known}")
        if scheme not in self._senders:
            guard = self._guard_of(scheme)
            self._senders[scheme] = guard.attempt("", self._factories[scheme], self._context), guard
        return self._senders[scheme]

    def content_type(self, remote: str) -> str:
        """Of the answers of a device that messages were prepared for."""
        return self._of(remote)[0].content_type

    def prepare(self, push: Push) -> bytes:
        """As `Sender.prepare`. Raises `Unsendable` and nothing else."""
        try:
            sender, guard = self._of(push.remote)
            if push.content_type not in (None, sender.content_type):
                found = f'"{push.content_type}"' if _MEDIA_TYPE.fullmatch(push.content_type or "") else "(no media type)"
                raise Unsendable(f"content of type {found} cannot be sent, only {sender.content_type}")
            expected = (Unsendable,)
            return guard.attempt("prepare", sender.prepare, push.remote, push.text, kinds=(bytes,), expected=expected)
        except Unsendable:
            raise
        except Exception as error:  # noqa: BLE001  the guard has counted it
            raise Unsendable(f"the sender's plugin failed: {_describe(error)}") from None

    async def send(self, remote: str, body: bytes, seconds: float) -> str:
        """As `Sender.send`. Raises `DeviceError` and nothing else, also if the sender forgets the time."""
        limit = seconds + GRACE_SECONDS
        try:
            sender, guard = self._of(remote)
            answer = await guard.wait("send", sender.send, remote, body, seconds, seconds=limit, expected=(DeviceError,))
        except Unsendable as error:  # of a push that an earlier version has taken
            raise DeviceError(str(error)) from None
        except DeviceError:
            raise
        except StoppedPlugin as error:
            raise DeviceError(f"the sender's plugin failed: {error}") from None
        except (TimeoutError, PluginTimeout):
            raise DeviceError(f"there was no answer within {seconds:g} s", may_have_it=True) from None
        except Exception as error:  # noqa: BLE001  the guard has counted it
            raise DeviceError(f"the sender's plugin failed: {_describe(error)}", may_have_it=True) from None
        if type(answer) is not str:
            guard.fault("send", "TypeError")
            raise DeviceError("the sender's plugin gives no text", may_have_it=True)
        return answer

    def reconfigure(self, context: SenderContext) -> None:
        """Other values are in force."""
        self._context = context
        for sender, guard in self._senders.values():
            guard.call("reconfigure", sender.reconfigure, context, otherwise=None, regardless=True)

    async def close(self) -> None:
        """Close all connections; no plugin keeps the agent from ending."""
        senders, self._senders = self._senders, {}
        for sender, guard in senders.values():
            with suppress(Exception):  # which the guard has counted
                await guard.wait("close", sender.close, seconds=GRACE_SECONDS, regardless=True)


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, BrokenPromise | PluginTimeout | StoppedPlugin) else type(error).__name__
