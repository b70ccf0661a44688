"""One entry of the log with everything that proves it."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from audit import kinds, proofs, retention, selectors, surroundings
from audit.errors import NotPublished
from audit.models import Entry, LogHead
from audit.views.guard import ADMIN, AUDITOR, REVIEWER, page, refuse
from audit.views.log import as_file, lines_of
from imprimatur.formats import canonical, dsse
from imprimatur.formats.tiles import TileError


@page(ADMIN, REVIEWER, AUDITOR)
def entry(request: HttpRequest, index: int) -> HttpResponse:
    """One entry: what it says, who signed it, its proof, its neighbours, and what opens its commitments."""
    try:
        detail = selectors.entry_detail(index)
    except Entry.DoesNotExist:
        return _no_entry(request, index)
    raw = bytes(detail.row.envelope)
    places = selectors.commitments_in(detail.payload["body"])
    held = {row.commitment: row for row in detail.openings}
    erasures = retention.erasure_of(detail.openings)
    below, above = surroundings.rests_on(detail.payload), surroundings.resting_on(detail.row)
    return render(
        request,
        "audit/entry.html",
        {
            "entry": detail,
            "payload": _pretty(detail.payload),
            "envelope": raw.decode("utf-8"),
            "bytes": len(raw),
            "actor": kinds.actor(detail.payload),
            "signatures": [_signature(each) for each in _signatures(raw, detail.payload)],
            "rests_on": _told(below),
            "resting_on": _told(above),
            "looked_at": surroundings.LOOKED_AT,
            "same": list(lines_of(detail.same_subject)),
            "openings": [
                {**_opening(commitment, place, held.get(commitment)), "erasure": erasures.get(commitment)}
                for commitment, place in places.items()
            ],
            "last": (LogHead.objects.values_list("size", flat=True).first() or 0) - 1,
            **_path(detail.row),
        },
    )


def _signatures(raw: bytes, payload: dict[str, Any]) -> list[surroundings.Signature]:
    return surroundings.signatures_of(dsse.open_envelope(raw), payload)


def _signature(signature: surroundings.Signature) -> dict[str, Any]:
    person = "person" if signature.statement or signature.strength else ""
    kinds_of = {"webauthn": "passkey", "ssh": "SSH key", "session": "click in a session"}
    statement = _pretty(canonical.loads(signature.statement.encode("utf-8"))) if signature.statement else ""
    return {
        "by": signature,
        "who": kinds.name(person, signature.who) if person else signature.who,
        "kind": kinds_of.get(signature.kind, signature.kind),
        "statement": statement,
    }


def _told(found: list[surroundings.Reference]) -> list[dict[str, Any]]:
    """References, each with the sentence of its entry."""
    sentences = lines_of([each.row for each in found])
    return [{"line": line, "rel": each.rel} for each, line in zip(found, sentences, strict=True)]


def _path(row: Entry) -> dict[str, Any]:
    """The inclusion path, or in words why there is none to show."""
    try:
        return {"path": surroundings.path_of(row), "no_path": ""}
    except NotPublished:
        return {"path": None, "no_path": ""}
    except (TileError, OSError):
        return {
            "path": None,
            "no_path": "The files of the published log are damaged or away, so the path cannot be read.",
        }


@page(ADMIN, REVIEWER, AUDITOR)
def envelope(request: HttpRequest, index: int) -> HttpResponse:
    """The exact bytes of the leaf."""
    row = Entry.objects.filter(index=index).first()
    if row is None:
        return _no_entry(request, index)
    return as_file(bytes(row.envelope), f"entry-{index}.json", "application/json")


@page(ADMIN, REVIEWER, AUDITOR)
def proof(request: HttpRequest, index: int) -> HttpResponse:
    """The inclusion proof under the newest checkpoint, as its file (C2SP tlog-proof)."""
    try:
        text = proofs.proof_for(index)
    except NotPublished as error:
        return refuse(request, 404, "Not published yet", f"{str(error).capitalize()}. Ask again in a moment.")
    except (TileError, OSError):
        return refuse(
            request,
            503,
            "The proof cannot be read",
            "The files of the published log are damaged or away. Tell whoever "
            "operates this installation; the entries themselves are in the database.",
        )
    return as_file(text.encode("utf-8"), f"entry-{index}.tlog-proof", "text/plain; charset=utf-8")


def _opening(commitment: str, place: str, row: Any) -> dict[str, Any]:
    state = "missing" if row is None else "erased" if row.erased_at or row.value is None else "held"
    value = ""
    if state == "held":
        known = canonical.loads(bytes(row.value))
        value = known if isinstance(known, str) else _pretty(known)
    return {
        "place": place,
        "commitment": commitment,
        "state": state,
        "value": value,
        "erased_at": row.erased_at if row is not None else None,
    }


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def _no_entry(request: HttpRequest, index: int) -> HttpResponse:
    size = LogHead.objects.values_list("size", flat=True).first() or 0
    return refuse(request, 404, "There is no such entry", f"The log has {size} entries, so {index} is not written yet.")
