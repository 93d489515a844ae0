"""What a plugin uses that will go, told to who runs the agent: Python itself shows a DeprecationWarning to nobody."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

log = logging.getLogger(__name__)


@contextlib.contextmanager
def deprecations_logged(plugin: str) -> Iterator[None]:
    """A DeprecationWarning of the body is a line of the log too.

    pluggy gives one for a hook, or an argument of it, whose specification says `warn_on_impl` or `warn_on_impl_args`.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DeprecationWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, DeprecationWarning):
            log.warning("plugin %s uses what will go: %s", plugin, warning.message)
        # for who tests a plugin, with filters of one's own
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
