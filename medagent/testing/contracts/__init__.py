"""Suites that check what a plugin promises the core: subclass one, give a factory, run pytest (docs/plugins/contracts.md)."""
