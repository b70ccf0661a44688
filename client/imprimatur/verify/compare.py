"""What lies between two bundles of one log: that the later continues the earlier, and what was added, erased, changed.

Nothing is verified here but the tree: the hash tiles of both give the roots that their checkpoints name, and the tree
of the later one begins with that of the earlier one. Who signed what, and whether an entry may stand in a good history,
is what `bundle.verify_bundle` says of each of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from imprimatur.formats import canonical, checkpoint, dsse, entries, evidence_zip, merkle, note, tiles
from imprimatur.formats.selection import AUTHORITY
from imprimatur.verify.contents import CHECKPOINT, BundleError, Contents

HELD = "held"
_OPENINGS = "openings/openings.jsonl"
_MOST_LINE = 64_000_000


class CompareError(ValueError):
    """These two cannot be compared. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Change:
    """An entry that changed who may do what. `time` is canonical text."""

    index: int
    time: str
    kind: str
    subject: str


@dataclass(frozen=True, slots=True)
class Gone:
    """An opening that the earlier bundle shows and the later one does not; `state` is what the later says of it."""

    index: int
    where: str
    commitment: str
    state: str


@dataclass(slots=True)
class Comparison:
    """What two bundles of one log have in common, and what the later one adds. Pairs are (earlier, later).

    `continues` is true when the later tree begins with the whole earlier one, false when the log was forked, and None
    when one of the two is not intact, so that nothing can be told: `fault` says why, and everything else stays empty.
    `roots` are hex. `forked_at` is the first entry that differs. `added` counts the new entries that are there by kind;
    `left_out` is how many new ones the later bundle leaves out. `files_changed` are the names of files that both have
    with different contents.
    """

    realm: str
    sizes: tuple[int, int]
    roots: tuple[str, str]
    continues: bool | None
    forked_at: int | None = None
    fault: str = ""
    added: dict[str, int] = field(default_factory=dict)
    left_out: int = 0
    authority: list[Change] = field(default_factory=list)
    openings_gone: list[Gone] = field(default_factory=list)
    files_changed: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "realm": self.realm,
            "sizes": list(self.sizes),
            "roots": list(self.roots),
            "continues": self.continues,
            "forked_at": self.forked_at,
            "fault": self.fault,
            "added": dict(sorted(self.added.items())),
            "left_out": self.left_out,
            "authority": [asdict(change) for change in self.authority],
            "openings_gone": [asdict(gone) for gone in self.openings_gone],
            "files_changed": self.files_changed,
        }


def compare(earlier: Path | str, later: Path | str) -> Comparison:
    """Compare two bundles of one log, the shorter first.

    Raises CompareError when one is no bundle, they are of different realms, or the first is the longer one; OSError
    when one cannot be read.
    """
    try:
        with evidence_zip.Reader(earlier) as first, evidence_zip.Reader(later) as second:
            return _compare(Contents(first), Contents(second))
    except (evidence_zip.EvidenceZipError, BundleError) as error:
        raise CompareError(f"one of the two is not an intact bundle: {error}") from error


def _compare(earlier: Contents, later: Contents) -> Comparison:
    before, after = _checkpoint(earlier), _checkpoint(later)
    if before.origin != after.origin:
        raise CompareError(
            f"the bundles are of different realms, {before.origin} and {after.origin}: there is nothing to compare"
        )
    if before.size > after.size:
        raise CompareError(
            f"the first bundle holds {before.size} entries and the second {after.size}: give the earlier one first. If "
            "the second was taken later, the log has lost entries: keep both files"
        )
    common = (before.origin, (before.size, after.size), (before.root.hex(), after.root.hex()))
    found = Comparison(*common, continues=None)
    try:
        _hold_tree("earlier", earlier, before)
        _hold_tree("later", later, after)
        tree = later.tree(after.size)
        found.continues = tree.root(before.size) == before.root
        if not found.continues:
            found.forked_at = _first_difference(earlier.tree(before.size), tree)
            return found
        _look_at_entries(found, later, tree)
        found.openings_gone = list(_openings_gone(earlier, later))
        both = [name for name in earlier.zip.names if name in later.zip]
        found.files_changed = [name for name in both if _differ(earlier, later, name)]
    except (BundleError, evidence_zip.EvidenceZipError) as error:
        return Comparison(*common, continues=None, fault=str(error))
    except OSError:
        raise
    except Exception as error:  # crafted files find what nobody thought of; of what cannot be judged nothing is told
        said = f"something in one of the two cannot be judged ({type(error).__name__}: {str(error)[:200]})"
        return Comparison(*common, continues=None, fault=said)
    return found


