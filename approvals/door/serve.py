"""Carry a step out: parse strictly, run the operation, commit, wait, answer. The way that blocks its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from approvals import waiting
from approvals.door import operations, problems, rejections, schemas
from approvals.door.authenticate import Caller, authenticate, authenticate_new, before_enrolment
from approvals.door.raw import RawRequest, Reply, Step, Wait, Write
from approvals.models import ActionRequest
from audit.log import commit, utc_now
from governance.errors import Refused
from imprimatur.formats import canonical

Schema = TypeVar("Schema", bound=BaseModel)


def parse(raw: RawRequest, schema: type[Schema], known: str = rejections.UNKNOWN) -> Schema:
    """The body, parsed strictly and then checked against its schema. Raises Refused ``malformed``."""
    try:
        return schema.model_validate(canonical.loads(raw.body))
    except canonical.CanonicalError as error:
        rejections.note(known, "malformed", utc_now())
        raise Refused("malformed", f"The body is not the JSON this API takes: {error}") from None
    except ValidationError as error:
        rejections.note(known, "malformed", utc_now())
        raise Refused("malformed", sentence(error.errors(include_url=False, include_input=False))) from None


def sentence(errors: list[Any]) -> str:
    """What is wrong with a body, in one line, without repeating any value of it."""
    found = []
    for error in errors[:5]:
        where = ".".join(str(part)[:40] for part in error["loc"] if part not in {"body", "payload"})
        where = where if where.isprintable() else ascii(where)
        found.append(f"{where or 'body'}: {error['msg']}")
    return "; ".join(found)


def enrolment(raw: RawRequest) -> Step:
    """The one call whose key stands in its body: everything that can be checked before is."""
    before_enrolment(raw)
    body = parse(raw, schemas.Enrol)
    public_key = operations.bytes32(body.public_key, "public_key")
    return operations.enrol(authenticate_new(raw, public_key), public_key, body)


def prepare(
    raw: RawRequest, operation: Callable[..., Step], schema: type[BaseModel] | None, parameters: dict[str, str]
) -> Step:
    """Authenticate, parse and run one operation up to its step. Every error becomes a problem; nothing is raised."""
    try:
        caller = authenticate(raw)
        if schema is None:
            return operation(caller, raw, **parameters)
        return operation(caller, raw, **parameters, body=parse(raw, schema, caller.key.thumbprint))
    except Exception as error:
        return problems.from_error(error)


def perform(make: Callable[[], Step]) -> Reply:
    """Carry out a step in this thread, and hold the thread while waiting."""
    try:
        step = make()
        if isinstance(step, Write):
            return step.answer(commit(step.apply, step.command))
        if isinstance(step, Wait):
            _hold(step)
            return step.answer()
        return step
    except Exception as error:
        return problems.from_error(error)


def moved_on(step: Wait) -> bool:
    """Whether what is waited for has happened already: asked once after listening, so that nothing is missed."""
    return not ActionRequest.objects.filter(pk=step.request, version=step.version).exists()


def _hold(step: Wait) -> None:
    happened = threading.Event()
    waiting.bell.listen(step.request, step.version, happened.set, step.key)
    waiting.bell.keep_polling()
    try:
        if not moved_on(step):
            happened.wait(step.seconds)
    finally:
        waiting.bell.leave(step.request, happened.set)


__all__ = ["Caller", "authenticate", "enrolment", "moved_on", "parse", "perform", "prepare", "sentence"]
