"""A deterministic simulation of the whole agent: virtual time, seeded faults, invariants checked at every event.

See docs/simulation.md. `medagent.testing.simulation.run` has the entry point `simulate`.
"""
