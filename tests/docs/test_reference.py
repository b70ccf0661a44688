"""What the reference pages promise: nothing left out, nothing made up."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import get_commands

from approvals.door import attesting, operations, problems, schemas
from governance.errors import STATUS
from imprimatur import cli, errors
from imprimatur.formats.entries import KINDS
from imprimatur.verify.rulebook import RULES
from server import health, metrics
from tests.architecture.sources import OWN, ROOT, calls, modules, tree
from tests.docs.pages import DOCS, code_of, rows, sections

READERS = {"text", "flag", "number", "words", "pairs"}
PASSED_ON = {"IMPRIMATUR_"}  # the prefix itself
TAG = re.compile(r"^imprimatur[/-][a-z-]+[/-]v[0-9]+(?=\x00|$)")
# Never leave the machine that computes them: what they hash is compared with itself only.
PRIVATE_TAGS = {
    "imprimatur/call/v1",
    "imprimatur/history-snapshot/v5",
    "imprimatur/idempotency/v1",
}


# --- settings ----------------------------------------------------------------------------------------------------


def documented_settings() -> dict[str, list[str]]:
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    return {code_of(row[0]): row for row in rows(page) if code_of(row[0]).startswith("IMPRIMATUR_")}


def declared_settings() -> dict[str, ast.Call]:
    """The settings of the server, with the call that reads each."""
    found: dict[str, ast.Call] = {}
    for module in modules("server"):
        for call in calls(module):
            first = call.args[0] if call.args else None
            name = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
            if isinstance(call.func, ast.Attribute) and call.func.attr in READERS and name.isupper():
                found[f"IMPRIMATUR_{name}"] = call
    return found


def named_settings() -> set[str]:
    """Every name of a variable that stands in the code."""
    found: set[str] = set()
    for module in modules(*OWN, *(folder for folder in ("examples", "bench", "tests") if (ROOT / folder).is_dir())):
        if module.startswith(("tests/docs/", "tests/architecture/", "tests/server/")):  # invented names in there
            continue
        for node in ast.walk(tree(ROOT / module)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"IMPRIMATUR_[A-Z0-9_]+", node.value))
    return {name.rstrip("_") for name in found - PASSED_ON}


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    declared = declared_settings()
    assert "IMPRIMATUR_DATA" in declared and "IMPRIMATUR_SMTP_PORT" in declared

    in_code = set(declared) | named_settings()
    documented = set(documented_settings())

    assert documented - in_code == set(), "documented, but nothing reads it"
    assert in_code - documented == set(), "read, but missing from docs/settings.md"


def test_documented_defaults_are_the_real_ones() -> None:
    documented = documented_settings()
    wrong = {}
    for name, call in declared_settings().items():
        if len(call.args) > 1 and isinstance(call.args[1], ast.Constant) and call.args[1].value != "":
            default = str(call.args[1].value)
            if f"`{default}`" not in documented[name][1]:
                wrong[name] = default

    assert not wrong


# --- entries -----------------------------------------------------------------------------------------------------


def documented_kinds() -> dict[str, dict[str, bool]]:
    """Keys by kind, as docs/entries.md has them: whether each is required."""
    page = (DOCS / "entries.md").read_text(encoding="utf-8")
    kinds = {code_of(title): body for title, body in sections(page, 3).items() if code_of(title)}
    return {
        kind: {code_of(row[0]): row[1] == "yes" for row in rows(body) if code_of(row[0])}
        for kind, body in kinds.items()
    }


def test_every_kind_of_entry_is_documented_and_nothing_else_is() -> None:
    assert list(documented_kinds()) == list(KINDS), "docs/entries.md follows the order of the code"


@pytest.mark.parametrize("kind", KINDS)
def test_the_keys_of_a_body_are_documented(kind: str) -> None:
    shape = KINDS[kind]
    real = {**dict.fromkeys(shape.required, True), **dict.fromkeys(shape.optional, False)}

    assert documented_kinds()[kind] == real


# --- the agent API -----------------------------------------------------------------------------------------------

METHODS = ("GET", "POST")


def documented_operations() -> set[tuple[str, str]]:
    page = (DOCS / "agent-api.md").read_text(encoding="utf-8")
    found = set()
    for title in sections(page, 3):
        method, _, path = code_of(title).partition(" ")
        if method in METHODS:
            found.add((method, _plain(path)))
    return found


def _plain(path: str) -> str:
    path = path.removeprefix("/api/v1").partition("?")[0]
    return re.sub(r"\{[^}]+\}|…", "*", path).rstrip("/") or "/"


def published_operations() -> set[tuple[str, str]]:
    from approvals.endpoints.api import api

    schema = api.get_openapi_schema(path_prefix="/api/v1/")
    return {
        (method.upper(), _plain(path))
        for path, methods in schema["paths"].items()
        for method in methods
        if method.upper() in METHODS
    }


def operations_by_docstring() -> set[tuple[str, str]]:
    """Each function of the door says in its first words which call it answers."""
    found = set()
    for name, function in {**vars(operations), **vars(attesting)}.items():
        words = re.match(r"(GET|POST) (/\S+?):? ", getattr(function, "__doc__", None) or "")
        if words and not name.startswith("_"):
            found.add((words[1], _plain(words[2].rstrip(":"))))
    return found


def test_every_operation_of_the_door_is_documented() -> None:
    answered = operations_by_docstring()
    assert ("POST", "/actions") in answered and ("GET", "/actions/*") in answered

    assert answered == documented_operations()


def test_every_operation_of_the_openapi_document_is_documented() -> None:
    assert published_operations() <= documented_operations()


def members(schema: dict[str, Any], document: dict[str, Any]) -> set[str]:
    """The names of an object's members, through references."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return set(schema.get("properties", {}))


