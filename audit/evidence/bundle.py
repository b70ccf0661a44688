"""Build an evidence bundle: stage the files, list them, sign the list, zip them.

Invariant: the same log up to the same checkpoint, with the same openings, gives the same bytes. Memory stays constant
but for the list of files and the commitments seen.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit import signer, storage
from audit.evidence import contents, readme, sections, verifier
from audit.evidence.source import Source
from audit.evidence.staging import Staging
from audit.models import Checkpoint
from imprimatur.formats import canonical, digests, dsse, evidence_zip

MANIFEST, STATEMENT = "MANIFEST.sha256", "MANIFEST.dsse.json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "urn:imprimatur:evidence:v1"

Progress = Callable[[str, int, int], object]
"""Called with what is being done, how many steps are done, and how many there are."""


@dataclass(frozen=True)
class Built:
    """A finished bundle. ``manifest`` is the digest of MANIFEST.sha256; ``size`` the number of entries covered."""

    path: Path
    size: int
    manifest: str
    bytes: int


def build(path: Path, checkpoint: Checkpoint | None = None, progress: Progress = lambda doing, done, of: None) -> Built:
    """Write the bundle of everything up to this checkpoint (the newest by default) to ``path``, whole or not at all.

    Raises NotPublished before the first checkpoint, EvidenceZipError when it would pass what a zip can hold, and
    OSError when the disk is full.
    """
    source = Source(checkpoint)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=_prefix(path)) as folder:
        staging = Staging(Path(folder) / "files")
        _fill(source, staging, progress)
        manifest = _manifest(source, staging)
        size = _zip(staging, path)
    return Built(path, source.size, manifest, size)


def clear_away(path: Path) -> None:
    """Remove what a process that was killed left of the bundle at ``path``. Only while nobody builds it."""
    for left in path.parent.glob(f"{_prefix(path)}*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _prefix(path: Path) -> str:
    return f".bundle-{path.stem}-"


def _fill(source: Source, staging: Staging, progress: Progress) -> None:
    own: list[tuple[str, Callable[[Source, Staging], None]]] = [
        ("the log", contents.add_log),
        ("the keys", contents.add_trust),
        ("the delegations", contents.add_delegations),
        ("the votes", contents.add_votes),
        ("the openings", contents.add_openings),
        ("the views", contents.add_views),
    ]
    others = sections.registered()
    steps = len(own) + len(others) + 1
    for done, (what, add) in enumerate(own):
        progress(what, done, steps)
        add(source, staging)
    for done, (name, (_, fill)) in enumerate(others.items(), start=len(own)):
        progress(name, done, steps)
        fill(sections.Section(name, source, staging))
    progress("the zip", steps - 1, steps)
    about = {name: words for name, (words, _) in others.items()}
    staging.add("README.txt", readme.text(source, about, _newest_signed(staging)))
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


def _lines(staging: Staging, name: str) -> Iterator[dict[str, Any]]:
    with staging.path(name).open("rb") as stream:
        for line in stream:
            yield canonical.loads(line.rstrip(b"\n"))


def _manifest(source: Source, staging: Staging) -> str:
    """Write the list of files for sha256sum, and the same as a signed in-toto Statement. Returns its digest."""
    hashes = {name: staging.sha256(name) for name in staging.names()}
    listing = "".join(f"{digest}  {name}\n" for name, digest in hashes.items()).encode("ascii")
    staging.add(MANIFEST, listing)
    hashes[MANIFEST] = staging.sha256(MANIFEST)
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": hashes[name]}} for name in sorted(hashes)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"realm": source.realm, "size": source.size, "root": f"sha256:{source.checkpoint.root}"},
    }
    key = signer.decision_key()
    staging.add(STATEMENT, dsse.seal(canonical.dumps(statement), key.sign, key.keyid, STATEMENT_TYPE))
    return digests.sha256(listing)


def _zip(staging: Staging, path: Path) -> int:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=".zip")
    try:
        with os.fdopen(handle, "wb") as stream:
            writer = evidence_zip.Writer(stream)
            for name in staging.names():
                writer.add(name, staging.path(name))
            writer.close()
            stream.flush()
            os.fsync(stream.fileno())
            size = stream.tell()
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    storage.sync_folder(path.parent)
    return size
