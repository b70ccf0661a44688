"""Issue a delegation: a person roots it with a key of their own, an agent passes on a narrower part of its own.

Invariant 4: there is no third way. The server signs none, and a document counts only with its issuer's own signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.log import Appended, Writer
from governance import ceremonies, signing_keys, standing
from governance.access import LONGEST_CHAIN, access_delegation, chain_of
from governance.actors import agent_actor, must_be_admin, person_actor
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import Agent, AgentKey, Delegation, Person, PersonKey
from imprimatur.formats import canonical, shapes
from imprimatur.formats import delegation as formats
from imprimatur.formats.ids import is_id
from imprimatur.formats.timestamps import parse_time
from imprimatur.rules import chain as chain_rules
from imprimatur.rules import money, narrowing

LARGEST = 30_000  # bytes: document and signature have to fit into a log entry

MOST_PASSED_ON = 32
"""So many delegations by agents an agent holds at once. A launch names all that it holds, 64 at most, so without this
any agent could keep another from ever being launched."""


@dataclass(frozen=True)
class Command:
    """``issuer`` is who is authenticated; the document must name the same, and be signed with a key of theirs.

    ``signed`` is the ceremony in which a person signed it at the desk; a signature that came by itself has none.
    """

    document: dict[str, Any]
    signature: dict[str, Any]
    issuer: Person | Agent
    signed: Signed | None = None


def signed_at_desk(signed: Signed, issuer: Person) -> Command:
    """The command for a delegation that a person signed in a ceremony."""
    return Command(signed.document, {**signed.evidence, "key": signed.key}, issuer, signed)


@dataclass(frozen=True)
class Result:
    """``entry`` is None when this very delegation had been issued before: posting it again changes nothing."""

    delegation: Delegation
    entry: Appended | None


def apply(writer: Writer, command: Command) -> Result:
    """Check the document, its signature, its window, its parent's whole chain and that it is narrower; then write it.

    Raises Refused: malformed, signature, not-allowed, not-found, suspended, depth, delegation-expired,
    delegation-revoked, constraint, over-budget, out-of-scope, conflict (the nonce was used for another document),
    log-behind (what it passes on a part of is not published yet); LogFrozen.
    """
    document, delegation_id = _read(command)
    _check_issuer(command)
    existing = Delegation.objects.select_related("subject").filter(pk=delegation_id).first()
    if existing is not None:
        # Content-addressed: the same document was issued before, by the same issuer; whatever became of it stays.
        return Result(existing, None)
    if document["realm"] != writer.realm:
        raise Refused("malformed", f"This delegation is for the realm {document['realm']}, and this is {writer.realm}.")
    if parse_time(document["not_after"]) <= writer.now:
        raise Refused("delegation-expired", "The delegation has ended already.")
    subject = Agent.objects.filter(pk=document["subject"]).first()
    if subject is None:
        raise Refused("not-found", "The agent this delegation is for is not enrolled here.")
    if subject.state != Agent.ACTIVE:
        raise Refused("suspended", f"The agent {subject.name} is suspended.")
    if isinstance(command.issuer, Person):
        chain: list[Delegation] = []
        _check_root(command, document)
        if command.signed is not None:
            ceremonies.says(command.signed, formats.TYP, **document)
            ceremonies.use(writer, command.signed, by=command.issuer)
    else:
        chain = _check_passed_on(writer, command, document)
    row = _row(command, document, delegation_id, chain, writer.now)
    if isinstance(standing.prepare([*chain, row]), Refused):
        raise Refused("malformed", "The delegation cannot be read together with the chain it stands on.")
    entry = writer.append(
        "delegation.issued",
        subject=delegation_id,
        agent=subject.id,
        actor=_actor(command),
        refs=[("parent", chain[-1].issued_index)] if chain else [],
        body={"delegation": delegation_id, "document": document, "signature": command.signature},
    )
    row.issued_index = entry.index
    row.save(force_insert=True)
    return Result(row, entry)


def _read(command: Command) -> tuple[dict[str, Any], str]:
    try:
        formats.validate(command.document)
        shapes.check(command.signature, formats.SIGNATURE, "signature")
        raw = canonical.dumps(command.document)
        if len(raw) > LARGEST:
            raise Refused("malformed", f"A delegation holds at most {LARGEST} bytes.")
        # Through bytes and back, so that what is kept is what was checked, whatever the caller does with its dict.
        document = formats.parse(raw)
        narrowing.read(document)
        return document, formats.delegation_id(document)
    except (shapes.ShapeError, canonical.CanonicalError) as error:
        raise Refused("malformed", f"This is not a delegation: {error}") from None
    except narrowing.LinkError as error:
        raise Refused("malformed", f"{error.facet}: {error}") from None


def _check_issuer(command: Command) -> None:
    issuer, signature = command.issuer, command.signature
    if command.document["issuer"] != issuer.pk:
        raise Refused("not-allowed", "Only the issuer named in a delegation may issue it.")
    if isinstance(issuer, Person):
        if signature["kind"] not in (PersonKey.SSH, PersonKey.WEBAUTHN):
            raise Refused("signature", "A person signs a delegation with a key of their own, SSH or passkey.")
        key = PersonKey.objects.filter(pk=signature["key"], person=issuer).first()
        if key is None:
            raise Refused("signature", "The key that signed this is not registered to you. Add it first.")
        signing_keys.must_count(key, formats.TYP)
        signing_keys.check(signing_keys.material(key), formats.TYP, canonical.dumps(command.document), signature)
        return
    if signature["kind"] != "ed25519":
        raise Refused("signature", "An agent signs a delegation with its own Ed25519 key.")
    agent_key = AgentKey.objects.filter(pk=signature["key"], agent=issuer).first()
    if agent_key is None:
        raise Refused("signature", "The key that signed this is not a key of this agent.")
    if agent_key.revoked_since is not None or agent_key.retired_at is not None:
        raise Refused("key-revoked", "The key that signed this is no longer in use.")
    if not formats.verify_agent_signature(command.document, signature, bytes(agent_key.public_key)):
        raise Refused("signature", "The signature does not belong to this document and this key.")


def _check_root(command: Command, document: dict[str, Any]) -> None:
    assert isinstance(command.issuer, Person)
    must_be_admin(command.issuer)
    if "parent" in document:
        raise Refused("malformed", "A delegation from a person has no parent.")
    principal = document.get("on_behalf_of")
    # Whom it acts for may never approve it, so the name must be one we can compare people with.
    if principal is not None and not (
        is_id("pe", principal) and Person.objects.filter(pk=principal, user__is_active=True).exists()
    ):
        raise Refused("malformed", "on_behalf_of must be the id of an active person of this installation.")


def _check_passed_on(writer: Writer, command: Command, document: dict[str, Any]) -> list[Delegation]:
    issuer = command.issuer
    assert isinstance(issuer, Agent)
    if "parent" not in document:
        raise Refused("not-allowed", "An agent can only pass on a part of what it was given: name the parent.")
    parent = access_delegation(issuer, document["parent"])
    if parent.subject_id != issuer.pk:
        raise Refused("not-allowed", "Only the agent the parent was given to may pass it on.")
    chain = chain_of(parent)
    if len(chain) >= LONGEST_CHAIN:
        raise Refused("depth", f"A chain of delegations is at most {LONGEST_CHAIN} long.")
    fallen = standing.fault(chain)
    if fallen is not None:
        raise fallen
    standing.must_be_published(chain)
    if any(writer.now >= link.not_after for link in chain):
        raise Refused("delegation-expired", "The delegation this would stand on has expired.")
    prepared = chain_rules.prepare([*map(standing.document_of, chain), document])
    if isinstance(prepared, chain_rules.Refusal):
        found = narrowing.problems(standing.document_of(parent), document)
        message = " ".join(problem.message for problem in found) or prepared.message
        raise Refused(prepared.code, message)
    held = Delegation.objects.filter(subject=document["subject"], revoked_at=None, not_after__gt=writer.now)
    if held.exclude(issuer_agent=None).count() >= MOST_PASSED_ON:
        raise Refused(
            "conflict", f"Agents have passed on {MOST_PASSED_ON} delegations to this agent. Revoke one first."
        )
    return chain


def _row(
    command: Command,
    document: dict[str, Any],
    delegation_id: str,
    chain: list[Delegation],
    issued_at: datetime,
) -> Delegation:
    spend = document.get("spend")
    return Delegation(
        id=delegation_id,
        document=canonical.dumps(document),
        signature=command.signature,
        issuer_person=command.issuer if isinstance(command.issuer, Person) else None,
        issuer_agent=command.issuer if isinstance(command.issuer, Agent) else None,
        subject_id=document["subject"],
        parent=chain[-1] if chain else None,
        depth=len(chain),
        not_before=parse_time(document["not_before"]),
        not_after=parse_time(document["not_after"]),
        unit=spend["unit"] if spend else "",
        limit=money.parse_amount(spend["limit"]) if spend else 0,
        issued_at=issued_at,
    )


def _actor(command: Command) -> Any:
    key = command.signature["key"]
    if isinstance(command.issuer, Person):
        assurance = command.signed.assurance if command.signed is not None else "H2"
        return person_actor(command.issuer, key=key, assurance=assurance)
    return agent_actor(command.issuer, key=key)
