"""The agent API as Django serves it."""
