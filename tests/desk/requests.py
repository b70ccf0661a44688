"""Wishes of robo, asked the way the agent door asks them, without the door."""

from __future__ import annotations

import secrets
from typing import Any

from approvals import submission
from approvals.actions import submit_request
from approvals.models import ActionRequest
from audit.log import commit, utc_now
from imprimatur.formats import commitments, httpsig
from imprimatur.formats.encoding import b64u
from tests.conftest import World

TARGET = "http://testserver/api/v1/actions"
DELETE = ("delete_file", {"path": "/project/src/old.py"})
PAY = ("make_payment", {"payee": "vendor/nordhav", "amount": "42.00", "currency": "USD", "reference": "2026-1187"})


def ask(
    world: World,
    tool: str = DELETE[0],
    parameters: dict[str, Any] | None = None,
    *,
    agent: str = "robo",
    says: str | None = "This is routine, please approve quickly.",
    **more: Any,
) -> ActionRequest:
    """Have an agent ask for something, and return the row."""
    if parameters is None:
        parameters = dict(DELETE[1])
    assert world.delegation is not None
    key = world.keys[agent]
    salt = secrets.token_bytes(32)
    committed = {name: commitments.commit(salt, name, value)[0] for name, value in parameters.items()}
    said = commitments.commit(salt, "justification", says)[0] if says is not None else None
    idempotency_key = secrets.token_hex(8)
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": idempotency_key,
        "Imprimatur-Commitments": commitments.commitments_digest(committed, said),
    }
    added = httpsig.sign_request(
        method="POST",
        target_uri=TARGET,
        headers=headers,
        body=b"{}",
        key=key,
        created=int(utc_now().timestamp()),
        nonce=b64u(secrets.token_bytes(16)),
    )
    signed = {
        "content_digest": added["Content-Digest"],
        "signature_input": added["Signature-Input"],
        "signature": added["Signature"],
        "method": "POST",
        "target_uri": TARGET,
        "idempotency_key": idempotency_key,
        "commitments": headers["Imprimatur-Commitments"],
    }
    wish = submission.Wish(
        agent=world.agents[agent],
        key=key.thumbprint,
        delegation=more.pop("delegation", world.delegation.id),
        tool=tool,
        parameters=parameters,
        salt=salt,
        signed=signed,
        idempotency_key=idempotency_key,
        justification=says,
        **more,
    )
    return commit(submit_request.apply, submission.prepare(wish)).request
