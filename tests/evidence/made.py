"""Bundles with everything that is derived about what runs, made from the formats alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from imprimatur.formats import merkle
from imprimatur.verify import assessment, oscal
from imprimatur.verify.assessment import Known
from imprimatur.verify.derived import Derived
from imprimatur.verify.grant_history import GrantHistory
from imprimatur.verify.history import History
from tests.verify import builder
from tests.verify.builder import SYSTEM, Log
from tests.verify.test_escalation import PROVENANCE
from tests.verify.test_services import running, seen_drifting, started

Files = dict[str, bytes]
GOT_THROUGH = {"out-of-scope": (200, "")}
FOR_ANOTHER_REASON = {"out-of-scope": (403, "paused")}


class Kept:
    """Takes what rooms write."""

    def __init__(self) -> None:
        self.files: Files = {}

    def begin(self, name: str) -> None:
        self.files.setdefault(name, b"")

    def line(self, name: str, content: bytes, index: int) -> None:
        self.begin(name)
        self.files[name] += content + b"\n"

    def file(self, name: str, content: bytes, index: int) -> None:
        assert name not in self.files
        self.files[name] = content


def known_of(log: Log, indexes: Iterable[int] | None = None) -> tuple[Known, Derived, Files]:
    """What is known of a log, or of these entries of it, with the files of the rooms."""
    shown = set(range(len(log.envelopes)) if indexes is None else indexes)
    kept, history, grants = Kept(), History(log.realm), GrantHistory(whole=indexes is None)
    derived = Derived(kept)
    for index, raw in enumerate(log.envelopes):
        if index not in shown:
            history.skip(merkle.leaf_hash(raw))
            continue
        history.feed(index, raw)
        grants.entry(log.entries[index], raw)
        derived.entry(log.entries[index], raw)
    derived.finish()
    leaves = [merkle.leaf_hash(raw) for raw in log.envelopes]
    known = Known(
        history.facts,
        grants,
        derived.marks,
        len(leaves),
        merkle.root_of(leaves),
        indexes is None,
        lambda size: merkle.root_of(leaves[:size]),
    )
    return known, derived, kept.files


def assessed(log: Log, indexes: Iterable[int] | None = None) -> dict[str, Any]:
    """The document `claims.json` of a log."""
    return assessment.assess(known_of(log, indexes)[0])


def verdicts(log: Log) -> dict[str, str]:
    """The verdict of each statement."""
    return {each["name"]: each["verdict"] for each in assessed(log)["statements"]}


def statement(log: Log, name: str) -> dict[str, Any]:
    """One statement."""
    found: dict[str, Any] = next(each for each in assessed(log)["statements"] if each["name"] == name)
    return found


def bundle_of(log: Log, **some: Any) -> Files:
    """All files of a bundle but the two lists: see `builder.finished`."""
    files = builder.bundle_files(log, **some)
    known, derived, rooms = known_of(log, some.get("shown"))
    claims = assessment.assess(known)
    files |= rooms
    files |= {assessment.FILE: assessment.encode(claims), "CLAIMS.html": b"<!doctype html>\n"}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    written = oscal.documents(claims, derived.periods, hashes)
    return files | {f"oscal/{name}": content for name, content in written.items()}


def shipped(log: Log, sink: str = "copy", root: str = "") -> int:
    """The server read everything back from another system."""
    size = len(log.envelopes)
    body = {"sink": sink, "size": size, "root": root or f"sha256:{bytes.fromhex(log_root(log)).hex()}"}
    return log.add("log.shipped", sink, SYSTEM, body)


def log_root(log: Log) -> str:
    """The root in hex."""
    return merkle.root_of([merkle.leaf_hash(raw) for raw in log.envelopes]).hex()


def good() -> Log:
    """Every statement is shown."""
    log = running()
    ask = log.ask(log.root(), "make_payment", {"amount": "5.00", "payee": "ACME"}, risk="HIGH", cost="5.00")
    log.request(ask)
    log.allow(ask, (log.vote(ask),))
    log.refuse_launch("grants-changed", delegations=[])
    launch = log.launch()
    for _ in range(3):
        log.observe(launch)
    for _ in range(3):
        log.canaries()
    log.add("server.started", log.realm, SYSTEM, started(provenance=PROVENANCE))
    shipped(log)
    return log


def eventful() -> Log:
    """Two months: launches, drift, something that nobody launched, canaries green, red and without their control."""
    log = good()
    log.now += timedelta(days=40)  # by then what was delegated is over
    launch = log.launch(delegations=[])
    seen_drifting(log, launch)
    log.observe("lau_" + "0" * 26, matched=False)
    log.canaries()
    log.canaries(answers=GOT_THROUGH)
    log.canaries(answers={"positive-control": (503, "log-behind")})
    log.canaries(answers=FOR_ANOTHER_REASON)
    log.launch(delegations=[])
    log.end_launch(launch)
    shipped(log)
    return log
