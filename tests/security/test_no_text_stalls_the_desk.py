"""What an agent sends costs the server, and whoever reads it, no more than its length: nobody is kept from deciding."""

from __future__ import annotations

from collections import Counter

import pytest

from imprimatur.cards import sheet


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
