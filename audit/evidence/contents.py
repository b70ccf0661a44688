"""What the log room puts into every bundle: the log itself, keys, delegations, votes, openings, views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from audit import kinds
from audit.evidence import trust
from audit.evidence.source import LoggedEntry, Source
from audit.evidence.staging import Staging
from audit.models import Opening
from audit.selectors import commitments_in
from imprimatur.formats import canonical, tiles, tlog_proof
from imprimatur.formats.encoding import b64u
from imprimatur.formats.timestamps import format_time

# What can change who may do what: each gets a proof file of its own, and a line in views/grants.jsonl.
GRANTS = (
    "log.genesis",
    "person.added",
    "person.changed",
    "person.key_added",
    "person.key_revoked",
    "agent.enrolled",
    "agent.key_rotated",
    "agent.key_revoked",
    "agent.suspended",
    "agent.resumed",
    "delegation.issued",
    "delegation.revoked",
    "tool.registered",
    "tool.retired",
    "policy.activated",
    "pause.set",
    "pause.lifted",
    "spend.corrected",
)
MOST_PROOFS = 5_000
PAGE = 500


def add_log(source: Source, staging: Staging) -> None:
    """The complete tree, its checkpoints, and proof files for the entries that changed authority (the newest ones)."""
    staging.add("log/checkpoint", source.checkpoint.note)
    for row in source.checkpoints():
        staging.add(f"log/checkpoints/{row.size}", row.note)
    for level, index, width in tiles.tiles_for(0, source.size):
        path = tiles.tile_path(level, index, width)
        staging.add(f"log/{path}", source.tile(path))
    for index, width in tiles.bundles_for(0, source.size):
        path = tiles.entries_path(index, width)
        staging.add(f"log/{path}", source.tile(path))
    for index in [entry.index for entry in source.entries(*GRANTS)][-MOST_PROOFS:]:
        hashes = tuple(source.reader.inclusion_proof(index))
        proof = tlog_proof.TlogProof(index, hashes, source.checkpoint.note)
        staging.add(f"log/proofs/{index}.tlog-proof", tlog_proof.encode(proof))


def add_trust(source: Source, staging: Staging) -> None:
    """Copies of the keys, to compare with those the auditor holds."""
    for name, content in trust.files(source):
        if isinstance(content, str):
            staging.add(f"trust/{name}", content)
        else:
            staging.add_lines(f"trust/{name}", content)


def add_delegations(source: Source, staging: Staging) -> None:
    """Every delegation as the bytes that were signed, with the signature where other tools can read it."""

    def lines() -> Iterator[dict[str, Any]]:
        for entry in source.entries("delegation.issued", "delegation.revoked"):
            body = entry.payload["body"]
            line = {"index": entry.index, "kind": entry.payload["kind"], "time": entry.payload["time"]}
            if entry.payload["kind"] == "delegation.revoked":
                yield {**line, **body}
                continue
            name = body["delegation"].removeprefix("sha256:")
            staging.add(f"delegations/{name}.json", canonical.dumps(body["document"]))
            if body["signature"]["kind"] == "ssh":
                staging.add(f"delegations/{name}.sig", body["signature"]["value"])
            document = body["document"]
            line |= {"delegation": body["delegation"], "issuer": document["issuer"], "subject": document["subject"]}
            yield {**line, "file": f"delegations/{name}.json", "signature": body["signature"]}

    staging.add_lines("delegations/index.jsonl", lines())


def add_votes(source: Source, staging: Staging) -> None:
    """Every vote: the statement as it was signed, and the evidence."""

    def lines() -> Iterator[dict[str, Any]]:
        for entry in source.entries("vote.cast", "vote.recalled", "action.looked_over"):
            body = entry.payload["body"]
            line = {"index": entry.index, "kind": entry.payload["kind"], "time": entry.payload["time"]}
            line |= {"request": body["request"], "actor": entry.payload["actor"]}
            if "statement" in body:
                staging.add(f"votes/{entry.index}.json", body["statement"])
                line |= {"file": f"votes/{entry.index}.json", "evidence": body["evidence"]}
                if body["evidence"]["kind"] == "ssh":
                    staging.add(f"votes/{entry.index}.sig", body["evidence"]["value"])
            yield line

    staging.add_lines("votes/index.jsonl", lines())


def add_openings(source: Source, staging: Staging) -> None:
    """Every commitment in the log, in order, with what opens it: held, erased, or never given to us."""

    def lines() -> Iterator[dict[str, Any]]:
        seen: set[str] = set()
        page: list[tuple[int, str, str]] = []
        for entry in source.entries():
            for commitment, where in sorted(commitments_in(entry.payload["body"]).items(), key=lambda item: item[1]):
                if commitment not in seen:
                    seen.add(commitment)
                    page.append((entry.index, where, commitment))
            if len(page) >= PAGE:
                yield from _opened(page)
                page = []
        yield from _opened(page)

    staging.add_lines("openings/openings.jsonl", lines())


def add_views(source: Source, staging: Staging) -> None:
    """Derived, for reading: what each entry says, and the history of who was given what."""
    staging.add_lines("views/entries.jsonl", (_view(entry) for entry in source.entries()))
    staging.add_lines("views/grants.jsonl", (_view(entry) for entry in source.entries(*GRANTS)))


def _view(entry: LoggedEntry) -> dict[str, Any]:
    payload = entry.payload
    fields = {name: payload[name] for name in ("time", "kind", "subject", "actor", "refs")}
    return {
        "index": entry.index,
        "leaf": entry.leaf,
        "sentence": kinds.sentence(payload, names=lambda kind, id: id),
        **fields,
    }


def _opened(page: list[tuple[int, str, str]]) -> Iterator[dict[str, Any]]:
    held = {row.commitment: row for row in Opening.objects.filter(commitment__in=[item[2] for item in page])}
    for index, where, commitment in page:
        line: dict[str, Any] = {"index": index, "where": where, "commitment": commitment}
        row = held.get(commitment)
        if row is None:
            yield {**line, "state": "never held"}
        elif row.value is None:
            erased = {"erased_at": format_time(row.erased_at)} if row.erased_at else {}
            yield {**line, "name": row.name, "state": "erased", **erased}
        else:
            opened = {"key": b64u(bytes(row.key)), "value": canonical.loads(bytes(row.value))}
            yield {**line, "name": row.name, "state": "held", **opened}
