"""What other rooms put into a bundle. They register a function; it gets the log and a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from audit.evidence.source import LoggedEntry, Source
from audit.evidence.staging import Staging, Writing
from imprimatur.verify.derived import FOLDERS

OWN = frozenset({"trust", "log", "delegations", "votes", "openings", "views"}) | FOLDERS


class Section:
    """A folder of the bundle, and the log as far as the bundle's checkpoint covers it.

    What a section writes must follow from the log and the openings alone, in a fixed order: the same log must give
    the same bytes.
    """

    def __init__(self, name: str, source: Source, staging: Staging) -> None:
        self.name = name
        self.source = source
        self._staging = staging

    def entries(self, *kinds: str) -> Iterator[LoggedEntry]:
        """The entries of these kinds (all without any) that the bundle keeps, oldest first."""
        return self.source.entries(*kinds)

    def add(self, name: str, content: bytes | str | Iterable[bytes]) -> None:
        """Add a file to this section's folder."""
        self._staging.add(f"{self.name}/{name}", content)

    def add_lines(self, name: str, documents: Iterable[Any]) -> None:
        """Add a file of canonical JSON lines to this section's folder."""
        self._staging.add_lines(f"{self.name}/{name}", documents)

    def open(self, name: str) -> AbstractContextManager[Writing]:
        """Add a file to this section's folder and write it piece by piece."""
        return self._staging.open(f"{self.name}/{name}")


Fill = Callable[[Section], object]

_sections: dict[str, tuple[str, Fill]] = {}


def register_section(name: str, fill: Fill, about: str = "") -> None:
    """Register a folder of the bundle. ``about`` is its line in README.txt. The name is not one of the log's own."""
    if name in OWN or "/" in name:
        raise ValueError(f"{name} cannot be a section of other rooms")
    _sections[name] = (about, fill)


def registered() -> dict[str, tuple[str, Fill]]:
    """The registered sections, by name, sorted."""
    return dict(sorted(_sections.items()))
