"""A plugin's transform of one channel's messages, under a guard that lets no message past it."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType

from medagent.guard import Guard, StoppedPlugin, a_value

MAKE_AGAIN_SECONDS = 5.0
"""Before a transform that could not be made is asked for again."""

Function = Callable[[str], str | None]
"""As `medagent_make_transform` gives it."""
# what a plugin gives is checked when it is there
Make = Callable[[], object]


class Transform:
    """Calls the plugin's function. One that could not be made is made when a message comes, and until then none goes."""

    def __init__(self, guard: Guard, make: Make, function: Function | None) -> None:
        self._guard = guard
        self._make = make
        self._function = function

    def __call__(self, text: str) -> str | None:
        """The text for the server, or None if there is none.

        Raises what the function does, and `StoppedPlugin` if the messages must wait.
        """
        if self._function is None:
            try:
                self._function = _make(self._guard, self._make) or _unchanged
            except Exception as error:
                seconds = max(self._guard.seconds_left, MAKE_AGAIN_SECONDS)
                raise StoppedPlugin(f"plugin {self._guard.plugin} cannot make the {self._guard.where}", seconds) from error
        return self._guard.attempt("", self._function, text, kinds=(str, NoneType))


def made_transform(guard: Guard, make: Make) -> Transform | None:
    """The transform that `make` gives, or None if the plugin has none for this channel."""
    try:
        function = _make(guard, make)
    except Exception:  # noqa: BLE001  whether it has one is not known: it may be what keeps secrets
        return Transform(guard, make, None)
    return Transform(guard, make, function) if function is not None else None


def _make(guard: Guard, make: Make) -> Function | None:
    def checked() -> Function | None:
        function = a_value(make())
        if function is not None and not callable(function):
            raise TypeError("not a function")
        return function

    try:
        function = guard.attempt("the making", checked)
    except Exception:
        guard.lasting = "the channel's messages wait until it can be made"
        raise
    guard.lasting = ""
    return function


def _unchanged(text: str) -> str:
    return text
