"""The keys, in the encodings that other people's tools read. Copies to compare with: trust comes from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from audit import keyring, witnesses
from audit.evidence.source import Source
from audit.trust import PEOPLES_KEYS, change_people
from imprimatur.formats import note, signing, sshsig, statement
from imprimatur.formats.delegation import SSH_NAMESPACE
from imprimatur.formats.keyring import KINDS, Keyring
from imprimatur.formats.keys import dsse_keyid
from imprimatur.formats.pem import public_pem
from imprimatur.formats.timestamps import parse_time
from imprimatur.rules.launches import SSH_NAMESPACE as CONFIGURATION

_SERVICES = ("service.registered", "service.retired")


def files(source: Source) -> Iterator[tuple[str, str | list[dict[str, Any]]]]:
    """The files of ``trust/``, by name: texts, and for ``keys.jsonl`` its lines."""
    keys = list(key_history(source))
    ring = keyring.ring(entry.payload for entry in source.entries(*KINDS))
    in_use = ring.log_at(source.size)
    yield "log.vkey", "".join(f"{vkey}\n" for vkey in in_use)
    yield "log.pub.pem", public_pem(in_use[0].public_key)
    yield "decision.pub.pem", public_pem(ring.decision_at(source.size))
    yield "policy.tlog", witnesses.published_policy(*in_use).format()
    yield "allowed_signers", "".join(f"{line}\n" for line in _signers(keys))
    yield "keys.jsonl", keys


def key_history(source: Source) -> Iterator[dict[str, Any]]:
    """Every key there ever was: whose, what for, from which entry, until when.

    A person's key counts from when it was vouched for; one that nobody vouched for is not among them.
    """
    found: dict[str, dict[str, Any]] = {}
    enrolled: dict[str, dict[str, Any]] = {}
    ring = Keyring()
    kinds = (*KINDS, "agent.enrolled", "agent.key_rotated", "agent.key_revoked", *_SERVICES, *PEOPLES_KEYS)
    for entry in source.entries(*kinds):
        body, kind = entry.payload["body"], entry.payload["kind"]
        ring.see(entry.payload)
        since = {"index": entry.index, "from": entry.payload["time"]}
        if kind == "log.genesis":
            log_key = note.Vkey.parse(body["log_vkey"])
            found[log_key.id.hex()] = {"role": "log", "owner": log_key.name, "key": body["log_vkey"], **since}
            decision = body["decision_key"]
            found[decision["keyid"]] = {"role": "decision", "owner": log_key.name, "key": decision["public"], **since}
        elif kind == "log.decision_key_changed":
            old = dsse_keyid(ring.decision_at(entry.index))
            found[old] |= {"to": entry.payload["time"], "ended_by": entry.index}
            new = body["decision_key"]
            owner = entry.payload["realm"]
            found[new["keyid"]] = {"role": "decision", "owner": owner, "key": new["public"], **since}
        elif kind == "log.key_added":
            added = note.Vkey.parse(body["log_vkey"])
            found[added.id.hex()] = {"role": "log", "owner": added.name, "key": body["log_vkey"], **since}
        elif kind == "log.key_retired":
            retired = note.Vkey.parse(body["log_vkey"]).id.hex()
            found[retired] |= {"to": entry.payload["time"], "ended_by": entry.index}
        elif kind in PEOPLES_KEYS:
            change_people(found, enrolled, entry.payload)
            if kind in {"person.key_added", "person.key_vouched"}:
                found[body["fingerprint"]]["index"] = entry.index
            elif kind == "person.key_revoked" and body["fingerprint"] in found:
                found[body["fingerprint"]]["ended_by"] = entry.index
        elif kind == "service.registered":
            about = {"role": body["role"], "owner": body["service"], "key": body["public_key"]}
            found[body["thumbprint"]] = {**about, **since}
        elif kind == "service.retired":
            known = next(key for key in found.values() if key["owner"] == body["service"])
            known |= {"to": entry.payload["time"], "ended_by": entry.index}
        elif kind == "agent.enrolled":
            found[body["thumbprint"]] = {"role": "agent", "owner": body["agent"], "key": body["public_key"], **since}
        elif kind == "agent.key_rotated":
            found[body["old"]] |= {"to": entry.payload["time"], "ended_by": entry.index}
            found[body["new"]] = {"role": "agent", "owner": body["agent"], "key": body["public_key"], **since}
        else:
            found[body["thumbprint"]] |= {"to": body["since"], "ended_by": entry.index}
    for identifier, key in found.items():
        yield {"id": identifier, **key}


def _signers(keys: list[dict[str, Any]]) -> Iterator[str]:
    """Lines for ``ssh-keygen -Y verify``: each person's SSH keys, for what they sign, while they were good."""
    both = [SSH_NAMESPACE, CONFIGURATION]
    everything = [*both, statement.SSH_NAMESPACE, *(kind.ssh_namespace for kind in signing.KINDS.values())]
    for key in keys:
        if key["role"] != "person" or key["kind"] != signing.SSH:
            continue
        parsed = sshsig.parse_public_key(key["key"])
        namespaces = everything if key["purpose"] == "signing" else both
        line = sshsig.allowed_signers_line(key["owner"], parsed, namespaces, parse_time(key["from"]))
        if "to" in key:
            before = f'valid-before="{parse_time(key["to"]):%Y%m%d%H%M%SZ}"'
            line = line.replace(f" {parsed.line}", f",{before} {parsed.line}")
        yield line
