"""One function per call of the agent API. Reads happen here; a change is handed back as a step for the writer."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.db.models import Q

from approvals import openings, submission
from approvals.actions import (
    add_comment,
    cancel_request,
    redeem_approval,
    report_outcome,
    submit_request,
    use_nonce,
)
from approvals.door import answer, schemas
from approvals.door.authenticate import Caller
from approvals.door.raw import RawRequest, Reply, Step, Wait, Write, json_reply
from approvals.models import ActionRequest, Remark
from audit import proofs, published, publisher, witnesses
from audit import seen as seen_entries
from audit.errors import LogNotBegun
from audit.keyring import ring as keys_of_the_log
from audit.log import Writer, utc_now
from audit.models import Entry
from governance import access, registry, spend
from governance.actions import enrol_agent, issue_delegation, revoke_delegation, rotate_key
from governance.errors import Refused
from governance.models import Delegation
from imprimatur.formats import canonical
from imprimatur.formats.digests import fingerprint, is_digest, sha256
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.entries import SIGNED_REQUEST, attempt_digest
from imprimatur.formats.ids import is_id
from imprimatur.formats.keys import dsse_keyid
from imprimatur.formats.shapes import ShapeError, check
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import states
from imprimatur.rules.money import MoneyError, format_amount, parse_amount

LONGEST_WAIT = 25.0  # seconds
OCTETS, TEXT = "application/octet-stream", "text/plain; charset=utf-8"

# --- asking and acting -------------------------------------------------------------------------------------------


def submit(caller: Caller, raw: RawRequest, body: schemas.Submit) -> Step:
    """POST /actions: judge the wish outside the lock, then decide, reserve and record it in the next batch."""
    wish = submission.Wish(
        agent=caller.agent,
        key=caller.key.thumbprint,
        delegation=body.delegation,
        tool=body.tool,
        parameters=body.parameters,
        salt=bytes32(body.salt, "salt"),
        withheld=body.withheld or {},
        signed=_signed(caller, raw),
        idempotency_key=caller.idempotency_key,
        effects=[effect.model_dump() for effect in body.effects] if body.effects is not None else None,
        cost=body.cost.model_dump() if body.cost is not None else None,
        risk=body.risk,
        justification=body.justification,
        context=body.context.model_dump(exclude_none=True),
        ttl=body.ttl,
        attempt=body.attempt,
        supersedes=body.supersedes,
        nonce=caller.nonce,
    )
    command = submission.prepare(wish)

    def answered(result: submit_request.Result) -> Reply:
        return answer.reply(result.request, decided=result.decided)

    return Write(submit_request.apply, command, answered)


def get_action(caller: Caller, raw: RawRequest, identifier: str) -> Step:
    """GET /actions/{id}: the present state, held up to ``wait`` seconds while people still have to answer."""
    seconds = _wait(raw)
    request = _own(caller, identifier)

    def now() -> Reply:
        return answer.reply(_own(caller, identifier))

    if seconds and request.state in states.PENDING_STATES:
        return Wait(caller.key.thumbprint, request.id, request.version, seconds, now)
    return answer.reply(request)


def redeem(caller: Caller, raw: RawRequest, identifier: str, body: schemas.Redeem) -> Step:
    """POST /actions/{id}/redeem: claim the approval for one execution."""
    command = redeem_approval.Command(
        request=_id("act", identifier),
        agent=caller.agent.pk,
        key=caller.key.thumbprint,
        action_digest=body.action_digest,
        attempt=attempt_digest(body.attempt),
        nonce=caller.nonce,
    )

    def answered(result: redeem_approval.Result) -> Reply:
        return answer.reply(result.request, redeemed=result.redeemed)

    return Write(redeem_approval.apply, command, answered)


def outcome(caller: Caller, raw: RawRequest, identifier: str, body: schemas.Outcome) -> Step:
    """POST /actions/{id}/outcome: what became of it."""
    command = _outcome(caller, identifier, body, caller.nonce)
    return Write(report_outcome.apply, command, answer.reply)


def outcomes(caller: Caller, raw: RawRequest, body: schemas.Outcomes) -> Step:
    """POST /outcomes: many at once. Each stands for itself; one that is refused does not touch the others."""
    commands = [_outcome(caller, one.action, one, None) for one in body.outcomes]
    batch = report_outcome.Many(tuple(commands), caller.nonce)

    def answered(results: list[ActionRequest | Refused]) -> Reply:
        told = []
        for command, result in zip(commands, results, strict=True):
            if isinstance(result, Refused):
                told.append(
                    {
                        "action": command.request,
                        "status": result.status,
                        "code": result.code,
                        "detail": result.message,
                    }
                )
            else:
                told.append({"action": command.request, "status": 200, "state": result.state})
        return json_reply(200, {"outcomes": told})

    return Write(report_outcome.apply_many, batch, answered)


def cancel(caller: Caller, raw: RawRequest, identifier: str, body: schemas.Nothing) -> Step:
    """POST /actions/{id}/cancel: the agent does not want it any more."""
    command = cancel_request.Command(
        _id("act", identifier), agent=caller.agent.pk, key=caller.key.thumbprint, nonce=caller.nonce
    )

    def answered(request: ActionRequest) -> Reply:
        # Cancelling succeeded, so this is no problem document although the action itself is now denied.
        return json_reply(200, answer.view(request, now=_now()))

    return Write(cancel_request.apply, command, answered)


def comment(caller: Caller, raw: RawRequest, identifier: str, body: schemas.Comment) -> Step:
    """POST /actions/{id}/comments: a word in the thread of its own request."""
    command = add_comment.command(
        _id("act", identifier), body.text, agent=caller.agent.pk, key=caller.key.thumbprint, nonce=caller.nonce
    )

    def answered(remark: Remark) -> Reply:
        return json_reply(201, {"action": remark.request_id, "comment": remark.comment, "index": remark.index})

    return Write(add_comment.apply, command, answered)


# --- itself ------------------------------------------------------------------------------------------------------


def me(caller: Caller, raw: RawRequest) -> Step:
    """GET /me: the agent, its key, its delegations with what is left, the registered tools, and how much waits."""
    agent = caller.agent
    held = Delegation.objects.filter(subject=agent, revoked_at=None, not_after__gt=_now()).order_by("issued_at")
    return json_reply(
        200,
        {
            "agent": {
                "id": agent.pk,
                "name": agent.name,
                "owner": agent.owner.name,
                "state": agent.state,
                "enforcement": agent.enforcement,
            },
            "key": {"thumbprint": caller.key.thumbprint, "added_at": format_time(caller.key.added_at)},
            "delegations": [_delegation(row) for row in held],
            "tools": [
                {
                    "name": tool.name,
                    "digest": tool.digest,
                    "title": tool.document["title"],
                    "schema": tool.document["schema"],
                }
                for tool in registry.current()
            ],
            "pending": ActionRequest.objects.filter(agent=agent, state__in=states.PENDING_STATES).count(),
        },
    )


def enrol(nonce: use_nonce.Nonce, public_key: bytes, body: schemas.Enrol) -> Step:
    """POST /enroll: register the key that signed this request, against a one-time token. It has no authority yet."""

    def apply(writer: Writer, command: enrol_agent.Command) -> enrol_agent.Result:
        use_nonce.apply(writer, nonce)
        return enrol_agent.apply(writer, command)

    def answered(result: enrol_agent.Result) -> Reply:
        return json_reply(
            201,
            {
                "agent": result.agent.pk,
                "name": result.agent.name,
                "key": result.key.thumbprint,
                "fingerprint": fingerprint(sha256(public_key)),
                "realm": settings.REALM,
            },
        )

    return Write(apply, enrol_agent.Command(body.token, public_key), answered)


def rotate(caller: Caller, raw: RawRequest, body: schemas.Rotate) -> Step:
    """POST /keys/rotate: a new key, on the word of the old one."""

    def apply(writer: Writer, command: rotate_key.Command) -> rotate_key.Result:
        use_nonce.apply(writer, caller.nonce)
        return rotate_key.apply(writer, command)

    def answered(result: rotate_key.Result) -> Reply:
        return json_reply(200, {"agent": result.key.agent_id, "key": result.key.thumbprint})

    command = rotate_key.Command(
        caller.agent, caller.key.thumbprint, bytes32(body.public_key, "public_key"), body.signature
    )
    return Write(apply, command, answered)


# --- delegations -------------------------------------------------------------------------------------------------


def delegate(caller: Caller, raw: RawRequest, body: schemas.Delegate) -> Step:
    """POST /delegations: pass on a strictly narrower part of its own authority, signed by the agent."""

    def apply(writer: Writer, command: issue_delegation.Command) -> issue_delegation.Result:
        use_nonce.apply(writer, caller.nonce)
        return issue_delegation.apply(writer, command)

    def answered(result: issue_delegation.Result) -> Reply:
        return json_reply(201 if result.entry is not None else 200, _delegation(result.delegation))

    return Write(apply, issue_delegation.Command(body.document, body.signature, caller.agent), answered)


def get_delegation(caller: Caller, raw: RawRequest, identifier: str) -> Step:
    """GET /delegations/{id}: its own, and what was passed on below it."""
    return json_reply(200, _delegation(access.access_delegation(caller.agent, _digest(identifier))))


def revoke(caller: Caller, raw: RawRequest, identifier: str, body: schemas.Revoke) -> Step:
    """POST /delegations/{id}/revoke: give up, or take back, authority. Nothing an agent can call widens any."""

    def apply(writer: Writer, command: revoke_delegation.Command) -> revoke_delegation.Result:
        use_nonce.apply(writer, caller.nonce)
        return revoke_delegation.apply(writer, command)

    def answered(result: revoke_delegation.Result) -> Reply:
        return json_reply(200, _delegation(result.delegation))

    row = access.access_delegation(caller.agent, _digest(identifier))
    return Write(apply, revoke_delegation.Command(row.pk, caller.agent, body.reason), answered)


# --- the log -----------------------------------------------------------------------------------------------------


def get_receipt(caller: Caller, raw: RawRequest, identifier: str) -> Step:
    """GET /receipts/{id}: the receipt of its own action, whoever redeemed it."""
    found = answer.receipt(_own(caller, identifier))
    if found is None:
        raise Refused("wrong-state", "Nothing is decided yet, so there is no receipt.")
    return json_reply(200, found)


def get_proof(caller: Caller, raw: RawRequest, leaf: str) -> Step:
    """GET /proofs/{leaf}: a C2SP tlog-proof of an entry about this agent, by index."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,14}", leaf):
        raise Refused("malformed", "A leaf is named by its index.")
    entry = Entry.objects.filter(pk=int(leaf), agent=caller.agent.pk).first()
    if entry is None:
        raise Refused("not-found", "There is no such entry of yours.")
    return _text(proofs.proof_for(entry.index))


