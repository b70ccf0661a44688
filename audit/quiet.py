"""Agents that the list of the log leaves out unless they are asked for. Which ones is the upper room's to say.

Only a list is shorter for it: every entry is there, is counted, exported and sealed like any other.
"""

from __future__ import annotations

from collections.abc import Callable

_who: list[Callable[[], list[str]]] = []


def register(who: Callable[[], list[str]]) -> None:
    """Have this say which agents (ids) are left out. Called once, when the application starts."""
    _who[:] = [who]


def agents() -> list[str]:
    """The ids of those agents, in no order."""
    return [agent for who in _who for agent in who()]
