"""Canaries: two ordinary agents that try, by the clock, what an agent must not be able to do, and say what they got."""