def get_checkpoint(raw: RawRequest) -> Step:
    """GET /log/checkpoint: the newest signed checkpoint, for anybody."""
    return _text(witnesses.cosigned(proofs.latest_checkpoint()))


def get_tile(raw: RawRequest, path: str) -> Step:
    """GET /log/tile/…: hash tiles, for anybody. Entry bundles hold what was decided and need a mirror's credential."""
    if path.startswith("entries/"):
        raise Refused("not-allowed", "Entry bundles are for auditors and mirrors; agents read their own receipts.")
    if not _TILE.fullmatch(path):
        raise Refused("not-found", "There is no such tile.")
    try:
        found = publisher.read_tile(f"tile/{path}")
    except FileNotFoundError:
        raise Refused("not-found", "There is no such tile.") from None
    return Reply(200, found, {"cache-control": "public, max-age=31536000, immutable"}, OCTETS)


def seen(caller: Caller, raw: RawRequest, body: schemas.Seen) -> Step:
    """POST /log/seen: the newest entry that the agent holds. When the log does not have it, it is frozen."""
    try:
        found = seen_entries.compare(body.envelope.encode("utf-8"), f"The agent {caller.agent.pk}")
    except seen_entries.NotOurs as error:
        raise Refused("malformed", f"This proves nothing: {error}.") from None
    return json_reply(200, {"index": found.index, "published": found.published})


