"""What the log room puts into every bundle: the log itself, keys, delegations, votes, openings, views."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from audit import kinds
from audit.evidence import trust
from audit.evidence.seen import Seen
from audit.evidence.source import LoggedEntry, Source
from audit.evidence.staging import Staging
from audit.models import Opening
from audit.selectors import commitments_in
from imprimatur.formats import canonical, tiles, tlog_proof
from imprimatur.formats.encoding import b64, b64u
from imprimatur.formats.selection import AUTHORITY
from imprimatur.formats.timestamps import format_time

SELECTED = "log/selected.jsonl"
MOST_PROOFS = 5_000
PAGE = 500


def add_log(source: Source, staging: Staging) -> None:
    """The complete tree, its checkpoints, and proof files for the entries that changed authority (the newest ones)."""
    staging.add("log/checkpoint", source.note)
    for row in source.checkpoints():
        staging.add(f"log/checkpoints/{row.size}", row.note)
    for level, index, width in tiles.tiles_for(0, source.size):
        _add_tile(source, staging, tiles.tile_path(level, index, width))
    if source.whole:
        for index, width in tiles.bundles_for(0, source.size):
            _add_tile(source, staging, tiles.entries_path(index, width))
    else:
        # An entry bundle cannot have holes. So the entries that are kept are lines of one file, and the hash tiles
        # say where in the tree each one stands.
        staging.add_lines(SELECTED, _selected(source))
    for index in deque((entry.index for entry in source.entries(*AUTHORITY)), MOST_PROOFS):
        hashes = tuple(source.reader.inclusion_proof(index))
        proof = tlog_proof.TlogProof(index, hashes, source.note)
        staging.add(f"log/proofs/{index}.tlog-proof", tlog_proof.encode(proof))


def _add_tile(source: Source, staging: Staging, path: str) -> None:
    file = source.file(path)
    if file is not None:
        staging.link(f"log/{path}", file)
    else:
        staging.add(f"log/{path}", source.tile(path))


def _selected(source: Source) -> Iterator[dict[str, Any]]:
    for entry in source.entries():
        yield {"index": entry.index, "envelope": b64(entry.envelope)}


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
    """Everything that people stated, votes above all: the statement as it was signed, and the evidence."""

    def lines() -> Iterator[dict[str, Any]]:
        for entry in source.entries():
            body, kind = entry.payload["body"], entry.payload["kind"]
            part = body if "statement" in body and "evidence" in body else body.get("signed")
            if part is None and kind != "vote.recalled":
                continue
            line = {"index": entry.index, "kind": kind, "time": entry.payload["time"], "actor": entry.payload["actor"]}
            if "request" in body:
                line["request"] = body["request"]
            if part is not None:
                staging.add(f"votes/{entry.index}.json", part["statement"])
                line |= {"file": f"votes/{entry.index}.json", "evidence": part["evidence"]}
                if part["evidence"]["kind"] == "ssh":
                    staging.add(f"votes/{entry.index}.sig", part["evidence"]["value"])
            yield line

    staging.add_lines("votes/index.jsonl", lines())


def add_openings(source: Source, staging: Staging) -> None:
    """Every commitment in the kept entries, in order, with what opens it: held, erased, or never given to us.

    Where openings were not asked for, each is withheld, whatever became of it.
    """
    opened = _opened if source.filters.get("openings", True) else _withheld

    def lines() -> Iterator[dict[str, Any]]:
        page: list[tuple[int, str, str]] = []
        with Seen(staging.path(".seen")) as seen:
            for entry in source.entries():
                found = commitments_in(entry.payload["body"])
                in_order = sorted(found, key=found.__getitem__)
                page += [(entry.index, found[commitment], commitment) for commitment in seen.first(in_order)]
                if len(page) >= PAGE:
                    yield from opened(page)
                    page = []
        yield from opened(page)

    staging.add_lines("openings/openings.jsonl", lines())


def add_views(source: Source, staging: Staging) -> None:
    """Derived, for reading: what each entry says, and the history of who was given what."""
    staging.add_lines("views/entries.jsonl", (_view(entry) for entry in source.entries()))
    staging.add_lines("views/grants.jsonl", (_view(entry) for entry in source.entries(*AUTHORITY)))


def _view(entry: LoggedEntry) -> dict[str, Any]:
    payload = entry.payload
    fields = {name: payload[name] for name in ("time", "kind", "subject", "actor", "refs")}
    return {
        "index": entry.index,
        "leaf": entry.leaf,
        "sentence": kinds.sentence(payload, names=lambda kind, id: id),
        **fields,
    }


def _withheld(page: list[tuple[int, str, str]]) -> Iterator[dict[str, Any]]:
    for index, where, commitment in page:
        yield {"index": index, "where": where, "commitment": commitment, "state": "withheld"}


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
