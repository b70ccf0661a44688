"""Rows that repeat what entries say. Other rooms register how theirs are held against the log; `fsck` asks them all.

A mirror sees every entry once, in order, a few at a time, and at the end everything that the rules know of the whole
history. It yields a line for each difference. It keeps counts, never entries, so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from imprimatur.verify.facts import Facts


class Mirror(Protocol):
    """Made anew for every run."""

    def see(self, entries: Sequence[dict[str, Any]]) -> Iterable[str]:
        """The next entries, as their signed payloads say."""

    def end(self, facts: Facts) -> Iterable[str]:
        """All entries were seen, and this is what they add up to."""


_registered: dict[str, Callable[[], Mirror]] = {}


def register(name: str, make: Callable[[], Mirror]) -> None:
    """Register the rows of another room under the name that a finding carries."""
    _registered[name] = make


def registered() -> dict[str, Callable[[], Mirror]]:
    """What is registered, by name, sorted."""
    return dict(sorted(_registered.items()))
