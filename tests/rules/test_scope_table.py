"""docs/scope.md is the specification; every row of its tables is executed here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imprimatur.rules import scope

PAGE = Path(__file__).parents[2] / "docs" / "scope.md"


def _cell(text: str) -> str:
    text = text.strip()
    if text.startswith("`") and text.endswith("`") and text.count("`") == 2:
        text = text[1:-1]
    return re.sub(r"\{U\+([0-9A-F]{4})\}", lambda match: chr(int(match[1], 16)), text)


def _rows(name: str) -> list[list[str]]:
    after = PAGE.read_text(encoding="utf-8").split(f"<!-- table: {name} -->\n\n")
    assert len(after) == 2, f"docs/scope.md has one table {name}"
    lines = after[1].split("\n\n", 1)[0].splitlines()
    return [[_cell(cell) for cell in line.strip().strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(("text", "action", "resource", "covered", "because"), _rows("covers"))
def test_the_table_says_what_covers_what(text: str, action: str, resource: str, covered: str, because: str) -> None:
    assert covered in ("yes", "no")
    target = None if resource == "(none)" else resource
    assert scope.parse(text).covers(action, target) is (covered == "yes")
    assert scope.any_covers([scope.parse(text)], action, target) is (covered == "yes")
    if because.startswith("refused"):
        with pytest.raises(scope.ScopeError):
            scope.normalise(action, resource)
        assert not scope.parse("*").covers(action, target)


@pytest.mark.parametrize(("action", "written", "becomes"), _rows("normalise"))
def test_the_table_says_what_a_resource_becomes(action: str, written: str, becomes: str) -> None:
    if becomes == "refused":
        with pytest.raises(scope.ScopeError):
            scope.normalise(action, written)
        assert not scope.parse("*").covers(action, written)
        return
    assert scope.normalise(action, written) == becomes
    assert scope.normalise(action, becomes) == becomes


@pytest.mark.parametrize(("text", "instead"), _rows("malformed"))
def test_the_table_says_what_is_not_a_scope(text: str, instead: str) -> None:
    with pytest.raises(scope.ScopeError):
        scope.parse(text)
    if ":" in instead or instead == "*":
        scope.parse(instead.split("`")[-2] if "`" in instead else instead)


@pytest.mark.parametrize(("child", "parent", "holds"), _rows("within"))
def test_the_table_says_what_is_narrower(child: str, parent: str, holds: str) -> None:
    assert holds in ("yes", "no")
    assert scope.parse(child).within(scope.parse(parent)) is (holds == "yes")


@pytest.mark.parametrize(("word", "becomes"), _rows("expand"))
def test_the_table_says_what_a_permission_becomes(word: str, becomes: str) -> None:
    assert scope.expand([word]) == re.findall(r"[^` ]+", becomes)


def test_every_permission_and_preset_stands_in_the_table() -> None:
    words = {row[0] for row in _rows("expand")}
    assert words >= set(scope.PERMISSIONS) | set(scope.PRESETS)


def test_no_preset_contains_everything() -> None:
    assert all("*" not in text for texts in scope.PRESETS.values() for text in texts)


def test_expanding_keeps_the_order_and_drops_repeats() -> None:
    assert scope.expand(["WRITE_FILE", "READONLY", "file:read", "*"]) == ["file:write", "file:read", "db:read", "*"]


@pytest.mark.parametrize("word", ["readonly", "READONLY:/project", "WRITE_FILE:", "FULLY", "", 7])
def test_an_unknown_word_is_not_expanded(word: object) -> None:
    with pytest.raises(scope.ScopeError):
        scope.expand([word])  # type: ignore[list-item]  # what a caller without a type checker may pass


@pytest.mark.parametrize("value", [None, 7, b"file:read", ["file:read"]])
def test_what_is_not_text_is_neither_a_scope_nor_an_action(value: object) -> None:
    with pytest.raises(scope.ScopeError):
        scope.parse(value)  # type: ignore[arg-type]  # as above
    assert not scope.parse("*").covers(value, "/a")  # type: ignore[arg-type]  # as above
    if value is not None:
        assert not scope.parse("*").covers("file:read", value)  # type: ignore[arg-type]  # as above
