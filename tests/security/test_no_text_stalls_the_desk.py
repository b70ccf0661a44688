"""What an agent sends costs the server, and whoever reads it, no more than its length: nobody is kept from deciding."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from imprimatur.cards import sheet
from imprimatur.rules import conditions
from imprimatur.rules.policy import DEMO_POLICY, Facts, validate


class Work:
    """Counts the steps of comparing lines: looking one up is one step, and so is every pair of equal lines."""

    def __init__(self) -> None:
        self.steps = 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["a", "b"] * 1000, ["b", "a", "c"] * 660),
        ([f"{n % 40}" for n in range(2000)], [f"{n * 7 % 40}" for n in range(1999)]),
        (["x"] * 1999, ["x", "y"] * 1000),
    ],
    ids=["two lines again and again", "forty lines again and again", "one line again and again"],
)
def test_lines_that_repeat_do_not_make_a_comparison_stall(
    old: list[str], new: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    real = sheet.SequenceMatcher.find_longest_match

    def counted(self: sheet.SequenceMatcher[str], alo: int = 0, ahi: int | None = None, *more: int) -> object:
        at = len(self.a) if ahi is None else ahi
        work.steps += sum(1 + len(self.b2j.get(line, ())) for line in self.a[alo:at])
        assert work.steps < 10_000_000, "comparing these lines takes far longer than reading them"
        return real(self, alo, at, *more)

    monkeypatch.setattr(sheet.SequenceMatcher, "find_longest_match", counted)
    found = sheet.difference(["first", *old, "last"], ["erste", *new, "letzte"])
    assert [line for op, line in found if op != "-"] == ["erste", *new, "letzte"]
    assert Counter(line for op, line in found if op != "+") == Counter(["first", *old, "last"])


def test_a_small_change_among_lines_that_repeat_is_still_shown_as_one() -> None:
    old = [line for n in range(100) for line in (f"def f{n}():", "    pass", "", "")]
    new = [*old[:41], "    return 1", *old[42:200], "# new", *old[200:]]
    found = [(op, line) for op, line in sheet.difference(old, new) if op != " "]
    assert sorted(found) == sorted([("-", old[41]), ("+", "    return 1"), ("+", "# new")])


def test_facts_are_handed_to_the_policy_once_however_many_effects_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte of parameters and 256 effects would otherwise keep a thread of the door busy for a minute."""
    rules = [
        {"name": "mine", "risk": "LOW", "action": "file:write", "when": 'under(resource, "/mine")'},
        {
            "name": "yours",
            "risk": "CRITICAL",
            "action": "file:write",
            "when": 'resource == "/yours/7" && action != "x"',
        },
    ]
    policy = validate({**DEMO_POLICY, "rules": rules})
    made = 0
    real = conditions.context

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal made
        made += 1
        return real(*given, **more)

    monkeypatch.setattr(conditions, "context", counted)
    effects = [{"action": "file:write", "resource": f"/mine/{n}"} for n in range(200)]
    facts = Facts(tool="write_file", effects=effects, known=True, reversibility="reversible")
    assert policy.evaluate(facts).outcome == "LOW"
    facts = replace(facts, effects=[*effects, {"action": "file:write", "resource": "/yours/7"}])
    assert policy.evaluate(facts).outcome == "CRITICAL"
    assert made == 2
