"""Being an agent: dial in to a relay, answer what it asks, stay reachable.

Written against the public protocol alone (docs/relay.md), so it serves any relay that speaks it."""

from privategpt.agent.dial import Agent, Settings, door

__all__ = ["Agent", "Settings", "door"]
