"""Which entries a selective bundle keeps: all but those about requests that were not chosen.

Everything is decided from the signed entries. A request that a chosen one supersedes, and one whose entries a kept
entry cites, is chosen as well, so that nothing that is kept points at something that was left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from audit.evidence.controls import CONTROLS, Asked
from imprimatur.formats.selection import REQUEST_KINDS
from imprimatur.formats.shapes import ShapeError

_JUDGED = frozenset({"action.requested", "vote.cast", "action.decided"})

Payload = Mapping[str, Any]
Reading = Callable[[Callable[[str, str], bool]], Iterable[Payload]]
"""Reads the log from the beginning, once per pass: the payloads whose kind and subject are wanted. What is not wanted
is not parsed, which is what makes a small selection from a large log quick."""


def check_controls(filters: Mapping[str, Any]) -> None:
    """Hold that every control asked for is one that is offered. Raises ShapeError."""
    unknown = sorted(set(filters.get("controls", ())) - set(CONTROLS))
    if unknown:
        raise ShapeError("controls", f"has {unknown[0]}, which this installation has no requests to show for")


def choose(filters: Mapping[str, Any], reading: Reading, at: Callable[[int], Payload]) -> frozenset[str]:
    """The ids of the requests that these filters choose, with those that they cannot be read without.

    ``at`` gives the payload of one entry. Memory holds the chosen ids and the requests that are not decided yet.
    """
    return frozenset(_closed({asked.id for asked in _matching(filters, reading)}, reading, at))


def _matching(filters: Mapping[str, Any], reading: Reading) -> Iterator[Asked]:
    ids = frozenset(filters.get("requests", ()))

    def wanted(kind: str, request: str) -> bool:
        return kind in _JUDGED and (not ids or request in ids) and (kind != "vote.cast" or request in undecided)

    undecided: dict[str, Asked] = {}
    passed_by: set[str] = set()
    for payload in reading(wanted):
        kind, request = payload["kind"], payload["subject"]
        if kind == "action.requested":
            if _begins(filters, Asked(payload)):
                undecided[request] = Asked(payload)
            else:
                passed_by.add(request)
        elif kind == "vote.cast":
            undecided[request].votes.append(payload)
        elif kind == "action.decided":
            found = undecided.pop(request, None)
            if request in passed_by:
                passed_by.discard(request)
            elif found is None and _begins(filters, Asked(payload)):
                found = Asked(payload)
            if found is not None:
                found.decision = payload
                if _ends(filters, found):
                    yield found
    yield from (asked for asked in undecided.values() if _ends(filters, asked))


def _begins(filters: Mapping[str, Any], asked: Asked) -> bool:
    """Whether the first entry alone lets the request be chosen."""
    first = asked.first
    return (
        first["body"]["binding"]["agent"] in filters.get("agents", [first["body"]["binding"]["agent"]])
        and asked.id in filters.get("requests", [asked.id])
        and filters.get("from", "") <= first["time"]
        and ("until" not in filters or first["time"] < filters["until"])
        and asked.risk in filters.get("risks", [asked.risk])
    )


def _ends(filters: Mapping[str, Any], asked: Asked) -> bool:
    """Whether what became of the request lets it be chosen."""
    if asked.verdict not in filters.get("verdicts", [asked.verdict]):
        return False
    controls = filters.get("controls")
    return controls is None or any(CONTROLS[control].shows(asked) for control in controls)


def _closed(chosen: set[str], reading: Reading, at: Callable[[int], Payload]) -> set[str]:
    fresh, everything_else = frozenset(chosen), True
    while fresh or everything_else:
        wanted = partial(_wanted, fresh, everything_else)
        found = {request for payload in reading(wanted) for request in _cited(payload, at)}
        fresh, everything_else = frozenset(found - chosen), False
        chosen |= fresh
    return chosen


def _wanted(fresh: frozenset[str], everything_else: bool, kind: str, subject: str) -> bool:
    return subject in fresh if kind in REQUEST_KINDS else everything_else


def _cited(payload: Payload, at: Callable[[int], Payload]) -> Iterator[str]:
    """The requests that an entry points at."""
    if "supersedes" in payload["body"]:
        yield payload["body"]["supersedes"]
    for ref in payload["refs"]:
        cited = at(ref["index"])
        if cited["kind"] in REQUEST_KINDS:
            yield cited["subject"]
