"""Services: orchestrators, monitors and canary runners, and the one tree of all that each of them signs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.formats import attestation, ed25519, ids, keys, merkle, note
from imprimatur.formats.encoding import un_b64u
from imprimatur.verify import rulebook
from imprimatur.verify.facts import Facts, Service


def _registered(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.SERVICE
    public_key = un_b64u(body["public_key"])
    try:
        ed25519.check_public_key(public_key)
    except ValueError as error:
        facts.hold(False, rule, f"the key is unusable: {error}")
    facts.hold(body["service"] == ids.service_id(public_key), rule, "the service's id does not come from its key")
    facts.hold(body["thumbprint"] == keys.thumbprint(public_key), rule, "the thumbprint is of another key")
    facts.hold(body["service"] not in facts.services, rule, "this service is registered already")
    facts.hold(body["thumbprint"] not in facts.agent_keys, rule, "this key is an agent's")
    facts.hold(body["thumbprint"] not in facts.person_thumbprints, rule, "this key is a person's")
    own = {un_b64u(key) for key in facts.decision_keys}
    own |= {note.Vkey.parse(vkey).public_key for vkey in (*facts.log_vkeys, *facts.retired_log_vkeys)}
    facts.hold(public_key not in own, rule, "this key is the log's own")
    if "agents" in body:
        facts.hold(body["role"] == attestation.CANARIES, rule, "only a canary runner has agents of its own")
        facts.hold(all(name in facts.agents for name in body["agents"]), rule, "an agent of it is not enrolled")
    if "vkey" in body:
        facts.hold(body["role"] == attestation.MONITOR, rule, "only a monitor cosigns")
        try:
            vkey = note.Vkey.parse(body["vkey"])
        except note.NoteError as error:
            facts.hold(False, rule, f"the key for cosignatures cannot be read: {error}")
            return
        facts.hold(vkey.algorithm == note.COSIGNATURE, rule, "the key for cosignatures is of another kind")
        facts.hold(vkey.public_key not in own | {public_key}, rule, "the key for cosignatures has another use")
    facts.services[body["service"]] = Service(body["role"], body["public_key"], body["thumbprint"])


def _retired(facts: Facts, entry: Mapping[str, Any]) -> None:
    service = facts.services.get(entry["body"]["service"])
    if service is None:
        facts.hold(False, rulebook.REVOCATION, "there is no such service")
        return
    facts.hold(not service.retired, rulebook.REVOCATION, "the service was retired before")
    service.retired = facts.now


def acting(facts: Facts, entry: Mapping[str, Any], role: str) -> Service:
    """The service that wrote an entry, registered for this role and not retired. Raises BrokenRule."""
    rule, actor = rulebook.SERVICE, entry["actor"]
    facts.hold(actor["type"] == "service", rulebook.ACTOR, f"only a service writes {entry['kind']}")
    service = facts.services.get(actor["id"])
    if service is None or service.retired:
        facts.hold(False, rule, f"{entry['kind']}: this service is not registered, or no longer")
        raise AssertionError  # hold has raised
    facts.hold(service.role == role, rule, f"{entry['kind']}: a {service.role} does not sign this")
    facts.hold(actor.get("key") == service.thumbprint, rule, f"{entry['kind']}: it names another key of the service")
    return service


def signed(facts: Facts, entry: Mapping[str, Any], predicate_type: str) -> attestation.Statement:
    """The statement in an entry: of this type, signed by the service that wrote the entry, which is registered for it,
    next in the tree of all that it signs. Puts it into that tree. Raises BrokenRule."""
    rule, actor, kind = rulebook.SERVICE, entry["actor"], entry["kind"]
    raw = entry["body"]["statement"].encode("utf-8")
    service = acting(facts, entry, attestation.SIGNS[predicate_type])
    try:
        statement = attestation.open_statement(raw, predicate_type)
    except attestation.AttestationError as error:
        facts.hold(False, rule, f"{kind}: the statement cannot be read: {error}")
        raise AssertionError from error  # hold has raised
    predicate = statement.predicate
    facts.hold(predicate["realm"] == facts.realm, rulebook.REALM, f"{kind}: the statement is of another realm")
    facts.hold(predicate["service"] == actor["id"], rule, f"{kind}: the statement is in another service's name")
    own_key = un_b64u(service.public_key)
    facts.hold(statement.signed_by(own_key), rule, f"{kind}: {actor['id']} did not sign the statement: it is made up")
    tree = merkle.CompactRange.from_hashes(service.size, [bytes.fromhex(item) for item in service.hashes])
    broken = _out_of_place(predicate["own"], tree)
    facts.hold(not broken, rule, f"{kind}: of the {service.role} {actor['id']}, {broken}")
    tree.append(merkle.leaf_hash(raw))
    service.size, service.hashes = tree.size, [item.hex() for item in tree.hashes]
    return statement


def _out_of_place(own: Mapping[str, Any], tree: merkle.CompactRange) -> str:
    """Why a statement that names this tree as its service's own does not follow it, in words; empty when it does."""
    said, here = own["size"], tree.size
    if said > here:
        missing = f"statement {here} is" if said == here + 1 else f"statements {here} to {said - 1} are"
        return f"{missing} missing before statement {said}: left out, or moved behind it"
    if said < here:
        return f"this is statement {said}, and {here} are here before it: it was moved, or one before it is made up"
    if own["root"] != f"sha256:{tree.root().hex()}":
        return f"the {here} statements before statement {said} are not those that it follows: one of them is made up"
    return ""


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "service.registered": _registered,
    "service.retired": _retired,
}