def well_known(raw: RawRequest) -> Reply:
    """GET /.well-known/imprimatur: to compare with what was pinned, never to be trusted by itself."""
    ring = keys_of_the_log()
    if not ring.log:
        raise LogNotBegun
    decision = ring.decision[-1].public_key
    return json_reply(
        200,
        {
            "realm": settings.REALM,
            "versions": ["v1"],
            "api": [f"{origin.rstrip('/')}/api/v1" for origin in settings.ORIGINS],
            "log": [key.vkey.format() for key in ring.log if key.until is None],
            "decision": [{"keyid": dsse_keyid(decision), "key": b64u(decision)}],
        },
    )


# --- small readers -----------------------------------------------------------------------------------------------

_TILE = re.compile(r"[0-9]{1,2}/(x[0-9]{3}/){0,4}[0-9]{3}(\.p/[1-9][0-9]{0,2})?")


def _now() -> datetime:
    return utc_now()


def _text(text: str) -> Reply:
    return Reply(200, text.encode("utf-8"), {"cache-control": "no-store"}, TEXT)


def _id(prefix: str, identifier: str) -> str:
    if not is_id(prefix, identifier):
        raise Refused("not-found", "There is no such action request.")
    return identifier


def _digest(identifier: str) -> str:
    if not is_digest(identifier):
        raise Refused("not-found", "There is no such delegation.")
    return identifier


