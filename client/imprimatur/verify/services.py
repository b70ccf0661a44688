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


def signed(facts: Facts, entry: Mapping[str, Any], predicate_type: str) -> attestation.Statement:
    """The statement in an entry: of this type, signed by the service that wrote the entry, which is registered for it,
    next in the tree of all that it signs. Puts it into that tree. Raises BrokenRule."""
    rule, actor = rulebook.SERVICE, entry["actor"]
    raw = entry["body"]["statement"].encode("utf-8")
    facts.hold(actor["type"] == "service", rulebook.ACTOR, "only a service writes this")
    service = facts.services.get(actor["id"])
    if service is None or service.retired:
        facts.hold(False, rule, "this service is not registered, or no longer")
        raise AssertionError
    facts.hold(service.role == attestation.SIGNS[predicate_type], rule, f"a {service.role} does not sign this")
    try:
        statement = attestation.open_statement(raw, predicate_type)
    except attestation.AttestationError as error:
        facts.hold(False, rule, f"the statement cannot be read: {error}")
        raise AssertionError from error
    predicate = statement.predicate
    facts.hold(predicate["realm"] == facts.realm, rulebook.REALM, "the statement is of another realm")
    facts.hold(predicate["service"] == actor["id"], rule, "the statement is in another service's name")
    facts.hold(statement.signed_by(un_b64u(service.public_key)), rule, "the service did not sign the statement")
    facts.hold(actor.get("key") == service.thumbprint, rule, "the entry names another key of the service")
    tree = merkle.CompactRange.from_hashes(service.size, [bytes.fromhex(item) for item in service.hashes])
    own = {"size": tree.size, "root": f"sha256:{tree.root().hex()}"}
    facts.hold(
        predicate["own"] == own,
        rule,
        f"statement {predicate['own']['size']} of {actor['id']} does not follow the {tree.size} that are here: "
        "one was left out, moved or made up",
    )
    tree.append(merkle.leaf_hash(raw))
    service.size, service.hashes = tree.size, [item.hex() for item in tree.hashes]
    return statement


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "service.registered": _registered,
    "service.retired": _retired,
}
