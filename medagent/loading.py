"""Loading the configuration, however long that takes: the server may be away, the secret wrong, the Agent not there yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from medagent.config.bootstrap import Bootstrap
from medagent.configure import Loaded, load_config
from medagent.errors import ConfigError, MedagentError, NotReady
from medagent.fhir.access import FhirAccess
from medagent.plugins import Plugins

log = logging.getLogger(__name__)

FIRST_RETRY = 1.0
RETRY_CAP = 60.0
"""Seconds between tries: doubled from the first to the cap, or what the server asks for."""


class Loader:
    """Loads the configuration of one agent."""

    def __init__(self, bootstrap: Bootstrap, plugins: Plugins, access: FhirAccess | None) -> None:
        self._bootstrap = bootstrap
        self._plugins = plugins
        self._access = access

    async def once(self) -> Loaded:
        """One try. Raises `MedagentError`."""
        try:
            return await load_config(self._bootstrap, self._plugins, self._access.client if self._access else None)
        except MedagentError:
            raise
        # a plugin may load the Agent, or look at it, and raise anything
        except Exception as error:
            raise NotReady(type(error).__name__) from error

    async def until_loaded(self, waiting: Callable[[str], None]) -> Loaded:
        """Try until it works; `waiting` is told why it has not yet.

        Raises `ConfigError` for local files that cannot be used.
        """
        delay = FIRST_RETRY
        told = ""
        while True:
            try:
                return await self.once()
            except ConfigError:
                raise
            except MedagentError as error:
                reason = f"cannot load the configuration: {error}"
                if reason != told:
                    log.error("%s; trying again", reason)
                told = reason
                waiting(reason)
                wished = error.retry_after if isinstance(error, NotReady) else None
            await asyncio.sleep(wished or delay)
            delay = min(delay * 2, RETRY_CAP)
