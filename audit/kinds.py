"""One sentence per kind of entry, for people. The rooms register theirs; the log itself knows only its own.

A sentence may quote what agents and people wrote. It is plain text: whoever shows it makes it inert.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

Entry = Mapping[str, Any]


class Names(Protocol):
    """Turns ids into names that people know."""

    def __call__(self, kind: str, id: str) -> str:
        """The name of an ``agent``, ``person``, ``request``, ``delegation``…; the id itself when it has none."""
        ...


Sentence = Callable[[Entry, Names], str]
Search = Callable[[str], Iterable[str]]

_sentences: dict[str, Sentence] = {}
_names: dict[str, Callable[[str], str | None]] = {}
_searches: list[Search] = []


def register(kind: str, sentence: Sentence) -> None:
    """Say how an entry of this kind reads. The last registration of a kind counts."""
    _sentences[kind] = sentence


def register_names(kind: str, find: Callable[[str], str | None]) -> None:
    """Say how an id of this sort (``agent``, ``person``…) is called; None when it is not known."""
    _names[kind] = find


def register_search(find: Search) -> None:
    """Say which ids a word that somebody searches for may mean, such as the agents of that name."""
    if find not in _searches:
        _searches.append(find)


def registered() -> frozenset[str]:
    """The kinds that have a sentence."""
    return frozenset(_sentences)


def name(kind: str, id: str) -> str:
    """The name of something, or its id."""
    find = _names.get(kind)
    return (find(id) if find else None) or id


def sentence(entry: Entry, names: Names = name) -> str:
    """What an entry says, in one sentence without a full stop. Plain text, not yet inert."""
    known = _sentences.get(entry["kind"])
    if known is None:
        return f"{actor(entry, names)} wrote {entry['kind']} about {entry['subject']}"
    return known(entry, names)


def actor(entry: Entry, names: Names = name) -> str:
    """Who did it, by name."""
    who = entry["actor"]
    return "Imprimatur" if who["type"] == "system" else names(who["type"], who["id"])


def ids_meant_by(text: str) -> set[str]:
    """Every id that a search for this text may mean."""
    return {found for search in _searches for found in search(text)}


def _genesis(entry: Entry, names: Names) -> str:
    return f"The log of {entry['realm']} began, with {entry['body']['software']}"


def _bundle_issued(entry: Entry, names: Names) -> str:
    return f"{actor(entry, names)} took an evidence bundle of the first {entry['body']['size']} entries"


def _door_rejected(entry: Entry, names: Names) -> str:
    codes = entry["body"]["codes"]
    counts = ", ".join(f"{count} × {code}" for code, count in sorted(codes.items()))
    return f"The door turned away {sum(codes.values())} requests of key {entry['body']['key']} in one minute: {counts}"


def _swept(entry: Entry, names: Names) -> str:
    body = entry["body"]
    return f"{len(body['ids'])} pending items ended because of entry {body['cause']}"


def _finished(entry: Entry, names: Names) -> str:
    body = entry["body"]
    return f"Everything that entry {body['cause']} ends has ended: {body['total']} in all"


def _decision_key_changed(entry: Entry, names: Names) -> str:
    body = entry["body"]
    return (
        f"From here on entries are signed with the decision key {body['decision_key']['keyid'][:12]}: {body['reason']}"
    )


def _log_key_added(entry: Entry, names: Names) -> str:
    return f"Checkpoints are signed with {entry['body']['log_vkey']} as well: {entry['body']['reason']}"


def _log_key_retired(entry: Entry, names: Names) -> str:
    return f"{entry['body']['log_vkey']} signs no more checkpoints: {entry['body']['reason']}"


def _shipped(entry: Entry, names: Names) -> str:
    return f"The copy at {entry['body']['sink']} was read back: {entry['body']['size']} entries, the same as here"


def _export_taken(entry: Entry, names: Names) -> str:
    body = entry["body"]
    if body["what"] == "bundle":
        return f"{actor(entry, names)} took away the evidence bundle {body['query']}, which somebody else had asked for"
    what = {"entries": "entries", "sample": "entries, drawn at random", "comparison": "lines that compare two bundles"}
    return f"{actor(entry, names)} took away {body['count']} {what[body['what']]} ({body['form']})"


def _hold_placed(entry: Entry, names: Names) -> str:
    body = entry["body"]
    what = "everything" if body["scope"] == "everything" else names(body["scope"], body["target"])
    return f"{actor(entry, names)} placed a legal hold on {what}: {body['reason']}"


def _hold_lifted(entry: Entry, names: Names) -> str:
    return f"{actor(entry, names)} lifted a legal hold: {entry['body']['reason']}"


def _erased(entry: Entry, names: Names) -> str:
    body = entry["body"]
    return (
        f"{actor(entry, names)} erased {body['count']} openings of {len(body['subjects'])} requests: {body['reason']}"
    )


register("log.decision_key_changed", _decision_key_changed)
register("log.key_added", _log_key_added)
register("log.key_retired", _log_key_retired)
register("log.shipped", _shipped)
register("export.taken", _export_taken)
register("hold.placed", _hold_placed)
register("hold.lifted", _hold_lifted)
register("openings.erased", _erased)
register("log.genesis", _genesis)
register("bundle.issued", _bundle_issued)
register("door.rejected", _door_rejected)
register("cascade.swept", _swept)
register("cascade.finished", _finished)
