"""Build an evidence bundle: stage the files, list them, sign the list, zip them.

Invariant: the same log up to the same checkpoint, with the same openings and the same selection, gives the same bytes.
Memory stays constant but for the list of files, the list of keys and, in a selective one, the ids that were chosen.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit import keyring
from audit.evidence import contents, readme, report, running, sections, verifier
from audit.evidence.source import Source
from audit.evidence.staging import Staging
from audit.models import Checkpoint
from imprimatur import durable
from imprimatur.formats import canonical, digests, dsse, evidence_zip

MANIFEST, STATEMENT = "MANIFEST.sha256", "MANIFEST.dsse.json"
SELECTION = "SELECTION.json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "urn:imprimatur:evidence:v1"

Progress = Callable[[str, int, int], object]
"""Called with what is being done, how many steps are done, and how many there are."""


@dataclass(frozen=True)
class Built:
    """A finished bundle. ``manifest`` is the digest of MANIFEST.sha256; ``size`` the number of entries covered, and
    ``shown`` how many of them are in it."""

    path: Path
    size: int
    shown: int
    manifest: str
    bytes: int


def build(
    path: Path,
    checkpoint: Checkpoint | None = None,
    progress: Progress = lambda doing, done, of: None,
    filters: Mapping[str, Any] | None = None,
) -> Built:
    """Write the bundle of everything up to this checkpoint (the newest by default), or of what ``filters`` choose, to
    ``path``, whole or not at all.

    Raises NotPublished before the first checkpoint, ShapeError for filters that are none, EvidenceZipError when it
    would pass what a zip can hold, and OSError when the disk is full.
    """
    steps = _Steps(progress)
    source = Source(checkpoint, filters, steps.at_entry)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=_prefix(path)) as folder:
        staging = Staging(Path(folder) / "files")
        _fill(source, staging, steps)
        steps.begin("the list of files")
        manifest = _manifest(source, staging)
        steps.begin("the zip")
        size = _zip(staging, path, steps)
    return Built(path, source.size, source.shown, manifest, size)


class _Steps:
    """Says what is being done, and how far that is. The steps are few; each goes over the log or over the files."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done, self._of, self._what = -1, 0, ""
        self.size = 0

    def plan(self, count: int, size: int) -> None:
        """So many steps there will be, over so many entries."""
        self._of, self.size = count, size

    def begin(self, what: str) -> None:
        """The next step."""
        self._what = what
        self._done += 1
        self._progress(what, self._done, self._of)

    def at(self, count: int, of: int, things: str) -> None:
        """So far is the present step."""
        self._progress(f"{self._what}: {count:,} of {of:,} {things}", self._done, self._of)

    def at_entry(self, index: int) -> None:
        """So far is the present step in the log."""
        self.at(index, self.size, "entries")


def clear_away(path: Path) -> None:
    """Remove what a process that was killed left of the bundle at ``path``. Only while nobody builds it."""
    for left in path.parent.glob(f"{_prefix(path)}*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _prefix(path: Path) -> str:
    return f".bundle-{path.stem}-"


def _fill(source: Source, staging: Staging, steps: _Steps) -> None:
    own: list[tuple[str, Callable[[Source, Staging], None]]] = [
        ("the log", contents.add_log),
        ("the keys", contents.add_trust),
        ("the delegations", contents.add_delegations),
        ("the votes", contents.add_votes),
        ("the openings", contents.add_openings),
        ("the views", contents.add_views),
        ("the report", report.add),
    ]
    others = sections.registered()
    steps.plan(len(own) + len(others) + (3 if source.whole else 4), source.size)
    if not source.whole:
        steps.begin("the choice of requests")
        assert source.chosen is not None
    for what, add in own:
        steps.begin(what)
        add(source, staging)
    for name, (_, fill) in others.items():
        steps.begin(name)
        fill(sections.Section(name, source, staging))
    said = {"filters": source.filters, "size": source.size, "shown": source.shown}
    staging.add(SELECTION, canonical.dumps(said))
    steps.begin("the statements and controls")
    running.add(source, staging, steps.at_entry)
    about = {**{name: words for name, (words, _) in others.items()}, **running.ABOUT}
    staging.add("README.txt", readme.text(source, about, _newest_signed(staging), _newest_launch(staging)))
    staging.add("verify.pyz", verifier.build())


def _newest_signed(staging: Staging) -> dict[str, Any] | None:
    """The newest delegation signed with a person's SSH key that was not dead by then: the README's example."""
    ended = {line["id"]: line["to"] for line in _lines(staging, "trust/keys.jsonl") if "to" in line}
    newest = None
    for line in _lines(staging, "delegations/index.jsonl"):
        signature = line.get("signature", {})
        if signature.get("kind") == "ssh" and line["time"] < ended.get(signature["key"], "9"):
            newest = line
    return newest


def _newest_launch(staging: Staging) -> dict[str, Any] | None:
    """The newest launch with a layer of which the log says who signed it: another example."""
    newest = None
    for line in _lines(staging, "launches/index.jsonl"):
        if any("person" in layer for layer in line.get("layers", [])):
            newest = line
    return newest


def _lines(staging: Staging, name: str) -> Iterator[dict[str, Any]]:
    with staging.path(name).open("rb") as stream:
        for line in stream:
            yield canonical.loads(line.rstrip(b"\n"))


def _manifest(source: Source, staging: Staging) -> str:
    """Write the list of files for sha256sum, and the same as a signed in-toto Statement. Returns its digest."""
    listing = "".join(f"{staging.measured(name).sha256.hex()}  {name}\n" for name in staging.names()).encode("ascii")
    staging.add(MANIFEST, listing)
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": staging.measured(name).sha256.hex()}} for name in staging.names()
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "realm": source.realm,
            "size": source.size,
            "root": f"sha256:{source.checkpoint.root}",
            "filters": source.filters,
            "shown": source.shown,
        },
    }
    key = keyring.decision_signer(source.size)
    staging.add(STATEMENT, dsse.seal(canonical.dumps(statement), key.sign, key.keyid, STATEMENT_TYPE))
    return digests.sha256(listing)


def _zip(staging: Staging, path: Path, steps: _Steps) -> int:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=".zip")
    try:
        with os.fdopen(handle, "wb") as stream:
            writer = evidence_zip.Writer(stream)
            names = staging.names()
            for done, name in enumerate(names):
                steps.at(done, len(names), "files")
                known = staging.measured(name)
                writer.add(name, staging.path(name), (known.crc, known.size))
            writer.close()
            stream.flush()
            os.fsync(stream.fileno())
            size = stream.tell()
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    durable.sync_folder(path.parent)
    return size
