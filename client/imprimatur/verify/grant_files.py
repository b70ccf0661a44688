"""The folder `grants/` of a bundle: the grant history as rows, as a drawing, and as counts, derived from the entries.

The same code writes it and verifies it: whoever verifies derives it anew from the entries and demands equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from typing import Any

from imprimatur.formats import canonical, evidence_zip
from imprimatur.formats.digests import fingerprint
from imprimatur.inert import inert
from imprimatur.verify import copies, grant_words
from imprimatur.verify.grant_history import GrantHistory
from imprimatur.verify.grant_rows import Held, InAdvance, Registered, Standing, Version

FOLDER = "grants"
HISTORY, TREE, COUNTS = "history.jsonl", "tree.txt", "counts.json"
NAMES = (COUNTS, HISTORY, TREE)

_SENTENCES = {
    "without_human_root": "grants that trace to no person’s signature",
    "initiated_by_agents": "grants that an agent initiated",
    "agent_keys_among_signers": "keys of agents among those that signed grants",
    "not_narrower": "passed on by an agent, and not narrower than what it held",
    "unreadable": "entries that cannot be judged",
}


def history_lines(history: GrantHistory) -> Iterator[bytes]:
    """`history.jsonl`: one line of canonical JSON for each capability, in the order of the entries. Without ends."""
    return map(canonical.dumps_json, history.documents())


def counts_bytes(history: GrantHistory) -> bytes:
    """`counts.json`, canonical JSON and a line feed."""
    return canonical.dumps_json(history.counts()) + b"\n"


def tree_lines(history: GrantHistory) -> Iterator[bytes]:
    """`tree.txt`: what was found, then each chain under the person who signed it. Without ends.

    Whatever agents and people wrote in it is inert.
    """
    return (line.encode("utf-8") for line in _Drawing(history).lines())


def fault(reader: evidence_zip.Reader, history: GrantHistory) -> str:
    """What in the folder is not what the entries give: file, line and entry; empty when all of it is.

    A bundle without the folder has no fault: what the folder says follows from the entries, which are there.
    """
    there = [name for name in reader.names if name.startswith(f"{FOLDER}/")]
    if not there:
        return ""
    wanted = [f"{FOLDER}/{name}" for name in NAMES]
    for name in wanted:
        if name not in reader:
            return f"{name} is missing"
    for name in there:
        if name not in wanted:
            return f"{name} does not belong into a bundle"
    found = _rows_fault(reader, history)
    if not found:
        found = _lines_fault(reader, f"{FOLDER}/{TREE}", tree_lines(history))
    counts = f"{FOLDER}/{COUNTS}"
    return found or _lines_fault(reader, counts, iter([counts_bytes(history).removesuffix(b"\n")]))


def _rows_fault(reader: evidence_zip.Reader, history: GrantHistory) -> str:
    name = f"{FOLDER}/{HISTORY}"
    standings = history.standings()
    wanted = ((row.index, canonical.dumps_json(row.as_json(standings[row.index]))) for row in history.rows())
    for number, (line, row) in enumerate(zip_longest(copies.lines(reader, name), wanted), 1):
        if row is None:
            return f"{name} line {number} is of no entry that gave a capability{_says(line)}"
        if line is None:
            return f"{name} ends before the row of entry {row[0]}"
        if line != row[1]:
            index = _index(line)
            if index is not None and index != row[0]:
                return f"{name} line {number} is of entry {index}, where the row of entry {row[0]} belongs"
            return f"{name} line {number} does not say what entry {row[0]} says"
    return ""


def _says(line: bytes | None) -> str:
    index = _index(line)
    return "" if index is None else f", though it names entry {index}"


def _index(line: bytes | None) -> int | None:
    try:
        index = canonical.loads(line or b"")["index"]
    except (ValueError, TypeError, LookupError):
        return None
    return index if type(index) is int else None


def _lines_fault(reader: evidence_zip.Reader, name: str, wanted: Iterable[bytes]) -> str:
    for number, (line, other) in enumerate(zip_longest(copies.lines(reader, name), wanted), 1):
        if line != other:
            return f"{name} line {number} is not what the entries give"
    return ""


class _Drawing:
    """The drawing of a history, as of its last entry."""

    def __init__(self, history: GrantHistory) -> None:
        self._history = history
        self._standings = history.standings()
        self._children: dict[str | None, list[Held]] = {}
        for row in history.delegations.values():
            above = row.parent if row.parent in history.delegations else None
            self._children.setdefault(above, []).append(row)

    def lines(self) -> Iterator[str]:
        history = self._history
        yield f"GRANT HISTORY OF {_safe(history.realm)}"
        yield f"As of {history.now}, from {history.entries} entries. [n] is the entry that gave it."
        yield ""
        for sort, count in history.violations().items():
            yield f"{count:>6}  {_SENTENCES[sort]}"
        for finding in history.findings():
            yield f"        [{finding.index}] {_safe(finding.why)}"
        yield ""
        yield "DELEGATIONS"
        yield from self._forest()
        yield from self._section("TOOLS AND POLICIES", history.versions, self._version)
        yield from self._section("VOTES IN ADVANCE", history.in_advance.values(), self._vote)
        yield from self._section("SERVICES, WHICH GRANT NOTHING", history.services.values(), self._service)

    def _section(self, title: str, rows: Iterable[Any], draw: Callable[[Any], Iterator[str]]) -> Iterator[str]:
        yield ""
        yield title
        empty = True
        for row in rows:
            empty = False
            yield from draw(row)
        if empty:
            yield "  none"

    def _forest(self) -> Iterator[str]:
        roots = self._children.get(None, [])
        if not roots:
            yield "  none"
        # Without recursion: how deep a forged chain is, nobody promises. Each frame is the rows left, and their indent.
        stack = [(iter([(root, True) for root in roots]), "", True)]
        while stack:
            rows, indent, top = stack[-1]
            following = next(rows, None)
            if following is None:
                stack.pop()
                continue
            row, last = following
            branch, below = ("", "") if top else ("└─ ", "   ") if last else ("├─ ", "│  ")
            children = self._children.get(row.id, [])
            rest = f"  {indent}{below}{'│  ' if children else '   '}"
            first, *others = self._delegation(row)
            yield f"  {indent}{branch}{first}"
            for line in others:
                yield f"{rest}{line}"
            marked = [(child, place == len(children) - 1) for place, child in enumerate(children)]
            stack.append((iter(marked), indent + below, False))

    def _delegation(self, row: Held) -> Iterator[str]:
        document = row.document
        issuer, holder = (self._who(document[name]) for name in ("issuer", "subject"))
        yield f"[{row.index}] {issuer} → {holder}: {_safe(grant_words.may(document))}"
        yield f"{_safe('; '.join(grant_words.bounds(document)))}; {fingerprint(row.id)}"
        yield f"signed {grant_words.moment(row.time)} with the {grant_words.KEYS[row.kind]} {_safe(row.key)}"
        if row.narrower:
            yield f"narrower: {_safe('; '.join(row.narrower))}"
        yield self._stands(self._standings[row.index])
        for why in row.faults:
            yield f"MUST NOT BE: {_safe(why)}"

    def _version(self, row: Version) -> Iterator[str]:
        what = f"policy {row.number} “{_safe(row.name)}”" if row.number else f"tool {_safe(row.name)}"
        done = "changed" if row.replaces else "new"
        signers = " and ".join(f"{self._who(signed.person)} with {_safe(signed.key)}" for signed in row.signers)
        by = f"signed by {signers}" if signers else f"by {self._who(row.actor['id'])} alone, unsigned"
        yield f"  [{row.index}] {grant_words.moment(row.time)} {what} {done}, {by}; {fingerprint(row.digest)}"
        for facet, said in row.changed.items():
            yield f"      {_safe(facet)}: {_safe(said)}"
        yield f"      {self._stands(self._standings[row.index])}"
        for why in row.faults:
            yield f"      MUST NOT BE: {_safe(why)}"

    def _vote(self, row: InAdvance) -> Iterator[str]:
        said = row.said
        agent, person = self._who(said["agent"]), self._who(row.actor["id"])
        yield f"  [{row.index}] {person} → {agent}: {_safe(said['tool'])} {_safe(', '.join(said['effects']))}"
        most = f", {said['max_total']['amount']} {said['max_total']['unit']} in all" if "max_total" in said else ""
        used = "" if row.uses is None else f", used {row.uses} times"
        yield f"      at most {said['max_uses']} times{most}, until {grant_words.moment(said['not_after'])}{used}"
        yield f"      given with a {grant_words.KEYS[row.kind]}{f' {_safe(row.key)}' if row.key else ''}"
        yield f"      {self._stands(self._standings[row.index])}"
        for why in row.faults:
            yield f"      MUST NOT BE: {_safe(why)}"

    def _service(self, row: Registered) -> Iterator[str]:
        who = f"{_safe(row.role)} {_safe(row.name)} ({_safe(row.id)})"
        yield f"  [{row.index}] {grant_words.moment(row.time)} {who}, let in by {self._who(row.actor['id'])}"
        yield f"      its key {_safe(row.key)}; {self._stands(self._standings[row.index])}"
        for why in row.faults:
            yield f"      MUST NOT BE: {_safe(why)}"

    def _who(self, id: str) -> str:
        name = self._history.holders.name(id)
        return _safe(id) if name == id else f"{_safe(name)} ({_safe(id)})"

    def _stands(self, standing: Standing) -> str:
        return _safe(grant_words.how(standing, self._history.holders.name))


def _safe(text: str) -> str:
    return inert(text, "terminal")