def _hold_tree(which: str, contents: Contents, said: checkpoint.Checkpoint) -> None:
    if contents.hashes(said.size) != said.root:
        raise BundleError(f"the hashes in the {which} bundle do not give the root that it names")


def _checkpoint(contents: Contents) -> checkpoint.Checkpoint:
    """What the bundle's checkpoint says, whoever signed it."""
    try:
        text, _ = note.parse_note(contents.text(CHECKPOINT))
        said = checkpoint.parse(text)
    except (note.NoteError, checkpoint.CheckpointError) as error:
        raise BundleError(f"{CHECKPOINT}: {error}") from error
    if not said.size:
        raise BundleError("the log is empty")
    return said


def _first_difference(earlier: tiles.HashReader, later: tiles.HashReader) -> int:
    """The first leaf that is another one in the later tree, which does not begin with the earlier one.

    A prefix of the two has the same root exactly when all its leaves are the same, so halving finds it.
    """
    low, high = 0, earlier.size - 1
    while low < high:
        middle = (low + high) // 2
        if earlier.root(middle + 1) == later.root(middle + 1):
            low = middle + 1
        else:
            high = middle
    return low


def _look_at_entries(found: Comparison, later: Contents, tree: tiles.HashReader) -> None:
    first, size = found.sizes
    shown = 0
    for index, raw in later.entries(size, first):
        shown += 1
        if merkle.leaf_hash(raw) != tree.node(0, index):
            raise BundleError(f"entry {index} is not the one in the tree")
        try:
            entry = entries.parse(dsse.open_envelope(raw).payload)
        except ValueError as error:
            raise BundleError(f"entry {index}: {error}") from error
        kind = entry["kind"]
        found.added[kind] = found.added.get(kind, 0) + 1
        if kind in AUTHORITY:
            found.authority.append(Change(index, entry["time"], kind, entry["subject"]))
    found.left_out = size - first - shown


def _openings_gone(earlier: Contents, later: Contents) -> Iterator[Gone]:
    """What the earlier bundle opens and the later does not: both lists are in the order of the log."""
    rest = _openings(later)
    now = next(rest, None)
    for line in _openings(earlier):
        if line["state"] != HELD:
            continue
        place = (line["index"], line["where"])
        while now is not None and (now["index"], now["where"]) < place:
            now = next(rest, None)
        same = now is not None and now["commitment"] == line["commitment"]
        state = str(now["state"]) if same and now is not None else "left out"
        if state != HELD:
            yield Gone(line["index"], line["where"], line["commitment"], state)


def _openings(contents: Contents) -> Iterator[dict[str, Any]]:
    if _OPENINGS not in contents.zip:
        return
    for raw in contents.lines(_OPENINGS, _MOST_LINE):
        try:
            line = canonical.loads(raw)
            fields = {name: line[name] for name in ("index", "where", "commitment", "state")}
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{_OPENINGS} has a line that is no opening: {error}") from error
        if type(fields["index"]) is not int or not all(type(fields[name]) is str for name in list(fields)[1:]):
            raise BundleError(f"{_OPENINGS} has a line that is no opening")
        yield fields


def _differ(earlier: Contents, later: Contents, name: str) -> bool:
    if earlier.zip.size(name) != later.zip.size(name):
        return True
    return earlier.zip.sha256(name) != later.zip.sha256(name)
