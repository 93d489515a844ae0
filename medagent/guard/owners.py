"""Whose code is it? Plugins by the files that their code lies in."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from types import CodeType, FrameType, ModuleType


class Owners:
    """The plugins that are not built in, by file or folder."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    def add(self, plugin: str, thing: object) -> None:
        """`thing`: the module or object that is the plugin; all of its top-level package counts as the plugin's."""
        name = thing.__name__ if isinstance(thing, ModuleType) else type(thing).__module__
        top = sys.modules.get(name.partition(".")[0])
        if top is None or top.__name__ == __name__.partition(".")[0]:
            return
        places = [f"{folder}{os.sep}" for folder in getattr(top, "__path__", ())] or [getattr(top, "__file__", None) or ""]
        self._places.update((place, plugin) for place in places if place)

    def of(self, code: CodeType) -> str:
        """The plugin that the code belongs to; "" if it is nobody's."""
        file = code.co_filename
        if (plugin := self._places.get(file)) is not None:
            return plugin
        return next((plugin for place, plugin in self._places.items() if place.endswith(os.sep) and file.startswith(place)), "")

    def innermost(self, frames: Iterable[FrameType]) -> list[FrameType]:
        """Of a stack, innermost frame first: the frames of that plugin which has the innermost one of all plugins."""
        found: list[FrameType] = []
        plugin = ""
        for frame in frames:
            owner = self.of(frame.f_code)
            if owner and owner == (plugin := plugin or owner):
                found.append(frame)
        return found
