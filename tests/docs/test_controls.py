"""docs/controls.md says what the one list of controls says."""

from __future__ import annotations

import re

import pytest

from imprimatur.verify.controls import CONTROLS, NEEDS, Need
from tests.docs.pages import DOCS, rows, sections

PAGE = (DOCS / "controls.md").read_text(encoding="utf-8")


def test_every_control_stands_in_the_table_as_in_the_list() -> None:
    listed = [tuple(row) for row in rows(sections(PAGE, 2)["Every control"])]
    assert listed == [
        (each.id, each.title, NEEDS[each.need].words, each.limit, each.open) for each in CONTROLS.values()
    ]


def test_what_is_left_to_show_elsewhere_is_said() -> None:
    said = PAGE.partition("for each of these: ")[2].partition(". They")[0].split(", ")
    assert said == [control.id for control in CONTROLS.values() if control.open]


@pytest.mark.parametrize("need", NEEDS.values(), ids=list(NEEDS))
def test_each_need_says_what_answers_and_checks_it(need: Need) -> None:
    text = sections(sections(PAGE, 2)["Needs"], 3)[need.words]
    assert need.answer in text
    said = {row[0]: row[1] for row in rows(text)}
    assert re.findall(r"`([^`]+)`", said["In a bundle"]) == list(need.artefacts)
    assert re.findall(r"`([^`]+)`", said["Claims"]) == list(need.claims)
    assert [int(number) for number in re.findall(r"\d+", said["Rules"])] == list(need.rules)
    assert re.findall(r"`([^`]+)`", said["Canaries"]) == list(need.canaries)
    assert re.findall(r"C([\d.]+)", said["AISVS 1.0"]) == list(need.aisvs)
    assert said["Not shown"] == " ".join(need.limits)
