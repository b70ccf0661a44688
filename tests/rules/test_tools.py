"""The tool registry's documents: the defaults hold, and an incomplete or open document is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from imprimatur.formats import digests
from imprimatur.rules import tools

SAMPLES: dict[str, dict[str, Any]] = {
    "read_file": {"path": "/project/a.txt"},
    "write_file": {"path": "/project/a.txt", "content": "hello", "destructive": False},
    "delete_file": {"path": "/project/reports/q3.csv"},
    "send_email": {"to": ["bo@example.com"], "subject": "Hello", "body": "Text"},
    "execute_code": {"code": "print(1)"},
    "make_payment": {"payee": "Nordhav Supplies", "amount": "4200.00", "currency": "USD", "reference": "INV-7"},
    "http_request": {"method": "GET", "url": "https://api.example.com/v1"},
    "call_external": {"url": "https://api.example.com/v1", "operation": "sync"},
}


@pytest.fixture
def document() -> dict[str, Any]:
    return copy.deepcopy(tools.DEFAULT_TOOLS["write_file"])


def test_the_default_tools_are_valid_and_accept_ordinary_parameters() -> None:
    assert set(SAMPLES) == set(tools.DEFAULT_TOOLS)
    for name, document in tools.DEFAULT_TOOLS.items():
        tools.check(document)
        assert tools.validator(document).problems(SAMPLES[name]) == []


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_field_the_schema_does_not_have_is_refused(name: str) -> None:
    checker = tools.validator(tools.DEFAULT_TOOLS[name])
    assert checker.problems({**SAMPLES[name], "recursive": True})
    assert checker.problems({})
    assert checker.problems("text")


def test_invariant_11_messages_about_parameters_do_not_repeat_their_values() -> None:
    checker = tools.validator(tools.DEFAULT_TOOLS["make_payment"])
    problems = checker.problems({**SAMPLES["make_payment"], "amount": "hunter2-secret", "account": 5})
    assert len(problems) == 2
    assert "hunter2" not in " ".join(problems)


def test_a_withheld_field_may_be_missing_only_where_the_tool_allows_it() -> None:
    document = copy.deepcopy(tools.DEFAULT_TOOLS["make_payment"])
    document["schema"]["required"].append("account")
    tools.check(document)
    checker = tools.validator(document)
    assert checker.problems(SAMPLES["make_payment"])
    assert checker.problems(SAMPLES["make_payment"], withheld=["account"]) == []
    assert checker.problems(SAMPLES["make_payment"], withheld=["amount"])


def test_the_digest_names_every_part_of_a_document(document: dict[str, Any]) -> None:
    before = tools.digest(document)
    assert digests.is_digest(before)
    assert tools.digest(copy.deepcopy(document)) == before
    document["effects"][0]["resource"] = "/tmp/{path}"
    assert tools.digest(document) != before


def _set(path: str, value: object) -> Any:
    def change(document: dict[str, Any]) -> None:
        *steps, last = path.split(".")
        place: Any = document
        for step in steps:
            place = place[int(step)] if isinstance(place, list) else place[step]
        place[int(last) if isinstance(place, list) else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("extra", 1), "unknown key"),
        (_set("typ", "imprimatur/tool/v2"), "must be"),
        (_set("reversibility", "maybe"), "must be one of"),
        (_set("minimum_risk", "NONE"), "must be one of"),
        (_set("card", "fancy"), "must be one of"),
        (_set("name", "write file"), "name:"),
        (_set("effects", []), "at least one"),
        (_set("effects.0.action", "write"), "domain:verb"),
        (_set("effects.0.resource", "{nowhere}"), "no parameter"),
        (_set("effects.0.resource", "{path"), "brace"),
        (_set("effects.0.resource", "{path!r}"), "brace"),
        (_set("effects.0.resource", "{destructive}"), "required"),
        (_set("size", "{path}{content}"), "one parameter"),
        (_set("withhold", ["path"]), "withheld"),
        (_set("withhold", ["nowhere"]), "no parameter"),
        (_set("schema.type", "array"), "object schema"),
        (_set("schema.additionalProperties", True), "closed"),
        (_set("schema.patternProperties", {".*": {}}), "open it again"),
        (_set("schema.required", ["nowhere"]), "does not have"),
        (_set("schema.properties.path", {"$ref": "https://evil.example/schema"}), "stay inside"),
        (_set("schema.$schema", "https://evil.example/schema"), "leave it out"),
        (_set("cost", {"amount": "{path}", "unit": "dollars"}), "unit"),
        (_set("schema.maxProperties", 1.5), ""),
    ],
)
def test_an_open_or_inconsistent_document_is_refused_with_words(
    document: dict[str, Any], change: Any, words: str
) -> None:
    change(document)
    with pytest.raises(tools.ToolError) as refused:
        tools.check(document)
    assert words in str(refused.value)


def test_a_schema_that_is_not_json_schema_is_refused(document: dict[str, Any]) -> None:
    document["schema"]["properties"]["path"] = {"type": "text"}
    with pytest.raises(tools.ToolError):
        tools.validator(document)
