"""What the server answers to a statement, believed only with the signed entry of the log in it.

An answer counts when its entry is signed by a pinned decision key, is of the pinned realm, has the index it is said to
have, and holds exactly what was sent. Anything else is as good as no answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imprimatur.errors import ServerError
from imprimatur.formats import digests, dsse, entries
from imprimatur.formats.trust import Trust


def entry(row: Mapping[str, Any], *, trust: Trust, kinds: Sequence[str]) -> dict[str, Any]:
    """The entry in ``row`` (``index`` and ``envelope``), checked. Raises ServerError."""
    index, text = row.get("index"), row.get("envelope")
    if not isinstance(index, int) or isinstance(index, bool) or not isinstance(text, str):
        raise _wrong("it holds no entry of the log")
    try:
        envelope = dsse.open_envelope(text.encode("utf-8"))
        found = entries.parse(envelope.payload)
    except ValueError as error:
        raise _wrong(f"its entry cannot be read ({error})") from None
    if not any(dsse.verify(envelope, key) for key in trust.decision_keys(index)):
        raise _wrong("its entry is not signed by a decision key that is pinned for it")
    if found["realm"] != trust.realm:
        raise _wrong(f"its entry is of the realm {found['realm']}")
    if found["index"] != index:
        raise _wrong("its entry has another index")
    if found["kind"] not in kinds:
        raise _wrong(f"its entry is a {found['kind']}")
    return found


def statement_entry(
    row: Mapping[str, Any], sent: bytes, *, service: str, trust: Trust, kinds: Sequence[str]
) -> dict[str, Any]:
    """The entry that holds the statement which was sent. Raises ServerError."""
    found = entry(row, trust=trust, kinds=kinds)
    body = found["body"]
    if found["actor"]["id"] != service:
        raise _wrong("its entry is somebody else's")
    if body.get("statement") != sent.decode("utf-8"):
        raise _wrong("its entry does not hold the statement that was sent")
    if "digest" in body and body["digest"] != digests.sha256(sent):
        raise _wrong("its entry has another digest than the statement")
    return found


def _wrong(what: str) -> ServerError:
    return ServerError(
        f"The server's answer does not count: {what}. If the server has a new decision key, get a new trust.json from "
        "a person who runs it; otherwise somebody stands between.",
        code="unknown-answer",
    )