def _own(caller: Caller, identifier: str) -> ActionRequest:
    found = (
        ActionRequest.objects.select_related("agent", "delegation")
        .filter(Q(agent=caller.agent) | Q(executor=caller.key.thumbprint), pk=_id("act", identifier))
        .first()
    )
    if found is None:
        raise Refused("not-found", "There is no such action request.")
    return found


def _wait(raw: RawRequest) -> float:
    given = dict(parse_qsl(raw.query, keep_blank_values=True))
    if set(given) - {"wait"}:
        raise Refused("malformed", "This call takes one query parameter, wait.")
    text = given.get("wait", "0")
    if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) > LONGEST_WAIT:
        raise Refused("malformed", f"wait is a whole number of seconds, at most {LONGEST_WAIT:.0f}.")
    return float(text)


def bytes32(text: str, name: str) -> bytes:
    """Exactly 32 bytes from base64url. Raises Refused ``malformed``."""
    try:
        value = un_b64u(text)
    except ValueError as error:
        raise Refused("malformed", f"{name}: {error}") from None
    if len(value) != 32:
        raise Refused("malformed", f"{name} must be 32 bytes.")
    return value


def _signed(caller: Caller, raw: RawRequest) -> dict[str, str]:
    """What the entry will keep of the signed request. Raises Refused ``malformed`` for what no entry can hold."""
    signed = {
        "content_digest": raw.headers["content-digest"],
        "signature_input": raw.headers["signature-input"],
        "signature": raw.headers["signature"],
        "method": raw.method,
        "target_uri": caller.target_uri,
        "idempotency_key": caller.idempotency_key,
        "commitments": raw.headers["imprimatur-commitments"].strip(),
    }
    try:
        check(signed, SIGNED_REQUEST)
    except ShapeError as error:
        raise Refused("malformed", f"The log cannot keep this signed request: {error}") from None
    return signed


def _outcome(
    caller: Caller, identifier: str, body: schemas.Outcome, nonce: use_nonce.Nonce | None
) -> report_outcome.Command:
    cost: int | None = None
    if body.cost is not None:
        try:
            cost = parse_amount(body.cost.amount)
        except MoneyError as error:
            raise Refused("malformed", f"cost: {error}") from None
    commitment, opening = openings.said("result", body.result, identifier) if body.result else ("", None)
    return report_outcome.Command(
        request=_id("act", identifier),
        outcome=body.outcome,
        agent=caller.agent.pk,
        key=caller.key.thumbprint,
        cost=cost,
        unit=body.cost.unit if body.cost is not None else "",
        result=commitment,
        opening=opening,
        nonce=nonce,
    )


def _delegation(row: Delegation) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": row.pk,
        "document": canonical.loads(bytes(row.document)),
        "signature": row.signature,
        "issued_at": format_time(row.issued_at),
    }
    if row.unit:
        document["left"] = {"amount": format_amount(spend.left(row)), "unit": row.unit}
    newest: int | None = row.issued_index
    if row.revoked_at is not None:
        document["revoked_at"] = format_time(row.revoked_at)
        revoked = Entry.objects.filter(kind="delegation.revoked", subject=row.pk).order_by("index")
        newest = revoked.values_list("index", flat=True).first()
    # What was issued counts from then on; what was revoked is over already, and anybody can hold us to it from then on.
    document["published"] = newest is not None and published.covers(newest)
    return document
