"""Valid samples of every signed object, so that a test changes one thing and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from imprimatur.formats import (
    binding,
    commitments,
    delegation,
    digests,
    dsse,
    entries,
    ids,
    receipts,
    signing,
    sshsig,
    statement,
)
from imprimatur.formats.encoding import b64, b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time

REALM = "desk.example/production"
NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
DECISION_KEY = KeyPair.from_seed(b"d" * 32)
AGENT_KEY = KeyPair.from_seed(b"a" * 32)
AGENT = ids.agent_id(AGENT_KEY.public_key)
PERSON_KEY = KeyPair.from_seed(b"p" * 32)
SECOND_PERSON_KEY = KeyPair.from_seed(b"q" * 32)
SERVICE_KEY = KeyPair.from_seed(b"s" * 32)
SERVICE = ids.service_id(SERVICE_KEY.public_key)
LAUNCH = "lau_01jd4k4q00abcdefghjkmnpqrs"
REQUEST = "act_01jd4k4q00abcdefghjkmnpqrs"
CHANGE = "chg_01jd4k4q00abcdefghjkmnpqrs"
IDEMPOTENCY_KEY = "run-1:call-1"
ATTEMPT = b64u(b"\x07" * 16)
DIGEST = digests.sha256(b"something")
LEAF = "ab" * 32


def at(seconds: float = 0) -> str:
    return format_time(NOW + timedelta(seconds=seconds))


def salt() -> bytes:
    return commitments.salt_for(AGENT_KEY.sign, IDEMPOTENCY_KEY)


def parameters() -> dict[str, str]:
    values = {"path": "/project/src/a.py", "content": "print('hello')\n"}
    return {name: commitments.commit(salt(), name, value)[0] for name, value in values.items()}


def a_commitment() -> str:
    return commitments.commit(b"s" * 32, "note", "because")[0]


def a_delegation(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "typ": delegation.TYP,
        "realm": REALM,
        "issuer": "ada",
        "subject": AGENT,
        "scope": ["file:write:/project"],
        "constraints": {"paths": ["/project"], "max_file_size": 10_000_000},
        "spend": {"unit": "USD", "limit": "150.00", "per_action": "10.00"},
        "not_before": at(0),
        "not_after": at(3600),
        "max_depth": 1,
        "purpose": "tidy the project",
        "nonce": b64u(b"n" * 16),
    }
    document.update(changes)
    return document


def a_binding(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "realm": REALM,
        "agent": AGENT,
        "delegation": delegation.delegation_id(a_delegation()),
        "tool": {"name": "write_file", "schema": DIGEST},
        "effects": [{"action": "file:write", "resource": "/project/src/a.py"}],
        "parameters": parameters(),
        "cost": {"amount": "0.00", "unit": "USD"},
        "context": {"run": "run-1", "call": "call-1"},
    }
    document.update(changes)
    return binding.build(**document)


def a_signed_request(**changes: Any) -> dict[str, Any]:
    request: dict[str, Any] = {
        "content_digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
        "signature_input": 'sig1=("@method");created=1',
        "signature": "sig1=:AAAA:",
        "method": "POST",
        "target_uri": "https://desk.example/api/v1/actions",
        "idempotency_key": IDEMPOTENCY_KEY,
        "commitments": commitments.commitments_digest(parameters(), None),
    }
    request.update(changes)
    return request


def a_statement(reviewer: str = "ada", **changes: Any) -> dict[str, Any]:
    bound = a_binding()
    document: dict[str, Any] = {
        "typ": statement.TYP,
        "realm": REALM,
        "request": REQUEST,
        "version": 1,
        "agent": AGENT,
        "decision": "approve",
        "stage": 0,
        "role": "reviewer",
        "risk": "HIGH",
        "reversibility": "reversible",
        "action_digest": binding.action_digest(bound),
        "display_digest": DIGEST,
        "delegation": bound["delegation"],
        "policy": DIGEST,
        "reviewer": reviewer,
        "log_size": 6,
        "log_root": DIGEST,
        "nonce": b64u(b"m" * 16),
        "issued_at": at(10),
        "expires_at": at(130),
    }
    document.update(changes)
    return document


def ssh_line(key: KeyPair) -> str:
    return sshsig.parse_public_key("ssh-ed25519 " + b64(sshsig.public_key_blob(key.public_key))).line


def ssh_evidence(text: str, key: KeyPair = PERSON_KEY, namespace: str = statement.SSH_NAMESPACE) -> dict[str, str]:
    return {
        "kind": "ssh",
        "key": sshsig.parse_public_key(ssh_line(key)).fingerprint,
        "value": sshsig.sign(key, text.encode(), namespace),
    }


def vote_body(
    said: dict[str, Any], evidence: dict[str, str] | None = None, key: KeyPair = PERSON_KEY
) -> dict[str, Any]:
    text = statement.encode(said).decode()
    return {
        "request": REQUEST,
        "version": 1,
        "statement": text,
        "evidence": evidence if evidence is not None else ssh_evidence(text, key),
    }


def decided_body(**changes: Any) -> dict[str, Any]:
    bound = changes.pop("binding", None) or a_binding()
    body: dict[str, Any] = {
        "verdict": "allow",
        "state": "APPROVED",
        "binding": bound,
        "action_digest": binding.action_digest(bound),
        "risk": "HIGH",
        "rule": "defaults/write",
        "policy": DIGEST,
        "reversibility": "reversible",
        "votes": [8],
        "enforcement": "E0",
        "not_after": at(300),
        "request": a_signed_request(),
    }
    body.update(changes)
    return {name: value for name, value in body.items() if value is not None}


def fingerprint(key: KeyPair) -> str:
    return sshsig.parse_public_key(ssh_line(key)).fingerprint


def said(typ: str, life: int = 120, **fields: Any) -> dict[str, Any]:
    """A statement of another type than a decision."""
    return {
        "typ": typ,
        "realm": REALM,
        "person": "ada",
        "log_size": 6,
        "log_root": DIGEST,
        "nonce": b64u(b"m" * 16),
        "issued_at": at(),
        "expires_at": at(life),
        **fields,
    }


def signed(document: dict[str, Any], key: KeyPair = PERSON_KEY) -> dict[str, Any]:
    """A statement with evidence for it, as entries carry it."""
    text = signing.encode(document).decode()
    return {"statement": text, "evidence": ssh_evidence(text, key, signing.ssh_namespace(document["typ"]))}


def an_enrolment() -> dict[str, Any]:
    return {
        "kind": "ssh",
        "key": fingerprint(PERSON_KEY),
        "thumbprint": PERSON_KEY.thumbprint,
        "public_key": ssh_line(PERSON_KEY),
        "label": "laptop",
        "device_bound": False,
    }


def a_change(role: str) -> dict[str, Any]:
    fields = {"act": "person.changed", "subject": "ada", "document": DIGEST, "change": CHANGE}
    return said(signing.CHANGE, credential=fingerprint(PERSON_KEY), role=role, **fields)


def an_act(act: str, content: dict[str, Any]) -> dict[str, Any]:
    fields = {"act": act, "subject": "ada", "content": content}
    return signed(said(signing.ACT, credential=fingerprint(PERSON_KEY), **fields))


def a_grant() -> dict[str, Any]:
    bound = a_binding()
    return said(
        signing.GRANT,
        request=REQUEST,
        agent=AGENT,
        delegation=bound["delegation"],
        tool="write_file",
        tool_digest=DIGEST,
        effects=["file:write:/project/src"],
        parameters={"path": {"op": "starts_with", "value": "/project/src"}, "content": {"op": "any"}},
        max_uses=3,
        not_after=at(1800),
        policy=DIGEST,
        credential=fingerprint(PERSON_KEY),
    )


def bodies() -> dict[str, dict[str, Any]]:
    """One valid body for every entry kind."""
    document = a_delegation()
    bound = a_binding()
    evidence = {"kind": "session"}
    pause = {"scope": "everything", "target": "", "reason": "an incident"}
    own = fingerprint(SECOND_PERSON_KEY)
    return {
        "log.genesis": {
            "decision_key": {"keyid": DECISION_KEY.keyid, "public": b64u(DECISION_KEY.public_key)},
            "log_vkey": "desk.example+12345678+AAAA",
            "roster": DIGEST,
            "policy": DIGEST,
            "software": "imprimatur 0.1.0",
        },
        "person.added": {"person": "ada", "name": "Ada", "roles": ["reviewer"], "login": a_commitment()},
        "person.changed": {"person": "ada", "active": False, "reason": "left"},
        "person.key_added": {
            "person": "ada",
            "key": ssh_line(PERSON_KEY),
            "fingerprint": sshsig.parse_public_key(ssh_line(PERSON_KEY)).fingerprint,
            "purpose": "delegation",
        },
        "person.login_reset": {"person": "ada", "what": "second-factor"},
        "person.away": {"person": "ada", "from": at(), "until": at(3600), "delegate": "bo"},
        "person.back": {"person": "ada"},
        "person.key_enrolled": {
            "person": "ada",
            **signed(said(signing.ENROLMENT, life=600, **an_enrolment())),
            "attestation": b64u(b"attestation"),
        },
        "person.key_vouched": {
            "person": "ada",
            "fingerprint": fingerprint(PERSON_KEY),
            "first": True,
            "signed": signed(
                said(
                    signing.VOUCH,
                    **{"credential": own, "for": "ada", "key": fingerprint(PERSON_KEY), "enrolment": DIGEST},
                )
            ),
        },
        "person.key_revoked": {
            "person": "ada",
            "fingerprint": "SHA256:x",
            "since": at(),
            "reason": "lost",
            "stolen": True,
            "signed": an_act("person.key_revoked", {"reason": "lost"}),
        },
        "change.proposed": {
            "change": CHANGE,
            "act": "person.changed",
            "subject": "ada",
            "document": {"person": "ada", "roles": ["admin"]},
            "expires_at": at(3600),
            "signed": signed(a_change("propose")),
            "hold": True,
        },
        "change.seconded": {"change": CHANGE, "signed": signed(a_change("second"))},
        "change.withdrawn": {"change": CHANGE, "reason": "no longer wanted"},
        "agent.invited": {"name": "coder", "owner": "ada", "token": DIGEST, "expires_at": at(900)},
        "agent.enrolled": {
            "agent": AGENT,
            "name": "coder",
            "owner": "ada",
            "public_key": b64u(AGENT_KEY.public_key),
            "thumbprint": AGENT_KEY.thumbprint,
            "enforcement": "E0",
            "invitation": DIGEST,
        },
        "agent.key_rotated": {
            "agent": AGENT,
            "old": AGENT_KEY.thumbprint,
            "new": PERSON_KEY.thumbprint,
            "public_key": b64u(PERSON_KEY.public_key),
            "signature": b64u(b"s" * 64),
        },
        "agent.key_revoked": {"agent": AGENT, "thumbprint": AGENT_KEY.thumbprint, "since": at(), "reason": "leaked"},
        "agent.suspended": {"agent": AGENT, "reason": "looking into it"},
        "agent.resumed": {"agent": AGENT, "reason": "all fine"},
        "delegation.issued": {
            "delegation": delegation.delegation_id(document),
            "document": document,
            "signature": {"kind": "ed25519", "key": AGENT_KEY.thumbprint, "value": b64u(b"s" * 64)},
        },
        "delegation.revoked": {"delegation": DIGEST, "reason": "done", "since": at()},
        "cascade.swept": {"cause": 3, "ids": [REQUEST]},
        "cascade.finished": {"cause": 3, "total": 1},
        "tool.registered": {
            "tool": "write_file",
            "document": {"typ": "imprimatur/tool/v1"},
            "digest": DIGEST,
            "change": CHANGE,
        },
        "tool.retired": {"tool": "write_file", "digest": DIGEST, "reason": "replaced"},
        "policy.activated": {"policy": DIGEST, "number": 1, "document": {"rules": []}},
        "pause.set": pause,
        "pause.lifted": pause,
        "action.requested": {
            "binding": bound,
            "action_digest": binding.action_digest(bound),
            "risk": "HIGH",
            "reversibility": "reversible",
            "rule": "defaults/write",
            "policy": DIGEST,
            "stages": [{"role": "reviewer", "count": 1, "kind": "approve"}],
            "display_digest": DIGEST,
            "justification": a_commitment(),
            "enforcement": "E0",
            "expires_at": at(300),
            "request": a_signed_request(),
        },
        "vote.cast": vote_body(a_statement()),
        "vote.recalled": {"request": REQUEST, "vote": 5, "signed": signed(a_statement(decision="recall"))},
        "review.asked": {"request": REQUEST, "level": 0, "people": ["ada", "bo"]},
        "review.claimed": {"request": REQUEST, "until": at(600)},
        "review.released": {"request": REQUEST},
        "grant.issued": {"grant": signing.grant_id(signing.encode(a_grant())), **signed(a_grant())},
        "grant.revoked": {"grant": DIGEST, "reason": "enough", "signed": an_act("grant.revoked", {"reason": "enough"})},
        "action.decided": decided_body(),
        "action.withdrawn": {
            "request": REQUEST,
            "state": "EXPIRED",
            "code": "approval-expired",
            "action_digest": DIGEST,
        },
        "action.redeemed": {
            "request": REQUEST,
            "action_digest": binding.action_digest(bound),
            "attempt": entries.attempt_digest(ATTEMPT),
            "execute_by": at(90),
        },
        "action.reported": {"request": REQUEST, "action_digest": DIGEST, "outcome": "SUCCEEDED"},
        "action.looked_over": {
            "request": REQUEST,
            "verdict": "acknowledged",
            "statement": statement.encode(a_statement(decision="acknowledge")).decode(),
            "evidence": evidence,
        },
        "spend.corrected": {"delegation": DIGEST, "amount": "1.50", "unit": "USD", "reason": "refunded"},
        "comment.added": {"request": REQUEST, "comment": a_commitment()},
        "door.rejected": {"key": AGENT_KEY.thumbprint, "minute": at(), "codes": {"replayed": 2}},
        "bundle.issued": {"bundle": "b-1", "manifest": DIGEST, "size": 10, "filters": {"agents": [AGENT]}},
        "export.taken": {"what": "entries", "form": "csv", "query": "kind=vote.cast", "size": 9, "count": 3},
        "hold.placed": {"hold": f"hld_{'0' * 26}", "scope": "agent", "target": AGENT, "reason": "case 12"},
        "hold.lifted": {"hold": f"hld_{'0' * 26}", "reason": "case closed"},
        "openings.erased": {
            "rule": "retention",
            "agent": AGENT,
            "subjects": [REQUEST],
            "count": 2,
            "reason": "older than 90 days",
            "before": at(),
        },
        "service.registered": {
            "service": SERVICE,
            "name": "box one",
            "role": "monitor",
            "public_key": b64u(SERVICE_KEY.public_key),
            "thumbprint": SERVICE_KEY.thumbprint,
            "vkey": "desk.example.org+00000000+AQ==",
            "agents": [AGENT],
        },
        "service.retired": {"service": SERVICE, "reason": "replaced"},
        "launch.attested": {"launch": LAUNCH, "agent": AGENT, "statement": "{}"},
        "launch.refused": {
            "reasons": [{"code": "unsafe-flag", "message": "--debug"}],
            "digest": DIGEST,
            "statement": "{}",
        },
        "launch.ended": {"launch": LAUNCH, "how": "exited", "code": 0},
        "observation.recorded": {
            "statement": "{}",
            "matched": True,
            "findings": [{"code": "seccomp-missing", "expected": "2", "found": "0", "pid": 7}],
        },
        "canary.reported": {"statement": "{}", "result": "PASSED"},
        "server.started": {
            "software": "imprimatur 0.1.0",
            "process": "web",
            "packages": {"checked": 2, "wrong": []},
            "lock": DIGEST,
            "settings": DIGEST,
            "options": ["IMPRIMATUR_SINKS"],
            "tree": DIGEST,
            "commit": "ab" * 20,
            "provenance": {"statement": DIGEST, "builder": "builder"},
        },
        "log.shipped": {"sink": "archive", "size": 9, "root": DIGEST},
        "log.key_added": {"log_vkey": "desk.example.org+00000000+AQ==", "reason": "yearly"},
        "log.key_retired": {"log_vkey": "desk.example.org+00000000+AQ==", "reason": "yearly"},
        "log.decision_key_changed": {
            "decision_key": {"keyid": "0" * 64, "public": b64u(bytes(32))},
            "signature": b64u(bytes(64)),
            "reason": "yearly",
        },
    }


def entry_arguments(kind: str, body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    genesis = kind == entries.GENESIS
    arguments: dict[str, Any] = {
        "realm": REALM,
        "index": 0 if genesis else 9,
        "prev": entries.FIRST_PREV if genesis else LEAF,
        "time": NOW,
        "kind": kind,
        "subject": REQUEST,
        "actor": {"type": "system", "id": "desk"},
        "refs": [],
        "body": body,
    }
    arguments.update(changes)
    return arguments


def an_entry(kind: str, body: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """The payload of a valid entry of this kind, or of the given body."""
    return entries.build(**entry_arguments(kind, bodies()[kind] if body is None else body, **changes))


def seal(payload: bytes, key: KeyPair = DECISION_KEY) -> bytes:
    return dsse.seal(payload, key.sign, key.keyid, dsse.PAYLOAD_TYPE)


def a_vote(
    said: dict[str, Any] | None = None,
    *,
    index: int = 8,
    person: str = "ada",
    assurance: str = "H2",
    key: KeyPair = PERSON_KEY,
    body: dict[str, Any] | None = None,
    **changes: Any,
) -> bytes:
    said = a_statement(person) if said is None else said
    actor = {"type": "person", "id": person, "assurance": assurance}
    return an_entry(
        "vote.cast", vote_body(said, key=key) if body is None else body, **{"index": index, "actor": actor, **changes}
    )


def a_redemption(**changes: Any) -> bytes:
    body = {**bodies()["action.redeemed"], **changes.pop("body", {})}
    return an_entry("action.redeemed", body, **{"index": 12, **changes})


def a_receipt(
    decision: bytes | None = None,
    votes: list[bytes] | None = None,
    redeemed: bytes | None = None,
    *,
    key: KeyPair = DECISION_KEY,
) -> dict[str, Any]:
    decision = an_entry("action.decided", decided_body()) if decision is None else decision
    votes = [a_vote()] if votes is None else votes
    redeemed = a_redemption() if redeemed is None else redeemed
    return receipts.make(9, seal(decision, key), [seal(vote) for vote in votes], seal(redeemed))


def expected(**changes: Any) -> receipts.Expected:
    bound = a_binding()
    values: dict[str, Any] = {
        "realm": REALM,
        "decision_keys": [DECISION_KEY.public_key],
        "agent": AGENT,
        "delegation": bound["delegation"],
        "tool": "write_file",
        "schema": DIGEST,
        "parameters": parameters(),
        "cost": {"amount": "0.00", "unit": "USD"},
        "context": {"run": "run-1", "call": "call-1"},
        "idempotency_key": IDEMPOTENCY_KEY,
        "require_human": "H2",
        "attempt": ATTEMPT,
    }
    values.update(changes)
    return receipts.Expected(**values)
