"""Holds a bundle to what it says of itself: which requests it shows, and that nothing that is there points beside it.

What was left out is known by its hash alone. So this finds what the entries that are there contradict; it cannot find
a revocation, a denial or a stricter policy that was left out and that nothing later speaks of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imprimatur.formats.selection import REQUEST_KINDS
from imprimatur.verify.contents import SELECTION, Selection

_BEGINNINGS = ("action.requested", "action.decided")
_SOME = 5
_WORDS = {
    "agents": "agents",
    "requests": "requests",
    "from": "begun from",
    "until": "begun before",
    "verdicts": "verdicts",
    "risks": "risks",
    "controls": "controls",
}


@dataclass(slots=True)
class _Shown:
    """A request that is there: its first entry's index, agent, time and risk, and what became of it."""

    index: int
    agent: str
    time: str
    risk: str
    verdict: str = "open"


class Chosen:
    """Goes through the entries that are there, in step with the history; then `fault` says what does not fit."""

    def __init__(self, said: Selection, size: int) -> None:
        self._said = said
        self._there = bytearray(size)
        self._requests: dict[str, _Shown] = {}
        self._of: dict[int, str] = {}
        self._pointed_at: set[str] = set()
        self._fault = ""
        self.shown = 0

    def entry(self, entry: Mapping[str, Any]) -> None:
        """Take down one entry that the history has accepted."""
        self._there[entry["index"]] = 1
        self.shown += 1
        if self._said.whole:
            return
        name = entry["subject"] if entry["kind"] in REQUEST_KINDS else ""
        for ref in entry["refs"]:
            if not self._there[ref["index"]]:
                self._blame(f"entry {entry['index']} points at entry {ref['index']}, which was left out")
            if self._of.get(ref["index"], name) != name:
                self._pointed_at.add(self._of[ref["index"]])
        if name:
            self._about(name, entry)

    def _about(self, name: str, entry: Mapping[str, Any]) -> None:
        index, body = entry["index"], entry["body"]
        self._of[index] = name
        if name not in self._requests:
            if entry["kind"] not in _BEGINNINGS:
                self._blame(f"entry {index} is about a request of which the beginning was left out")
                return
            self._requests[name] = _Shown(index, body["binding"]["agent"], entry["time"], body["risk"])
        if entry["kind"] == "action.decided":
            self._requests[name].verdict = body["verdict"]
        if "supersedes" in body:
            self._pointed_at.add(body["supersedes"])
            if body["supersedes"] not in self._requests:
                self._blame(f"entry {index} supersedes a request that was left out")

    def fault(self) -> str:
        """What the bundle says of itself and does not keep, in words; empty when it keeps all that can be told."""
        said, size = self._said, len(self._there)
        if said.size != size:
            return f"{SELECTION} speaks of {said.size} entries, and the checkpoint of {size}"
        if said.shown != self.shown:
            return f"{SELECTION} says that {said.shown} entries are here, and {self.shown} are"
        if said.whole or self._fault:
            return self._fault
        for name, shown in self._requests.items():
            if name not in self._pointed_at and not _matches(said.filters, name, shown):
                return f"entry {shown.index} is of a request that was not asked for, and that nothing here points at"
        return ""

    def has(self, index: int) -> bool:
        """Whether this entry is there."""
        return bool(self._there[index])

    def not_here(self) -> list[str]:
        """The requests that were asked for by name and are not here."""
        return [name for name in self._said.filters.get("requests", ()) if name not in self._requests]

    def words(self) -> str:
        """What the bundle was asked to show."""
        filters = self._said.filters
        told = []
        for name, word in _WORDS.items():
            if name in filters:
                value = filters[name]
                some = (
                    ", ".join(value[:_SOME]) + (", …" if len(value) > _SOME else "")
                    if isinstance(value, list)
                    else value
                )
                told.append(f"{word} {some}")
        return "; ".join(told)

    def _blame(self, fault: str) -> None:
        self._fault = self._fault or fault


def _matches(filters: Mapping[str, Any], name: str, shown: _Shown) -> bool:
    """Whether a request is one that was asked for. Which requests serve a control is not asked again."""
    return (
        shown.agent in filters.get("agents", (shown.agent,))
        and name in filters.get("requests", (name,))
        and filters.get("from", "") <= shown.time
        and ("until" not in filters or shown.time < filters["until"])
        and shown.risk in filters.get("risks", (shown.risk,))
        and shown.verdict in filters.get("verdicts", (shown.verdict,))
    )
