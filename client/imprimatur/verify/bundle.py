"""Verifies an evidence bundle offline: the zip, the list of files, the tree, every entry, every signature, every rule.

What is believed from the start comes from `trust.json` and nowhere else. A claim whose anchor is missing is *cannot
tell*, never valid. The layout is the one that `audit/evidence` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from imprimatur.formats import (
    canonical,
    delegation,
    dsse,
    evidence_zip,
    merkle,
    note,
    sshsig,
    statement,
    tiles,
    tlog_proof,
)
from imprimatur.formats.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from imprimatur.formats.trust import PersonKey, Trust
from imprimatur.verify import copies
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, Claim, Report
from imprimatur.verify.disclosed import ERASED, HELD, NEVER, Disclosed
from imprimatur.verify.history import BrokenRule, History

MANIFEST, STATEMENT = "MANIFEST.sha256", "MANIFEST.dsse.json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "urn:imprimatur:evidence:v1"
CHECKPOINT = "log/checkpoint"
LOOSE = frozenset({MANIFEST, STATEMENT, "README.txt", "verify.pyz"})
ROOMS = frozenset({"trust", "log", "delegations", "votes", "openings", "views"})

_SMALL = 1_000_000
_LARGEST_LIST = 64_000_000


class BundleError(ValueError):
    """Something in the bundle is not as it must be. The message says what."""


def verify_bundle(path: Path | str, trust: Trust | None = None) -> Report:
    """Verify a bundle against trust anchors (none: everything that rests on them is *cannot tell*).

    Never raises for what is in the file: that is what the report is for. Raises OSError when it cannot be read.
    """
    report = Report()
    try:
        reader = evidence_zip.Reader(path)
    except evidence_zip.EvidenceZipError as error:
        report.claims.append(Claim("zip", INVALID, str(error)))
        return report
    with reader:
        try:
            _Verification(reader, trust, report).run()
        except OSError:
            raise
        except Exception as error:  # crafted files find what nobody thought of; what cannot be judged is not valid
            said = f"something in it cannot be judged ({type(error).__name__}: {str(error)[:200]})"
            report.claims.append(Claim("files", INVALID, said))
    return report


class _Verification:
    def __init__(self, reader: evidence_zip.Reader, trust: Trust | None, report: Report) -> None:
        self.zip = reader
        self.trust = trust
        self.report = report
        self.history = History(trust.realm if trust else None, trust.decision_keys(0) if trust else ())
        self.checkpoint: Checkpoint | None = None
        self.hashes: dict[str, str] = {}
        self.seen: set[tuple[int, str, int]] = set()
        self.people_fault = ""
        self.signed_by_people = 0
        self.roots_issued = 0
        self.passed_on = 0
        self.clicks = 0
        self.enforcement: dict[str, int] = {}
        self.policies: list[str] = []

    def run(self) -> None:
        if not self.attempt("zip", self.check_zip) or not self.attempt("files", self.check_files):
            return
        self.attempt("checkpoint", self.check_checkpoint)
        if self.checkpoint is None:
            return
        if not self.attempt("tree", self.check_tree):
            return
        self.attempt("earlier checkpoints", self.check_earlier)
        self.check_witnesses()
        self.walk()
        self.attempt("manifest", self.check_manifest)
        self.write_limits()

    def attempt(self, name: str, check: Callable[[], Claim]) -> bool:
        try:
            claim = check()
        except (BundleError, evidence_zip.EvidenceZipError) as error:
            claim = Claim(name, INVALID, str(error))
        self.report.claims.append(claim)
        return claim.verdict != INVALID

    def say(
        self, name: str, fault: str, detail: str, *, anchored: bool = True, weighs: bool = True, **evidence: Any
    ) -> None:
        """Add a claim: invalid with its fault, else valid, or cannot tell when its anchor is missing."""
        verdict = INVALID if fault else VALID if anchored else CANNOT_TELL
        self.report.claims.append(Claim(name, verdict, fault or detail, evidence, weighs))

    # --- files ------------------------------------------------------------------------------------------------------

    def check_zip(self) -> Claim:
        self.hashes = self.zip.check_contents()
        return Claim("zip", VALID, f"{len(self.hashes)} files in the one exact form a bundle has")

    def check_files(self) -> Claim:
        for name in (MANIFEST, STATEMENT, CHECKPOINT, "openings/openings.jsonl"):
            if name not in self.zip:
                raise BundleError(f"the file {name} is missing")
        for name in self.zip.names:
            if name not in LOOSE and "/" not in name:
                raise BundleError(f"the file {name} does not belong into a bundle")
        folded: dict[str, str] = {}
        for name in self.zip.names:
            places = [place for place, character in enumerate(name) if character == "/"]
            for part in (name, *(name[:place] for place in places)):
                # Where upper case or a last dot does not count, one of the two would hide the other when unpacked.
                same = "/".join(segment.rstrip(".").lower() for segment in part.split("/"))
                if folded.setdefault(same, part) != part:
                    raise BundleError(f"{name} and {folded[same]} have the same name on some systems")
        listing = "".join(
            f"{digest}  {name}\n" for name, digest in self.hashes.items() if name not in (MANIFEST, STATEMENT)
        )
        if self.zip.read(MANIFEST, _LARGEST_LIST) != listing.encode("ascii"):
            raise BundleError("MANIFEST.sha256 is not the list of the files in the bundle")
        return Claim("files", VALID, f"{MANIFEST} lists every file with its SHA-256")

    def check_manifest(self) -> Claim:
        """The in-toto Statement is exactly the one over these files, and the decision key signed it."""
        try:
            envelope = dsse.open_envelope(self.zip.read(STATEMENT, _LARGEST_LIST))
        except dsse.DsseError as error:
            raise BundleError(f"{STATEMENT}: {error}") from error
        assert self.checkpoint is not None
        hashes = {name: digest for name, digest in self.hashes.items() if name != STATEMENT}
        wanted = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in hashes.items()],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "realm": self.checkpoint.origin,
                "size": self.checkpoint.size,
                "root": f"sha256:{self.checkpoint.root.hex()}",
            },
        }
        if envelope.payload_type != STATEMENT_TYPE or envelope.payload != canonical.dumps(wanted):
            raise BundleError(f"{STATEMENT} is not the statement over these files")
        if not self.history.decision_key:
            return Claim("manifest", CANNOT_TELL, "the log does not say which key decides")
        if not dsse.verify(envelope, self.history.decision_key):
            raise BundleError(f"{STATEMENT} is not signed with the decision key of the log")
        if not self.anchored_decision:
            return Claim("manifest", CANNOT_TELL, "signed with the bundle's own decision key, which trust.json lacks")
        return Claim("manifest", VALID, "the decision key that you trust signed the list of files")

    # --- the tree ---------------------------------------------------------------------------------------------------

    @property
    def anchored_decision(self) -> bool:
        """Whether trust.json names the decision key, for every entry there is."""
        if self.trust is None or self.trust.decision is None or not self.history.size:
            return False
        return any(
            known.public_key == self.history.decision_key and known.covers(0) and known.covers(self.history.size - 1)
            for known in self.trust.decision
        )

    def check_checkpoint(self) -> Claim:
        raw = self.text(CHECKPOINT)
        opened = self.open(raw)
        self.checkpoint = opened
        self.report.realm, self.report.size, self.report.root = opened.origin, opened.size, opened.root.hex()
        if opened.size == 0:
            raise BundleError("the log is empty")
        if self.trust is not None and self.trust.realm != opened.origin:
            raise BundleError(f"the log is of {opened.origin}, and you trust {self.trust.realm}")
        evidence = {"size": opened.size, "root": opened.root.hex()}
        if self.trust is None or self.trust.log is None:
            return Claim(
                "checkpoint", CANNOT_TELL, "trust.json names no log key to compare the signature with", evidence
            )
        return Claim("checkpoint", VALID, f"the log key that you trust signed {opened.size} entries", evidence)

    def open(self, raw: str) -> Checkpoint:
        """A signed checkpoint, under the pinned log keys, or (without any) under the bundle's own."""
        keys: tuple[note.Vkey, ...]
        if self.trust is not None and self.trust.log is not None:
            keys = self.trust.log
        else:
            try:
                keys = (note.Vkey.parse(self.text("trust/log.vkey").removesuffix("\n")),)
            except note.NoteError as error:
                raise BundleError(f"trust/log.vkey: {error}") from error
        try:
            found, _ = open_checkpoint(raw, keys)
        except (note.NoteError, CheckpointError) as error:
            raise BundleError(f"the checkpoint does not hold: {error}") from error
        return found

    def check_tree(self) -> Claim:
        """The files are exactly those of this size, and the tiles and the root are the hashes of the entries."""
        assert self.checkpoint is not None
        size = self.checkpoint.size
        rows: dict[int, list[bytes]] = {0: []}
        wanted = {CHECKPOINT}
        for index, width in tiles.bundles_for(0, size):
            path = f"log/{tiles.entries_path(index, width)}"
            wanted.add(path)
            found = self.entries_of(path)
            if len(found) != width:
                raise BundleError(f"{path} holds {len(found)} entries, not {width}")
            rows[0] += [merkle.leaf_hash(raw) for raw in found]
        level = 0
        while len(rows[level]) >= tiles.WIDTH:
            row = rows[level]
            rows[level + 1] = [
                merkle.root_of(row[start : start + tiles.WIDTH])
                for start in range(0, len(row) - tiles.WIDTH + 1, tiles.WIDTH)
            ]
            level += 1
        for level, index, width in tiles.tiles_for(0, size):
            path = f"log/{tiles.tile_path(level, index, width)}"
            wanted.add(path)
            start = index * tiles.WIDTH
            if self.need(path) != b"".join(rows[level][start : start + width]):
                raise BundleError(f"{path} does not hold the hashes of the entries")
        if merkle.root_of(rows[0]) != self.checkpoint.root:
            raise BundleError("the entries do not give the root that the log signed")
        self.leaves = rows[0]
        self.tree = tiles.HashReader(lambda path: self.need(f"log/{path}"), size)
        for name in self.zip.names:
            strange = name.startswith("log/") and name not in wanted
            if strange and not name.startswith(("log/checkpoints/", "log/proofs/")):
                raise BundleError(f"{name} is no part of a log of {size} entries")
        return Claim("tree", VALID, f"{size} entries, none left out, give the signed root")

    def check_earlier(self) -> Claim:
        """Earlier checkpoints and proof files belong to this same tree."""
        assert self.checkpoint is not None
        checkpoints = proofs = 0
        for name in self.zip.names:
            if name.startswith("log/checkpoints/"):
                earlier = self.open(self.text(name))
                if name != f"log/checkpoints/{earlier.size}" or earlier.origin != self.checkpoint.origin:
                    raise BundleError(f"{name} is another log's, or of another size")
                if earlier.size > self.checkpoint.size or self.tree.root(earlier.size) != earlier.root:
                    raise BundleError(f"{name} was signed for another history: the log forked")
                checkpoints += 1
            elif name.startswith("log/proofs/"):
                self.check_proof(name)
                proofs += 1
        detail = f"earlier checkpoints: {checkpoints}, proofs: {proofs}; all of this one history"
        anchored = self.trust is not None and self.trust.log is not None
        return Claim("earlier checkpoints", VALID if anchored else CANNOT_TELL, detail)

    def check_proof(self, name: str) -> None:
        assert self.checkpoint is not None
        try:
            proof = tlog_proof.parse(self.text(name))
        except tlog_proof.ProofError as error:
            raise BundleError(f"{name}: {error}") from error
        shown = proof.checkpoint == self.text(CHECKPOINT) and name == f"log/proofs/{proof.index}.tlog-proof"
        if not shown or proof.index >= len(self.leaves):
            raise BundleError(f"{name} is not the proof that its name says")
        leaf, root = self.leaves[proof.index], self.checkpoint.root
        if not merkle.verify_inclusion(leaf, proof.index, self.checkpoint.size, proof.hashes, root):
            raise BundleError(f"{name} does not prove its entry")
        if tlog_proof.encode(proof) != self.text(name) or proof.extra is not None:
            raise BundleError(f"{name} is not in its one exact form")

    def check_witnesses(self) -> None:
        witness = self.trust.witness if self.trust else None
        if witness is None:
            detail = "trust.json names no witness: that this log is the only one is not shown"
            self.report.claims.append(Claim("witnesses", CANNOT_TELL, detail, weighs=False))
            return
        assert self.trust is not None
        try:
            opened = note.open_note(self.text(CHECKPOINT), [*(self.trust.log or ()), *witness.keys])
        except note.NoteError as error:
            self.say("witnesses", str(error), "")
            return
        cosigned = len({key.public_key for key in opened.verified_by if key in witness.keys})
        fault = "" if cosigned >= witness.quorum else f"{cosigned} of {witness.quorum} witnesses cosigned"
        self.say("witnesses", fault, f"{cosigned} witnesses that you trust cosigned the checkpoint")

    # --- the entries ------------------------------------------------------------------------------------------------

    def walk(self) -> None:
        """Read every entry once: rules, openings, people's signatures, copies."""
        disclosed = Disclosed(self.lines("openings/openings.jsonl"))
        kept = copies.Copies(self.zip)
        fault = ""
        try:
            for index, raw in enumerate(self.envelopes()):
                entry = self.history.feed(index, raw)
                disclosed.entry(self.history.facts, entry)
                kept.entry(entry, raw)
                self.look(entry)
        except BrokenRule as error:
            fault = str(error)
        if not fault and self.trust is not None and self.trust.decision is not None and not self.anchored_decision:
            fault = "the decision key signed entries before the first or after the last that trust.json lets it sign"
        detail = f"all {self.history.size} entries follow the rules and are signed with the decision key"
        detail += "" if self.anchored_decision else ", which trust.json does not name"
        kinds = dict(sorted(self.history.facts.totals.kinds.items()))
        self.say("history", fault, detail, anchored=self.anchored_decision, kinds=kinds)
        if fault:
            return
        try:
            disclosed.finish()
        except evidence_zip.EvidenceZipError as error:
            disclosed.openings_fault = str(error)
        self.say_who_decided()
        self.say_what_is_disclosed(disclosed)
        self.attempt("copies", lambda: Claim("copies", VALID, kept.finish()))

    def look(self, entry: Mapping[str, Any]) -> None:
        """Collect what the claims about people, policies and votes need."""
        kind, body, actor = entry["kind"], entry["body"], entry["actor"]
        if kind == "delegation.issued":
            if "parent" in body["document"]:
                self.passed_on += 1
            else:
                self.roots_issued += 1
                self.pin(entry, body["signature"]["key"], body["document"]["issuer"], body)
        elif kind in ("vote.cast", "action.looked_over"):
            said = statement.parse(body["statement"].encode("utf-8"))
            self.seen.add((said["log_size"], said["log_root"], entry["index"]))
            if body["evidence"]["kind"] == "ssh":
                self.pin(entry, body["evidence"]["key"], actor["id"], None)
        elif kind == "policy.activated":
            self.policies.append(body["policy"])
        elif kind == "action.decided":
            level = body["enforcement"]
            self.enforcement[level] = self.enforcement.get(level, 0) + 1
        if actor["type"] == "person" and actor.get("assurance", "H0") == "H0":
            self.clicks += 1

    def pin(self, entry: Mapping[str, Any], fingerprint: str, person: str, issued: Mapping[str, Any] | None) -> None:
        """Hold a person's signature against the keys that trust.json pins, and verify it once more with that key."""
        self.signed_by_people += 1
        if self.people_fault or self.trust is None or self.trust.people is None:
            return
        fault = f"entry {entry['index']}: "
        key = _pinned(self.trust.people, person, fingerprint, entry["time"])
        if key is None:
            self.people_fault = f"{fault}{fingerprint} is not a key that you trust for {person} at that time"
            return
        if issued is not None:
            good = delegation.verify_ssh_signature(issued["document"], issued["signature"], key.line)
        else:
            body = entry["body"]
            raw = body["statement"].encode("utf-8")
            try:
                good = sshsig.verify(body["evidence"]["value"], raw, statement.SSH_NAMESPACE, key)
            except sshsig.SshSigError:
                good = False
        if not good:
            self.people_fault = f"{fault}the pinned key of {person} did not sign this"

    def say_who_decided(self) -> None:
        totals, facts = self.history.facts.totals, self.history.facts
        people = self.trust.people if self.trust else None
        detail = f"signatures by people: {self.signed_by_people}, each with a key that you trust for that person"
        if people is None:
            detail = f"signatures by people: {self.signed_by_people}, with keys that trust.json does not name"
        self.say("people", self.people_fault, detail, anchored=people is not None)
        anchored = people is not None and self.anchored_decision
        self.say(
            "grants",
            "",
            f"granted by people: {self.roots_issued}, each signed by an admin; passed on by agents: {self.passed_on}, "
            "each within its parent; made wider by an agent: 0, over all entries",
            anchored=anchored,
            from_people=self.roots_issued,
            passed_on_narrower=self.passed_on,
            widened_by_agents=0,
        )
        policy = self.trust.policy if self.trust else None
        strange = [digest for digest in self.policies if policy is not None and digest not in policy]
        fault = f"the policy {strange[0]} was in force and is not one that you trust" if strange else ""
        self.say("policy", fault, f"policies that were in force: {len(self.policies)}", anchored=policy is not None)
        levels = dict(sorted(totals.assurance.items()))
        told = ", ".join(f"{count} at {level}" for level, count in levels.items()) or "none"
        detail = f"actions approved by people: {totals.by_people}, each with the votes its stages need; "
        detail += f"votes for: {told}; votes against: {totals.denials}"
        if "H0" in levels:
            detail += ". H0 is a click that the operator vouches for, not a person's signature"
        if totals.single_human:
            detail += f". {totals.single_human} under single_human: one person may have answered alone"
        whole = anchored and "H0" not in levels and not totals.single_human
        # Who pins a policy that takes a click for an answer, or one person alone, has accepted that. The claim still
        # says that it cannot tell who it was; it does not make the whole bundle doubtful.
        accepted = anchored and policy is not None and not strange
        self.say(
            "votes",
            "",
            detail,
            anchored=whole,
            weighs=not accepted,
            assurance=levels,
            open_requests=len(facts.requests),
        )
        ahead = [
            index for size, root, index in sorted(self.seen, key=lambda item: item[2]) if not self.is_ours(size, root)
        ]
        fault = f"entry {ahead[0]}: the statement names a log that is not this one" if ahead else ""
        self.say(
            "statements", fault, f"statements of people: {len(self.seen)}, each naming an earlier head of this same log"
        )

    def is_ours(self, size: int, root: str) -> bool:
        """Whether this was the root of the log at that size."""
        if size > self.tree.size:
            return False
        own = self.tree.root(size) if size else merkle.EMPTY_ROOT
        return root == f"sha256:{own.hex()}"

    def say_what_is_disclosed(self, disclosed: Disclosed) -> None:
        states = disclosed.states
        detail = f"{states[HELD]} openings open their commitments; {states[ERASED]} erased, {states[NEVER]} never held"
        fault = disclosed.openings_fault
        held, erased, never = states[HELD], states[ERASED], states[NEVER]
        self.say("openings", fault, detail, held=held, erased=erased, never_held=never)
        whole = not disclosed.openings_fault
        detail = f"actions: {disclosed.derived}; effects, cost and size follow from the parameters by the registry"
        detail += f"; not disclosed: {disclosed.hidden}" if disclosed.hidden else ""
        self.say("effects", disclosed.effects_fault, detail, anchored=whole and not disclosed.hidden)
        detail = f"requests: {disclosed.shown}; what people were shown follows from the parameters"
        self.say("cards", disclosed.cards_fault, detail, anchored=whole and not disclosed.hidden)

    # --- limits -----------------------------------------------------------------------------------------------------

    def write_limits(self) -> None:
        """What this bundle does not prove, whatever the claims say."""
        totals, limits = self.history.facts.totals, self.report.limits
        if self.trust is None or self.trust.witness is None:
            limits.append("That this log is the only one: compare its checkpoint with what others hold.")
        levels = ", ".join(f"{count} at {level}" for level, count in sorted(self.enforcement.items())) or "none"
        limits.append(
            "What an agent did without asking. Decisions by what forces the agent to ask, from E0 (its own wrapper) to "
            f"E3 (the resource checks the receipt): {levels}."
        )
        limits.append("That reported outcomes and costs are true: an agent reports its own.")
        limits.append("That times are right: they are the server's clock, in an order that holds.")
        limits.append("That a policy's rules gave the risk they should: only its floors and stages are checked again.")
        limits.append("Who an account or a key belongs to in the world: that is what trust.json says.")
        if self.clicks:
            limits.append(
                f"That it was a person behind {self.clicks} entries made in a session (H0): the operator vouches."
            )
        if totals.by_console:
            limits.append(f"Who made {totals.by_console} changes of people, keys and agents at the operator's console.")
        sections = sorted({name.partition("/")[0] for name in self.zip.names if "/" in name} - ROOMS)
        if sections:
            limits.append(f"What the files in {', '.join(sections)} say: they are signed as they are, and no more.")
        limits.append("What views/ and README.txt say in words: read them, and rely on the entries.")

    # --- reading ----------------------------------------------------------------------------------------------------

    def need(self, name: str) -> bytes:
        """A tile or entry bundle, whose size is bounded by its kind."""
        if name not in self.zip:
            raise BundleError(f"the file {name} is missing")
        entries = name.startswith("log/tile/entries/")
        each = tiles.MAX_ENTRY_SIZE + 2 if entries else merkle.HASH_SIZE
        return self.zip.read(name, tiles.WIDTH * each)

    def text(self, name: str) -> str:
        if name not in self.zip:
            raise BundleError(f"the file {name} is missing")
        try:
            return self.zip.read(name, _SMALL).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(f"{name} is not text") from error

    def entries_of(self, path: str) -> list[bytes]:
        raw = self.need(path)
        try:
            found = tiles.bundle_decode(raw)
        except tiles.TileError as error:
            raise BundleError(f"{path}: {error}") from error
        if tiles.bundle_encode(found) != raw:
            raise BundleError(f"{path} is not in its one exact form")
        return found

    def envelopes(self) -> Iterator[bytes]:
        """The exact bytes of all entries, in order; `check_tree` has found every file that this reads."""
        assert self.checkpoint is not None
        for index, width in tiles.bundles_for(0, self.checkpoint.size):
            yield from self.entries_of(f"log/{tiles.entries_path(index, width)}")

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file, without their ends."""
        return copies.lines(self.zip, name)


def _pinned(keys: tuple[PersonKey, ...], person: str, fingerprint: str, time: str) -> sshsig.SshKey | None:
    for known in keys:
        if known.person != person or known.kind != "ssh":
            continue
        inside = (known.since is None or known.since <= time) and (known.until is None or time <= known.until)
        key = sshsig.parse_public_key(known.key)
        if inside and key.fingerprint == fingerprint:
            return key
    return None
