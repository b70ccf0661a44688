"""The one list of controls: NIST's titles, and nothing in `checked by` that does not exist."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest

from audit.evidence import bundle
from audit.evidence.controls import CONTROLS as FILTERS
from imprimatur.formats import entries, selection, shapes
from imprimatur.rules.canaries import ATTEMPTS
from imprimatur.verify import assessment, claims
from imprimatur.verify.controls import CONTROLS, FAMILIES, NEEDS, Need, oscal_id, serving
from imprimatur.verify.rulebook import RULES
from tests.evidence.attested import Story
from tests.vectors import vectors

# OWASP AISVS 1.0, chapter C9: the numbers of its requirements by section.
AISVS = {1: 3, 2: 10, 3: 8, 4: 4, 5: 6, 6: 3}

each_need = pytest.mark.parametrize("need", NEEDS.values(), ids=list(NEEDS))


def test_ids_and_titles_are_nists() -> None:
    titles = json.loads((vectors() / "oscal" / "sp800-53r5_titles.json").read_text(encoding="utf-8"))
    assert {control.oscal: control.title for control in CONTROLS.values()} == {
        control.oscal: titles[control.oscal]["title"] for control in CONTROLS.values()
    }
    assert len(CONTROLS) > 90 and {control.family for control in CONTROLS.values()} == set(FAMILIES)


def test_an_id_is_written_as_the_catalogue_writes_it() -> None:
    assert [oscal_id(each) for each in ("AC-6", "AC-6(10)", "SI-7(15)")] == ["ac-6", "ac-6.10", "si-7.15"]


@each_need
def test_what_checks_a_need_exists(need: Need) -> None:
    assert need.claims and set(need.claims) <= set(claims.CONTROLS)
    assert set(need.rules) <= {rule.number for rule in RULES}
    assert set(need.canaries) <= set(ATTEMPTS)
    assert need.rests_on and set(need.rests_on) <= set(assessment.NAMES)
    assert set(need.kinds) <= set(entries.KINDS)
    assert need.commands and need.limits and need.answer
    assert need.id in {control.need for control in CONTROLS.values()}


@each_need
def test_requirements_of_aisvs_are_of_its_chapter_on_agents(need: Need) -> None:
    for number in need.aisvs:
        nine, section, place = map(int, number.split("."))
        assert nine == 9 and 1 <= place <= AISVS[section]


def test_every_control_that_a_claim_names_is_in_the_list_and_rests_on_something() -> None:
    assert {id for named in claims.CONTROLS.values() for id in named} <= set(CONTROLS)
    assert {id for name in assessment.NAMES for id in serving(name)} == set(CONTROLS)
    assert all(control.asks for control in CONTROLS.values())


def test_a_bundle_can_be_asked_for_by_controls_of_the_same_list() -> None:
    assert set(FILTERS) <= set(CONTROLS)
    for id, control in FILTERS.items():
        assert control.id == id and control.title == CONTROLS[id].title
        shapes.check({"controls": [id]}, selection.SHAPE)


def test_what_is_read_literally_is_said() -> None:
    assert "individual" in CONTROLS["AU-10"].limit and "H0" in CONTROLS["AU-10"].limit
    assert "physically different" in CONTROLS["AU-9(2)"].limit
    assert "certificate" in CONTROLS["CM-14"].limit and "X.509" in CONTROLS["CM-14"].open


@pytest.mark.django_db
def test_a_real_bundle_has_every_artefact_and_the_commands_name_files_of_it(attested: Story, tmp_path: Path) -> None:
    attested.world.publish()
    with zipfile.ZipFile(bundle.build(tmp_path / "b.zip").path) as archive:
        names = archive.namelist()
    assert len(names) > 40
    for need in NEEDS.values():
        for artefact in need.artefacts:
            assert any(name == artefact or (artefact[-1] == "/" and name.startswith(artefact)) for name in names), (
                artefact
            )
        for command in need.commands:
            for path in re.findall(r"[a-z]+/[\w./-]+", command):
                folder = path.rpartition("/")[0]
                known = path in names or any(name.startswith(f"{folder}/") for name in names)
                assert known, command
