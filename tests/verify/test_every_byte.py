"""DESIGN 15.7: every change of a single byte of a bundle is refused, whatever else the one who changed it can repair.

Three attackers: one who changes a byte of the file; one who repairs all that nobody signed (checksums, headers, the
list of files); and one who has the decision key as well and signs the list anew, so that only the log, the people's
signatures and the anchors stand in the way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imprimatur.formats import canonical, evidence_zip, trust
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import INVALID
from tests.verify import builder
from tests.verify.builder import Log

Files = dict[str, bytes]
MASKS = (0x01, 0x20, 0x80, 0xFF)
EXHAUSTIVE = ("MANIFEST.sha256", "MANIFEST.dsse.json", "SELECTION.json", "log/checkpoint", "trust/log.vkey")
FOR_READING = ("README.txt", "REPORT.html", "verify.pyz", "trust/keys.jsonl", "trust/policy.tlog")
STEP = 23


@pytest.fixture(scope="module")
def log() -> Log:
    """A small log with a vote by key and an agent's signed request."""
    log, root = builder.standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask)
    log.allow(ask, (log.vote(ask),))
    log.redeem(ask)
    log.allow(log.ask(root))
    return log


@pytest.fixture(params=["whole", "selective"])
def files(request: pytest.FixtureRequest, log: Log) -> Files:
    more: dict[str, Any] = {}
    if request.param == "selective":
        one = next(entry["subject"] for entry in log.entries if entry["kind"] == "action.requested")
        more = {"filters": {"requests": [one]}, "shown": builder.chosen(log, one)}
    return builder.finished(builder.bundle_files(log, **more), log)


@pytest.fixture
def anchored(log: Log) -> trust.Trust:
    return trust.parse(canonical.dumps(builder.trust_document(log)))


def contents_of(raw: bytes) -> dict[str, range]:
    """Where each file's bytes lie in a zip of this profile."""
    found, at = {}, 0
    while raw[at : at + 4] == b"PK\3\4":
        size, name_size, extra = struct.unpack_from("<I4xHH", raw, at + 18)
        start = at + 30 + name_size + extra
        found[raw[at + 30 : at + 30 + name_size].decode()] = range(start, start + size)
        at = start + size
    return found


def places(raw: bytes) -> Iterator[int]:
    """Every byte of headers, directory, lists and anchors; of the other contents one in so many, first and last."""
    inside: set[int] = set()
    for name, where in contents_of(raw).items():
        inside.update(where)
        yield from where if name in EXHAUSTIVE else sorted({*where[::STEP], *where[-1:]})
    yield from (at for at in range(len(raw)) if at not in inside)


def test_invariant_7_every_single_byte_change_of_a_bundle_is_refused(
    tmp_path: Path, files: Files, anchored: trust.Trust
) -> None:
    raw, path = builder.zipped(files), tmp_path / "bundle.zip"
    path.write_bytes(raw)
    assert verify_bundle(path, anchored).verdict != INVALID
    tried, accepted = 0, []
    with path.open("r+b", buffering=0) as stream:

        def put(at: int, value: int) -> None:
            stream.seek(at)
            stream.write(bytes([value]))

        for at in places(raw):
            tried += 1
            put(at, raw[at] ^ MASKS[tried % len(MASKS)])
            if verify_bundle(path, anchored).verdict != INVALID:
                accepted.append(at)
            put(at, raw[at])
    assert accepted == []
    assert tried > 10_000
    assert path.read_bytes() == raw


def test_invariant_7_a_changed_byte_is_refused_when_all_that_nobody_signed_is_repaired(
    tmp_path: Path, files: Files, log: Log, anchored: trust.Trust
) -> None:
    path = tmp_path / "bundle.zip"
    for turn, (name, content) in enumerate(files.items()):
        for at in {0, len(content) // 2, len(content) - 1}:
            changed = bytearray(content)
            changed[at] ^= MASKS[turn % len(MASKS)]
            forged = {**files, name: bytes(changed)}
            if name not in ("MANIFEST.sha256", "MANIFEST.dsse.json"):
                again = builder.finished({one: forged[one] for one in forged if not one.startswith("MANIFEST")}, log)
                forged["MANIFEST.sha256"] = again["MANIFEST.sha256"]
            path.write_bytes(builder.zipped(forged))
            assert verify_bundle(path, anchored).verdict == INVALID, (name, at)


def test_invariant_7_a_changed_byte_is_refused_though_the_decision_key_signed_it(
    tmp_path: Path, files: Files, log: Log, anchored: trust.Trust
) -> None:
    path = tmp_path / "bundle.zip"
    bare = {name: raw for name, raw in files.items() if not name.startswith("MANIFEST") and name not in FOR_READING}
    turn = 0
    for name, content in bare.items():
        if name.startswith("views/"):
            continue  # its sentences are for reading; the rest of it is held against the entries in test_bundle
        for at in {0, len(content) // 3, len(content) - 1}:
            turn += 1
            changed = bytearray(content)
            changed[at] ^= MASKS[turn % len(MASKS)]
            path.write_bytes(builder.zipped(builder.finished({**bare, name: bytes(changed)}, log)))
            assert verify_bundle(path, anchored).verdict == INVALID, (name, at)


def test_invariant_7_bytes_before_after_and_between_are_refused(
    tmp_path: Path, files: Files, anchored: trust.Trust
) -> None:
    raw, path = builder.zipped(files), tmp_path / "bundle.zip"
    middle = raw.index(b"PK\1\2")
    odd = [b"x" + raw, raw + b"x", raw[:middle] + b"x" + raw[middle:], raw[:-1], raw[: len(raw) // 2], b""]
    odd += [raw + raw, raw[1:], raw[:middle] + raw[middle + 1 :]]
    for content in odd:
        path.write_bytes(content)
        assert verify_bundle(path, anchored).verdict == INVALID


def test_invariant_7_every_bit_of_a_small_zip_counts(tmp_path: Path) -> None:
    path = tmp_path / "small.zip"
    raw = builder.zipped({"README.txt": b"hello", "log/checkpoint": b"note", "log/tile/0/x001/000.p/3": b"hash"})
    for position in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[position] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(evidence_zip.EvidenceZipError), evidence_zip.Reader(path) as reader:
                reader.check_contents()