def test_every_member_of_a_request_is_documented() -> None:
    from approvals.endpoints.api import api

    document = api.get_openapi_schema(path_prefix="/api/v1/")
    page = (DOCS / "agent-api.md").read_text(encoding="utf-8")
    by_operation = {
        (found[0], _plain(found[2])): body
        for title, body in sections(page, 3).items()
        if (found := code_of(title).partition(" "))
    }
    missing = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            words = set(re.findall(r"\w+", by_operation[method.upper(), _plain(path)]))
            if content is not None:
                missing += [(path, name) for name in members(content["schema"], document) - words]

    assert not missing


def test_every_member_of_an_answer_about_an_action_is_documented() -> None:
    page = (DOCS / "agent-api.md").read_text(encoding="utf-8")
    table = rows(sections(page, 2)["Answers about an action"])
    documented = {name for row in table for name in re.findall(r"`(\w+)`", row[0])}

    assert documented == set(schemas.ActionView.model_fields)


def documented_codes() -> dict[str, list[str]]:
    page = (DOCS / "agent-api.md").read_text(encoding="utf-8")
    return {code_of(row[0]): row for row in rows(sections(page, 2)["Error codes"])}


def raised_codes() -> Iterator[str]:
    for module in modules("governance", "approvals"):
        for call in calls(module):
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            first = call.args[0] if call.args else None
            if name == "Refused" and isinstance(first, ast.Constant):
                yield str(first.value)


def test_every_error_code_is_documented_and_nothing_else_is() -> None:
    assert set(documented_codes()) == set(STATUS) | set(problems.HINTS)
    assert set(raised_codes()) <= set(documented_codes())


def test_documented_statuses_are_the_real_ones() -> None:
    documented = {code: row[1] for code, row in documented_codes().items() if code in STATUS}

    assert documented == {code: str(status) for code, status in STATUS.items()}


# --- the specification -------------------------------------------------------------------------------------------


def test_the_specification_lists_the_rules_of_a_history_word_for_word() -> None:
    page = (DOCS / "spec" / "log.md").read_text(encoding="utf-8")
    documented = [(row[0], code_of(row[1]), row[2]) for row in rows(sections(page, 2)["9. Rules of a history"])]

    assert documented == [(str(rule.number), rule.name, rule.words) for rule in RULES]


def test_invariant_12_the_specification_names_every_tag_that_keeps_purposes_apart() -> None:
    page = "".join(
        (DOCS / "spec" / name).read_text(encoding="utf-8") for name in ("log.md", "signatures.md", "bundle.md")
    )
    tags = {
        tag
        for module in modules(*OWN)
        for node in ast.walk(tree(ROOT / module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        for tag in TAG.findall(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
    }
    assert "imprimatur/action/v1" in tags

    assert {tag for tag in tags - PRIVATE_TAGS if f"`{tag}`" not in page and f'"{tag}"' not in page} == set()


# --- other lists -------------------------------------------------------------------------------------------------


def test_every_way_a_receipt_is_refused_is_documented() -> None:
    page = (DOCS / "receipts.md").read_text(encoding="utf-8")
    documented = {code_of(row[2]) for row in rows(sections(page, 2)["What the client checks"])}
    raised = {
        str(call.args[0].value)
        for call in calls("client/imprimatur/formats/receipts.py")
        if isinstance(call.func, ast.Name) and call.func.id == "ReceiptError" and isinstance(call.args[0], ast.Constant)
    }
    computed = {"tool", "delegation", "agent", "parameters", "context", "cost", "realm"}  # names of compared fields
    wanted = {f"receipt-{code}" for code in (raised | computed) - {"expired"}}

    assert wanted | {"approval-expired", "arguments-changed"} == documented


def test_every_metric_is_documented_and_nothing_else_is() -> None:
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(imprimatur_\w+)", page, re.M))

    assert documented == {metric.name for metric in metrics.REGISTRY.collect()}
    assert f"more than {health.MOST_UNPUBLISHED} entries unpublished" in page


def test_every_command_in_the_documentation_exists() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in [*DOCS.rglob("*.md"), ROOT / "README.md"])
    managed = set(re.findall(r"manage\.py (\w+)", text))
    asked = set(re.findall(r"(?:^\s*|`|\$ )imprimatur ([a-z]+)", text, re.M))
    program = cli.parser()
    known = {name for action in program._actions if isinstance(action.choices, dict) for name in action.choices}
    assert managed and asked

    assert managed <= set(get_commands())
    assert asked <= known


def test_every_exception_in_the_guide_for_authors_exists() -> None:
    page = (DOCS / "agent-author.md").read_text(encoding="utf-8")
    table = rows(sections(page, 2)["What can go wrong"])
    named = {name for row in table for name in re.findall(r"`(\w+)`", row[0])}

    assert named <= {name for name in vars(errors) if name[0].isupper()}
    assert all(issubclass(getattr(errors, name), errors.ActionBlocked) for name in named)
