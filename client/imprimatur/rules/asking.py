"""Who is told of a request, and when. It only ever widens who is asked; who *may* answer is another question."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imprimatur.formats import shapes

EVERYONE_AT = 75  # percent of the time a request has
MAX_LEVELS = 16
SHAPE = shapes.ListOf(
    shapes.Obj(
        {"after": shapes.Int(0, 99)},
        {
            "people": shapes.ListOf(shapes.Text(max=40, pattern=r"pe_[0-9a-z]{1,37}"), max=100, min=1, unique=True),
            "roles": shapes.ListOf(shapes.Text(max=64, pattern=r"[a-z][a-z0-9_\-]*"), max=16, min=1, unique=True),
        },
    ),
    max=MAX_LEVELS,
    min=1,
)


@dataclass(frozen=True, slots=True)
class Level:
    """From `after` percent of the time on these people, and holders of these roles, are asked as well."""

    after: int
    people: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    everyone: bool = False

    def asks(self, person: str, roles: Collection[str]) -> bool:
        """Whether this level asks somebody, provided that they may answer at all."""
        return self.everyone or person in self.people or not self.roles.isdisjoint(roles)


def levels(document: Sequence[Mapping[str, Any]] | None) -> tuple[Level, ...]:
    """The levels in order. Without any, everybody eligible is asked at once; with some, from 75 percent on at last."""
    if not document:
        return (Level(0, everyone=True),)
    found = [
        Level(raw["after"], frozenset(raw.get("people", ())), frozenset(raw.get("roles", ())))
        for raw in document
        if raw["after"] < EVERYONE_AT
    ]
    return (*found, Level(EVERYONE_AT, everyone=True))


def faults(document: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
    """What is wrong, as the place of the level and a sentence on what to change."""
    before = -1
    for place, raw in enumerate(document):
        if place == 0 and raw["after"] != 0:
            yield place, "The first level asks at once: after = 0. Otherwise nobody would know for a while."
        if raw["after"] <= before:
            yield place, "Levels stand in order, each after more of the time than the one before it."
        if "people" not in raw and "roles" not in raw:
            yield place, "Say whom this level asks: people = [...] or roles = [...]."
        before = raw["after"]
