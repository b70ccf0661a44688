"""The OSCAL documents: they fit NIST's schemas, name the bundle's files by digest, and never praise what nobody saw."""

from __future__ import annotations

import copy
import hashlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from imprimatur.verify import controls
from tests.evidence import made
from tests.evidence.made import Files
from tests.vectors import vectors
from tests.verify import builder
from tests.verify.test_services import running

SCHEMAS = {
    "ssp.json": "oscal_ssp_schema.json",
    "assessment-plan.json": "oscal_assessment-plan_schema.json",
    "assessment-results.json": "oscal_assessment-results_schema.json",
    "poam.json": "oscal_poam_schema.json",
}


def schema(name: str) -> Any:
    return jsonschema_rs.validator_for((vectors() / "oscal" / SCHEMAS[name]).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def files() -> Files:
    return made.bundle_of(made.eventful())


def document(files: Files, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files[f"oscal/{name}"])
    return found


def results(files: Files) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document(files, "assessment-results.json")["assessment-results"]["results"]
    return found


def everything(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from everything(each)
    elif isinstance(value, list):
        for each in value:
            yield from everything(each)


@pytest.mark.parametrize("story", [running, builder.whole_story, made.good, made.eventful])
@pytest.mark.parametrize("name", SCHEMAS)
def test_each_document_fits_its_schema(name: str, story: Any) -> None:
    found = document(made.bundle_of(story()), name)
    errors = [f"{error.instance_path}: {error.message}" for error in schema(name).iter_errors(found)]
    assert errors == []


def test_nists_own_example_fits_the_schema_that_ours_are_held_against() -> None:
    example = json.loads((vectors() / "oscal" / "nist_example_assessment-results.json").read_text(encoding="utf-8"))
    assert schema("assessment-results.json").is_valid(example)


def test_what_does_not_fit_is_refused(files: Files) -> None:
    good = document(files, "assessment-results.json")
    check = schema("assessment-results.json")
    assert check.is_valid(good)
    unknown, without, ok = (copy.deepcopy(good) for _ in range(3))
    unknown["assessment-results"]["praise"] = "all"
    del without["assessment-results"]["import-ap"]
    state = next(each for each in everything(ok) if each.get("type") == "objective-id")
    state["status"]["state"] = "ok"
    assert [check.is_valid(each) for each in (unknown, without, ok)] == [False, False, False]


def test_every_resource_names_a_file_of_the_bundle_by_its_digest(files: Files) -> None:
    named = 0
    for name in SCHEMAS:
        found = document(files, name)
        resources = {each["uuid"] for part in everything(found) for each in part.get("resources", [])}
        for part in everything(found):
            for link in part.get("rlinks", []):
                digest = hashlib.sha256(files[link["href"].removeprefix("../")]).hexdigest()
                assert link["hashes"] == [{"algorithm": "SHA-256", "value": digest}]
                named += 1
            for each in part.get("relevant-evidence", []):
                assert each["href"].removeprefix("#") in resources
    assert named > 10


def test_identifiers_are_of_version_5_unique_and_lead_somewhere(files: Files) -> None:
    for name in SCHEMAS:
        found = document(files, name)
        ids = [each["uuid"] for each in everything(found) if "uuid" in each]
        assert len(ids) == len(set(ids)), name
        assert {uuid.UUID(each).version for each in ids} == {5}
        for part in everything(found):
            for key in ("observation-uuid", "risk-uuid"):
                assert key not in part or part[key] in ids


def test_actors_are_components_of_the_plan(files: Files) -> None:
    plan = document(files, "assessment-plan.json")["assessment-plan"]
    known = {each["uuid"] for each in plan["assessment-assets"]["components"]}
    actors = {each["actor-uuid"] for result in results(files) for each in everything(result) if "actor-uuid" in each}
    assert len(actors) == 3 and actors <= known


def test_the_same_log_gives_the_same_bytes_and_a_longer_one_keeps_what_it_told() -> None:
    first, again = made.bundle_of(made.good()), made.bundle_of(made.good())
    assert all(first[f"oscal/{name}"] == again[f"oscal/{name}"] for name in SCHEMAS)
    tested = [
        {each["uuid"] for each in everything(results(made.bundle_of(log))) if each.get("methods") == ["TEST"]}
        for log in (made.good(), made.eventful())
    ]
    assert tested[0] and tested[0] <= tested[1]


def test_each_month_is_a_result_with_what_was_tested_and_seen(files: Files) -> None:
    first, second = results(files)
    assert (first["title"], second["title"]) == ("2026-03", "2026-04")
    assert "findings" not in first and "findings" in second
    methods = [each["methods"][0] for each in second["observations"]]
    assert set(methods) == {"TEST", "EXAMINE"}
    assert {each["collected"] for each in second["observations"]} <= {
        json.loads(line)["time"]
        for name in ("canaries/index.jsonl", "monitor/index.jsonl")
        for line in files[name].splitlines()
    } | {json.loads(files["claims.json"])["time"]}


def test_drift_and_red_canaries_are_risks_and_stand_in_the_plan_of_action(files: Files) -> None:
    risks = [each for result in results(files) for each in result.get("risks", [])]
    assert sorted(each["title"] for each in risks) == [
        "A canary failed",
        "A canary failed",
        "Drift from a launch",
        "Not shown: canaries",
    ]
    # The launch that drifted has ended; whether a canary that failed was dealt with is for people to say.
    assert {each["title"]: each["status"] for each in risks}["Drift from a launch"] == "closed"
    poam = document(files, "poam.json")["plan-of-action-and-milestones"]
    assert {each["uuid"] for each in poam["risks"]} == {each["uuid"] for each in risks}
    open_here = [control.id for control in controls.CONTROLS.values() if control.open]
    assert len(poam["poam-items"]) == len(risks) + len(open_here)
    assert all(any(item["title"].startswith(f"{id} ") for item in poam["poam-items"]) for id in open_here)


def findings(files: Files) -> dict[str, str]:
    return {
        each["target"]["target-id"]: each["target"]["status"]["state"]
        for result in results(files)
        for each in result.get("findings", [])
    }


def test_nothing_is_satisfied_for_want_of_data() -> None:
    files = made.bundle_of(running())
    found = findings(files)
    states = {each["name"]: each["verdict"] for each in json.loads(files["claims.json"])["statements"]}
    assert states["canaries"] == states["observations"] == states["build"] == "cannot tell"
    assert "ca-7_obj" not in found and "si-4_obj" not in found and "sr-4_obj" not in found
    remarks = results(files)[-1]["remarks"]
    assert "CA-7" in remarks and "no attack was tried yet" in remarks


def test_what_is_shown_is_satisfied_and_what_is_not_is_not(files: Files) -> None:
    good = findings(made.bundle_of(made.good()))
    assert set(good.values()) == {"satisfied"}
    assert good["ca-7_obj"] == good["ac-6.10_obj"] == good["au-9_obj"] == "satisfied"
    found = findings(files)
    assert found["ca-7_obj"] == found["ac-6.10_obj"] == "not-satisfied"
    assert found["au-9_obj"] == "satisfied"


def test_what_somebody_else_has_to_show_is_never_satisfied() -> None:
    files = made.bundle_of(made.good())
    others = {f"{control.oscal}_obj" for control in controls.CONTROLS.values() if control.open}
    assert {"au-9.2_obj", "cm-14_obj", "au-4_obj", "sc-45.1_obj"} <= others
    assert not others & set(findings(files))
    assert "AU-9(2)" in results(files)[-1]["remarks"]
