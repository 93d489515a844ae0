"""What the built-in plugin of the queue makes."""

from __future__ import annotations

from pathlib import Path

from medagent.plugins import Plugins
from medagent.queue.base import StoreContext
from medagent.queue.plugin import medagent_make_queue_store


async def test_a_sqlite_url_is_a_path(tmp_path: Path) -> None:
    plugins = Plugins(entry_points=False)
    url = f"sqlite:{tmp_path / 'queue.db'}"
    store = plugins.hook.medagent_make_queue_store(url=url, context=StoreContext(str(tmp_path)))
    assert await store.open() == 0
    await store.close()
    assert (tmp_path / "queue.db").is_file()


def test_other_urls_are_left_to_others() -> None:
    assert medagent_make_queue_store("postgres://127.0.0.1/queue") is None
