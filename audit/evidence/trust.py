"""The keys, in the encodings that other people's tools read. Copies to compare with: trust comes from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from audit.evidence.source import Source
from imprimatur.formats import note, sshsig
from imprimatur.formats.delegation import SSH_NAMESPACE
from imprimatur.formats.encoding import b64, un_b64u
from imprimatur.formats.timestamps import parse_time

# SubjectPublicKeyInfo of an Ed25519 key (RFC 8410): this header, then the 32 bytes.
_SPKI = bytes.fromhex("302a300506032b6570032100")


def pem(public_key: bytes) -> str:
    """An Ed25519 public key as OpenSSL reads it."""
    return f"-----BEGIN PUBLIC KEY-----\n{b64(_SPKI + public_key)}\n-----END PUBLIC KEY-----\n"


def files(source: Source) -> Iterator[tuple[str, str | list[dict[str, Any]]]]:
    """The files of ``trust/``, by name: texts, and for ``keys.jsonl`` its lines."""
    keys = list(key_history(source))
    genesis = next(iter(source.entries("log.genesis"))).payload["body"]
    vkey = genesis["log_vkey"]
    yield "log.vkey", f"{vkey}\n"
    yield "log.pub.pem", pem(note.Vkey.parse(vkey).public_key)
    yield "decision.pub.pem", pem(un_b64u(genesis["decision_key"]["public"]))
    yield "policy.tlog", f"log {vkey}\nquorum none\n"
    yield "allowed_signers", "".join(f"{line}\n" for line in _signers(keys))
    yield "keys.jsonl", keys


def key_history(source: Source) -> Iterator[dict[str, Any]]:
    """Every key there ever was: whose, what for, from which entry, until when."""
    found: dict[str, dict[str, Any]] = {}
    kinds = ("log.genesis", "person.key_added", "person.key_revoked", "agent.enrolled", "agent.key_rotated")
    for entry in source.entries(*kinds, "agent.key_revoked"):
        body, kind = entry.payload["body"], entry.payload["kind"]
        since = {"index": entry.index, "from": entry.payload["time"]}
        if kind == "log.genesis":
            log_key = note.Vkey.parse(body["log_vkey"])
            found[log_key.id.hex()] = {"role": "log", "owner": log_key.name, "key": body["log_vkey"], **since}
            decision = body["decision_key"]
            found[decision["keyid"]] = {"role": "decision", "owner": log_key.name, "key": decision["public"], **since}
        elif kind == "person.key_added":
            found[body["fingerprint"]] = {"role": "person", "owner": body["person"], "key": body["key"], **since}
        elif kind == "person.key_revoked":
            found[body["fingerprint"]] |= {"to": body["since"], "ended_by": entry.index}
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
    """Lines for ``ssh-keygen -Y verify``: each person's keys, for delegations only, while they were good."""
    for key in keys:
        if key["role"] != "person":
            continue
        parsed = sshsig.parse_public_key(key["key"])
        line = sshsig.allowed_signers_line(key["owner"], parsed, [SSH_NAMESPACE], parse_time(key["from"]))
        if "to" in key:
            before = f'valid-before="{parse_time(key["to"]):%Y%m%d%H%M%SZ}"'
            line = line.replace(f" {parsed.line}", f",{before} {parsed.line}")
        yield line
