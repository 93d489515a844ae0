"""Helpers for tests of medagent and of its plugins. Needs the `testing` extra."""
