"""The published OpenAPI document, as committed. After a change that is meant: UPDATE_SNAPSHOTS=1 pytest this file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from approvals.door import problems
from approvals.endpoints.api import api
from tests.door.agent import Send

SNAPSHOT = Path(__file__).parent / "snapshots" / "openapi.json"


def published() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(api.get_openapi_schema(path_prefix="/api/v1/")))
    return document


def test_the_openapi_document_is_the_one_that_was_agreed_on() -> None:
    text = json.dumps(published(), indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8"), "the API changed: run with UPDATE_SNAPSHOTS=1 if it is meant"


def test_every_error_is_declared_as_a_problem() -> None:
    for path, operations in published()["paths"].items():
        for method, operation in operations.items():
            errors = {status: response for status, response in operation["responses"].items() if int(status) >= 400}
            assert {"401", "403", "404", "422", "429", "503"} <= set(errors), (method, path)
            assert all(list(response["content"]) == [problems.PROBLEM] for response in errors.values()), (method, path)


def test_every_code_has_a_hint_that_says_what_to_do() -> None:
    assert all(hint.endswith(".") for hint in problems.HINTS.values())


def test_the_document_is_served() -> None:
    from tests.door.agent import through_django

    answer = through_django("GET", "/api/v1/openapi.json", {}, b"")
    assert answer.json["paths"] == published()["paths"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/v1/nowhere", 404), ("POST", "/api/v1/me", 405), ("PUT", "/api/v1/actions", 405)],
)
def test_a_wrong_address_or_method_is_a_problem_too(door: Send, method: str, path: str, status: int) -> None:
    answer = door(method, path, {}, b"")
    assert answer.status == status
    assert answer.headers["content-type"] == problems.PROBLEM
    assert answer.json["hint"]
