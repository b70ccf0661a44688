"""The API held against its own OpenAPI document by generated requests, each signed as an agent would sign it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from audit import publisher
from imprimatur.formats import commitments, httpsig
from imprimatur.formats.encoding import un_b64u
from tests.conftest import World
from tests.door.agent import ORIGIN, AgentUnderTest, through_django
from tests.door.test_openapi import published

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)

schema = schemathesis.openapi.from_dict(published())
schema.config.generation.update(modes=[schemathesis.GenerationMode.POSITIVE])


def signing_hook(case: Any, signed: AgentUnderTest) -> tuple[requests.PreparedRequest, str, dict[str, str], bytes]:
    """Turn a generated case into what an agent would send: its own delegation, its own commitments, its signature."""
    given = case.as_transport_kwargs(base_url=ORIGIN)
    body = given.get("json")
    committed = "sha256:" + "0" * 64
    if isinstance(body, dict) and case.operation.label == "POST /api/v1/actions":
        body = {**body, "delegation": signed.delegation}
        committed = _committed(body) or committed
    raw = b"" if body is None else json.dumps(body).encode()
    prepared = requests.Request(given["method"], given["url"], params=given.get("params"), data=raw or None).prepare()
    parts = urlsplit(str(prepared.url))
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        headers = signed.headers(str(prepared.method), target, raw or None, committed=committed)
    except httpsig.HttpSigError:
        headers = {}  # such an address cannot be signed; it has to be answered all the same
    return prepared, target, headers, raw


def _committed(body: dict[str, Any]) -> str | None:
    try:
        salt = un_b64u(body["salt"])
        made = {name: commitments.commit(salt, name, value)[0] for name, value in body["parameters"].items()}
        said = body.get("justification")
        justification = commitments.commit(salt, "justification", said)[0] if said is not None else None
        return commitments.commitments_digest({**(body.get("withheld") or {}), **made}, justification)
    except ValueError:
        return None


@pytest.fixture
def signed(world: World) -> AgentUnderTest:
    assert world.delegation is not None
    publisher.Publisher().publish_once()
    return AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)


@schema.parametrize()
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_answers_as_declared(case: Any, signed: AgentUnderTest) -> None:
    prepared, target, headers, raw = signing_hook(case, signed)
    answer = through_django(str(prepared.method), target, headers, raw)
    reply = schemathesis.Response(
        status_code=answer.status,
        headers={name: [value] for name, value in answer.headers.items()},
        content=answer.raw,
        request=prepared,
        elapsed=0.0,
        verify=False,
    )
    case.validate_response(reply, checks=CHECKS)
