"""Verifies an evidence bundle offline: the zip, the list of files, the tree, every entry, every signature, every rule.

What is believed from the start comes from `trust.json` and nowhere else. A claim whose anchor is missing is *cannot
tell*, never valid. The layout is the one that `audit/evidence` writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from imprimatur.formats import (
    canonical,
    dsse,
    entries,
    evidence_zip,
    keyring,
    merkle,
    note,
    tiles,
    tlog_proof,
    webauthn,
)
from imprimatur.formats.checkpoint import Checkpoint, CheckpointError, open_checkpoint, signed_by_all
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.trust import Trust
from imprimatur.verify import copies, derived, escalation, grant_files, launches, signatures, standing
from imprimatur.verify.assessment import Known
from imprimatur.verify.chosen import Chosen
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, Claim, Report
from imprimatur.verify.contents import CHECKPOINT, SELECTED, SELECTION, BundleError, Contents
from imprimatur.verify.decisions import Decisions
from imprimatur.verify.disclosed import ERASED, HELD, NEVER, WITHHELD, Disclosed
from imprimatur.verify.grant_history import NOT_NARROWER, GrantHistory
from imprimatur.verify.heads import Heads
from imprimatur.verify.history import BrokenRule, History

MANIFEST, STATEMENT = "MANIFEST.sha256", "MANIFEST.dsse.json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "urn:imprimatur:evidence:v1"
LOOSE = frozenset({MANIFEST, STATEMENT, SELECTION, "README.txt", "REPORT.html", "verify.pyz"}) | derived.FILES
ROOMS = frozenset({"trust", "log", "delegations", "votes", "openings", "views", grant_files.FOLDER})

Progress = Callable[[str, int, int], None]
"""Told how far a verification is: what is being done, how much of it is done, and of how much (bytes, or entries)."""


def verify_bundle(path: Path | str, trust: Trust | None = None, progress: Progress | None = None) -> Report:
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
            _Verification(reader, trust, report, progress or (lambda what, done, total: None)).run()
        except OSError:
            raise
        except Exception as error:  # crafted files find what nobody thought of; what cannot be judged is not valid
            said = f"something in it cannot be judged ({type(error).__name__}: {str(error)[:200]})"
            report.claims.append(Claim("files", INVALID, said))
    return report


class _Verification:
    def __init__(self, reader: evidence_zip.Reader, trust: Trust | None, report: Report, progress: Progress) -> None:
        self.zip = reader
        self.contents = Contents(reader)
        self.progress = progress
        self.trust = trust
        self.report = report
        self.history = History(trust.realm if trust else None, trust.decision_keys(0) if trust else ())
        self.checkpoint: Checkpoint | None = None
        self.hashes: dict[str, str] = {}
        self.heads = Heads()
        self.uses: list[tuple[int, str, str, str, bool, bool]] = []
        self.people_fault = ""
        self.odd: dict[int, str] = {}
        self.origin_fault = ""
        self.heads_fault = ""
        self.ring = keyring.Keyring()
        self.decisions = Decisions(trust, self.ring)
        self.standings: dict[str, int] = {}
        self.unknown_roots = 0
        self.unknown_layers = 0
        self.why_unknown = ""
        self.roots_issued = 0
        self.passed_on = 0
        self.grants = GrantHistory()
        self.clicks = 0
        self.approved: dict[str, str] = {}
        self.disclosed_beyond: set[int] = set()
        self.unlogged = 0
        self.hidden_from_grant = 0
        self.policies: list[str] = []
        self.checked = ROOMS
        self.continues: dict[str, Any] | None = None

    def run(self) -> None:
        if not self.attempt("zip", self.check_zip) or not self.attempt("files", self.check_files):
            return
        self.attempt("checkpoint", self.check_checkpoint)
        if self.checkpoint is None:
            return
        if not self.attempt("tree", self.check_tree):
            return
        self.check_witnesses()
        self.walk()
        self.attempt("earlier checkpoints", self.check_earlier)
        self.attempt("manifest", self.check_manifest)
        self.write_limits()

    def attempt(self, name: str, check: Callable[[], Claim]) -> bool:
        try:
            claim = check()
        except (BundleError, evidence_zip.EvidenceZipError) as error:
            claim = Claim(name, INVALID, str(error))
        self.report.claims.append(claim)
        return claim.verdict != INVALID

    def say_over_all(
        self, name: str, fault: str, detail: str, *, anchored: bool = True, weighs: bool = True, **evidence: Any
    ) -> None:
        """Add a claim over all entries. Where some are left out it cannot tell, whatever the others say."""
        whole = self.contents.whole
        if not whole:
            detail += (
                f". This holds for the {self.chosen.shown} of {self.history.size} entries that are here; the others "
                "are said to be about other requests, which nothing in here can show"
            )
        self.say(name, fault, detail, anchored=anchored and whole, weighs=weighs or not whole, **evidence)

    def say(
        self, name: str, fault: str, detail: str, *, anchored: bool = True, weighs: bool = True, **evidence: Any
    ) -> None:
        """Add a claim: invalid with its fault, else valid, or cannot tell when its anchor is missing."""
        verdict = INVALID if fault else VALID if anchored else CANNOT_TELL
        self.report.claims.append(Claim(name, verdict, fault or detail, evidence, weighs))

    # --- files ------------------------------------------------------------------------------------------------------

    def check_zip(self) -> Claim:
        total = sum(map(self.zip.size, self.zip.names))
        done = 0
        for name in self.zip.names:
            self.hashes[name] = self.zip.sha256(name)
            done += self.zip.size(name)
            self.progress("files", done, total)
        return Claim("zip", VALID, f"{len(self.hashes)} files in the one exact form a bundle has")

    def check_files(self) -> Claim:
        for name in (MANIFEST, STATEMENT, SELECTION, CHECKPOINT, "openings/openings.jsonl"):
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
        if not self.lists_every_file():
            raise BundleError("MANIFEST.sha256 is not the list of the files in the bundle")
        self.report.filters = dict(self.contents.selection.filters)
        return Claim("files", VALID, f"{MANIFEST} lists every file with its SHA-256")

    def lists_every_file(self) -> bool:
        """Whether the list is the one over these files, in its one form."""
        listed = {name: digest for name, digest in self.hashes.items() if name not in (MANIFEST, STATEMENT)}
        if self.zip.size(MANIFEST) != sum(len(name) + len(digest) + 3 for name, digest in listed.items()):
            return False
        wanted = hashlib.sha256()
        for name, digest in listed.items():
            wanted.update(f"{digest}  {name}\n".encode("ascii"))
        return wanted.hexdigest() == self.hashes[MANIFEST]

    def check_manifest(self) -> Claim:
        """The in-toto Statement is exactly the one over these files, and the decision key signed it."""
        assert self.checkpoint is not None
        predicate = {
            "realm": self.checkpoint.origin,
            "size": self.checkpoint.size,
            "root": f"sha256:{self.checkpoint.root.hex()}",
            "filters": self.report.filters,
            "shown": self.contents.selection.shown,
        }
        hashes = {name: digest for name, digest in self.hashes.items() if name != STATEMENT}
        wanted = canonical.dumps(
            {
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in hashes.items()],
                "predicateType": PREDICATE_TYPE,
                "predicate": predicate,
            }
        )
        try:
            # No envelope over these bytes is longer: base64, and a few hundred bytes around it.
            envelope = dsse.open_envelope(self.zip.read(STATEMENT, len(wanted) * 4 // 3 + 1000))
        except dsse.DsseError as error:
            raise BundleError(f"{STATEMENT}: {error}") from error
        if envelope.payload_type != STATEMENT_TYPE or envelope.payload != wanted:
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
    def not_anchored(self) -> str:
        """Why the entries do not all rest on a decision key that trust.json names; empty when they do."""
        if self.trust is None or self.trust.decision is None:
            return "trust.json names no decision key"
        return self.ring.not_anchored(self.trust.decision, self.history.size)

    @property
    def anchored_decision(self) -> bool:
        """Whether every entry rests on a decision key that trust.json names, by itself or by the chain of keys."""
        return not self.not_anchored

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
                keys = tuple(map(note.Vkey.parse, self.text("trust/log.vkey").removesuffix("\n").split("\n")))
            except note.NoteError as error:
                raise BundleError(f"trust/log.vkey: {error}") from error
        try:
            found, _ = open_checkpoint(raw, keys)
        except (note.NoteError, CheckpointError) as error:
            advice = "; if the log has new keys, get its new trust.json from a person" if self.trust else ""
            raise BundleError(f"the checkpoint does not hold: {error}{advice}") from error
        return found

    def open_earlier(self, name: str) -> Checkpoint:
        """An earlier checkpoint, signed by every log key that was in use then, as the entries say.

        Whoever trusts the newest checkpoint trusts these keys, retired ones too: they are named in its own entries.
        """
        raw = self.text(name)
        try:
            claimed = Checkpoint.parse(raw.partition("\n\n")[0] + "\n")
            return signed_by_all(raw, self.ring.log_at(claimed.size))
        except (note.NoteError, CheckpointError) as error:
            raise BundleError(f"{name} does not hold: {error}") from error

    def not_all_signed(self) -> str:
        """Which log key in use did not sign the newest checkpoint, in words; empty when all did."""
        assert self.checkpoint is not None
        try:
            signed_by_all(self.text(CHECKPOINT), self.ring.log_at(self.checkpoint.size))
        except (note.NoteError, CheckpointError) as error:
            return str(error)
        return ""

    def check_tree(self) -> Claim:
        """The files are exactly those of this size; the hash tiles give the root, and the entries are their leaves."""
        assert self.checkpoint is not None
        size = self.checkpoint.size
        if -(-size // tiles.WIDTH) > len(self.hashes):  # before anything as large as the size it claims is made
            raise BundleError(f"the bundle has not all the tiles of a log of {size} entries")
        self.chosen = Chosen(self.contents.selection, size)
        wanted = {CHECKPOINT}
        wanted.update(f"log/{tiles.tile_path(*place)}" for place in tiles.tiles_for(0, size))
        if self.contents.whole:
            wanted.update(f"log/{tiles.entries_path(*place)}" for place in tiles.bundles_for(0, size))
        else:
            wanted.add(SELECTED)
        for name in sorted(wanted):
            if name not in self.zip:
                raise BundleError(f"the file {name} is missing")
        for name in self.zip.names:
            strange = name.startswith("log/") and name not in wanted
            if strange and not name.startswith(("log/checkpoints/", "log/proofs/")):
                raise BundleError(f"{name} is no part of a log of {size} entries")
        if self.contents.hashes(size) != self.checkpoint.root:
            raise BundleError("the hashes of the entries do not give the root that the log signed")
        self.tree = self.contents.tree(size)
        shown = 0
        for index, raw in self.contents.entries(size):
            if merkle.leaf_hash(raw) != self.tree.node(0, index):
                raise BundleError(_not_in_tree(index, raw))
            shown += 1
            self.progress("tree", index + 1, size)
        if self.contents.whole:
            return Claim("tree", VALID, f"{size} entries, none left out, give the signed root")
        return Claim("tree", VALID, f"all {size} hashes give the signed root, and {shown} entries stand at their place")

    def check_earlier(self) -> Claim:
        """Earlier checkpoints and proof files belong to this same tree."""
        assert self.checkpoint is not None
        checkpoints = proofs = 0
        for name in self.zip.names:
            if name.startswith("log/checkpoints/"):
                earlier = self.open_earlier(name)
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
        if not shown or proof.index >= self.checkpoint.size:
            raise BundleError(f"{name} is not the proof that its name says")
        if not self.chosen.has(proof.index):
            raise BundleError(f"{name} proves an entry that changed authority, and that was left out")
        leaf, root = self.tree.node(0, proof.index), self.checkpoint.root
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
        cosigners = [key for key in opened.verified_by if key in witness.keys]
        enough = witness.policy().satisfied_by(cosigners)
        said = f"{len(cosigners)} of the {len(witness.keys)} witnesses that you trust cosigned the checkpoint"
        fault = "" if enough else f"{said}; {witness.quorum} are needed"
        times = {key.name: opened.cosigned_at[key.name] for key in cosigners}
        self.say("witnesses", fault, said, cosigned_at=times, quorum=witness.quorum)

    # --- the entries ------------------------------------------------------------------------------------------------

    def walk(self) -> None:
        """Read every entry that is there once: rules, openings, people's signatures, copies."""
        assert self.checkpoint is not None
        size = self.checkpoint.size
        disclosed = Disclosed(
            self.lines("openings/openings.jsonl"), withheld=self.report.filters.get("openings") is False
        )
        kept, repeated = copies.Copies(self.zip), derived.Check(self.zip)
        self.grants = GrantHistory(whole=self.contents.whole)
        fault, raw, index = "", b"", 0
        try:
            for index, raw in self.contents.entries(size):
                self.skip_to(index)
                entry = self.history.feed(index, raw)
                self.chosen.entry(entry)
                disclosed.entry(self.history.facts, entry)
                kept.entry(entry, raw)
                repeated.entry(entry, raw)
                self.grants.entry(entry, raw)
                self.look(entry, disclosed)
                self.progress("entries", index + 1, size)
            self.skip_to(size)
        except BrokenRule as error:
            fault = _with_kind(raw, str(error)) + self.heads.how_far(self.is_ours)
            self.note_broken(raw, fault)
            # The scan of all grants needs no rule to hold, so it goes on to the end.
            for later, raw in self.contents.entries(size, index):
                self.grants.read(later, raw)
        self.report.shown = self.chosen.shown
        self.decisions.left_out = 0 if self.contents.whole else size
        self.look_at_heads()
        self.decisions.finish(self.history.facts, self.odd)
        self.report.decisions = self.decisions.found
        if not fault and self.trust is not None and self.trust.decision is not None:
            fault = self.not_anchored or self.not_all_signed()
        changes = len(self.ring.decision) - 1
        detail = f"all {self.history.size} entries follow the rules and are signed with the decision key"
        detail += f", which changed {changes} times, each new one signed in by the one before" if changes > 0 else ""
        detail += "" if self.anchored_decision else ", which trust.json does not name"
        kinds = dict(sorted(self.history.facts.totals.kinds.items()))
        if not self.contents.whole:
            detail = detail.replace(f"all {self.history.size} entries", "the entries that are here")
        self.say_over_all("history", fault, detail, anchored=self.anchored_decision, kinds=kinds)
        if fault:
            self.say_capabilities(anchored=False)
            if self.heads_fault:
                self.say("statements", self.heads_fault, "")
            if other := self.other_log_watched():
                self.say("observations", other, "")
            return
        self.say_how_complete()
        try:
            disclosed.finish()
        except evidence_zip.EvidenceZipError as error:
            disclosed.openings_fault = str(error)
        self.disclosed_beyond, self.hidden_from_grant = disclosed.beyond_grant, len(disclosed.hidden_from_grant)
        self.say_who_decided()
        self.say_what_is_disclosed(disclosed)
        self.say_what_runs()
        self.attempt("copies", lambda: Claim("copies", VALID, kept.finish(self.history.size)))
        self.attempt("sections", lambda: self.check_sections(repeated))

    def check_sections(self, repeated: derived.Check) -> Claim:
        """What the bundle tells of what runs, of copies elsewhere and of controls follows from the entries."""
        assert self.checkpoint is not None
        known = Known(
            self.history.facts,
            self.grants,
            repeated.marks,
            self.checkpoint.size,
            self.checkpoint.root,
            self.contents.whole,
            self.tree.root,
        )
        said = repeated.finish(known, self.hashes)
        self.checked |= derived.FOLDERS if repeated.there else frozenset()
        return Claim("sections", VALID, said)

    def skip_to(self, index: int) -> None:
        """Pass over the entries before this one that are not there."""
        while self.history.size < index:
            self.history.skip(self.tree.node(0, self.history.size))

    def look(self, entry: Mapping[str, Any], disclosed: Disclosed) -> None:
        """Collect what the claims about people, policies and votes need."""
        kind, body, actor = entry["kind"], entry["body"], entry["actor"]
        if kind in keyring.KINDS:
            self.ring.see(entry)
            self.continues = body.get("continues", self.continues)
        if kind == "delegation.issued":
            if "parent" in body["document"]:
                self.passed_on += 1
            else:
                self.roots_issued += 1
                self.pin(entry, body["document"]["issuer"], body["signature"]["key"], root=True)
                self.look_at_origin(entry, body["signature"])
        elif kind == "launch.attested":
            for person, fingerprint in launches.layer_keys(self.history.facts, entry):
                self.pin(entry, person, fingerprint, layer=True)
        elif kind == "policy.activated":
            self.policies.append(body["policy"])
        elif kind == "action.decided":
            self.decisions.decided(self.history.facts, entry, disclosed)
        self.look_at_enforcement(entry)
        self.heads.entry(entry)
        part = signatures.signed_part(body)
        if part is not None:
            said = canonical.loads(part["statement"].encode("utf-8"))
            self.look_at_origin(entry, part["evidence"])
            if kind == "vote.cast":
                self.decisions.voted(entry, said["decision"])
            if part["evidence"]["kind"] != "session" and kind != "person.key_enrolled":
                self.pin(entry, actor["id"], said["credential"])
        if actor["type"] == "person" and actor.get("assurance", "H0") == "H0":
            self.clicks += 1

    def look_at_enforcement(self, entry: Mapping[str, Any]) -> None:
        """Count decisions, and those that were redeemed, by what forced the agent to ask."""
        kind, body, name = entry["kind"], entry["body"], entry["subject"]
        if kind == "action.decided":
            level = body["enforcement"]
            self.report.coverage[level]["decisions"] += 1
            if "attempt" in body:
                self.report.coverage[level]["redeemed"] += 1
            elif body["verdict"] == "allow":
                self.approved[name] = level
        elif kind == "action.redeemed":
            self.report.coverage[self.approved.pop(name)]["redeemed"] += 1
        elif kind == "action.withdrawn":
            self.approved.pop(name, None)

    def note_broken(self, raw: bytes, fault: str) -> None:
        """List a decision that breaks a rule, if that is what the broken entry is."""
        try:
            entry = entries.parse(dsse.open_envelope(raw).payload)
        except ValueError:
            return
        if entry["kind"] == "action.decided":
            self.decisions.broken(entry, fault)

    def pin(
        self, entry: Mapping[str, Any], person: str, fingerprint: str, *, root: bool = False, layer: bool = False
    ) -> None:
        """Remember a person's signature, over a root delegation, a layer of configuration or something else. The
        history has verified the signature itself, with the key of that fingerprint."""
        self.uses.append((entry["index"], person, fingerprint, entry["time"], root, layer))

    def weigh_keys(self) -> None:
        """Hold every signature against the keys that trust.json pins, who vouched for which, and what was revoked from
        when, by all that the log says to its end."""
        people = self.trust.people if self.trust is not None else None
        for index, person, fingerprint, time, root, layer in self.uses:
            found = standing.of(self.history.facts, people, person, fingerprint, time)
            self.standings[found.state] = self.standings.get(found.state, 0) + 1
            if found.state == standing.WRONG:
                self.people_fault = self.people_fault or f"entry {index}: {found.why}"
            elif not found.good:
                self.why_unknown = self.why_unknown or f"entry {index}: {found.why}"
            self.unknown_roots += root and not found.good
            self.unknown_layers += layer and not found.good

    def look_at_origin(self, entry: Mapping[str, Any], evidence: Mapping[str, Any]) -> None:
        """Hold the page on which a passkey signed against those that trust.json names."""
        if self.trust is None or self.trust.origins is None or evidence["kind"] != "webauthn":
            return
        origin = webauthn.ClientData.parse(un_b64u(evidence["client_data"])).origin
        if origin not in self.trust.origins:
            fault = f"entry {entry['index']}: it was signed on {origin}, which trust.json does not name"
            self.origin_fault = self.origin_fault or fault
            self.odd[entry["index"]] = fault

    def look_at_heads(self) -> None:
        """Every statement names an earlier head of this same log."""
        for index, fault in self.heads.of_people(self.is_ours):
            self.heads_fault = self.heads_fault or fault
            self.odd[index] = fault

    def say_how_complete(self) -> None:
        """Whether every entry is there. What was left out is known by its hash alone, so nothing is told of it."""
        shown, size, missing = self.chosen.shown, self.history.size, self.chosen.not_here()
        if self.contents.whole:
            self.say("complete", self.chosen.fault(), f"all {size} entries are here", shown=shown, size=size)
            return
        detail = (
            f"{shown} of {size} entries are here. The other {size - shown} are said to be about other requests than "
            f"were asked for ({self.chosen.words()}), and nothing in here can show what they are: a revocation, a "
            "denial or a stricter policy among them would not be seen"
        )
        detail += f". Asked for by name, and not here: {', '.join(missing[:5])}" if missing else ""
        self.say("complete", self.chosen.fault(), detail, anchored=False, shown=shown, size=size)

    def say_who_decided(self) -> None:
        totals, facts = self.history.facts.totals, self.history.facts
        self.weigh_keys()
        people = self.trust.people if self.trust else None
        signed, unknown = sum(self.standings.values()), self.standings.get(standing.UNKNOWN, 0)
        known = people is not None and not unknown
        detail = f"signatures by people: {signed}, each with a key that you trust for that person"
        if self.standings.get(standing.VOUCHED):
            detail += f" or that such people vouched for ({self.standings[standing.VOUCHED]})"
        if people is None:
            detail = f"signatures by people: {signed}, with keys that trust.json does not name"
        elif unknown:
            detail = (
                f"signatures by people: {signed}; {unknown} of them rest on the operator's word. {self.why_unknown}"
            )
        self.say_over_all(
            "people",
            self.people_fault,
            detail,
            anchored=known,
            signatures=dict(sorted(self.standings.items())),
            first_keys=totals.first_keys,
            vouched_by_console=totals.vouched_by_console,
            changed_at_console=totals.by_console,
        )
        anchored = people is not None and self.anchored_decision
        self.say_capabilities(anchored=anchored and not self.unknown_roots)
        widened = self.grants.violations()[NOT_NARROWER]
        detail = (
            f"granted by people: {self.roots_issued}, each signed by an admin; passed on by agents: {self.passed_on}, "
            f"each within its parent; made wider by an agent: {widened}, over all entries that are here"
        )
        detail += f"; approved in advance by people: {totals.grants}, used {totals.by_grants} times"
        detail += (
            f"; signed with keys that rest on the operator's word: {self.unknown_roots}" if self.unknown_roots else ""
        )
        self.say_over_all(
            "grants",
            f"passed on wider than it was held: {widened}" if widened else "",
            detail,
            anchored=anchored and not self.unknown_roots,
            from_people=self.roots_issued,
            passed_on_narrower=self.passed_on,
            widened_by_agents=widened,
            approved_in_advance=totals.grants,
            used_in_advance=totals.by_grants,
        )
        policy = self.trust.policy if self.trust else None
        strange = [digest for digest in self.policies if policy is not None and digest not in policy]
        fault = f"the policy {strange[0]} was in force and is not one that you trust" if strange else ""
        detail = f"policies that were in force: {len(self.policies)}; changes that two people signed: {totals.by_two}"
        self.say_over_all("policy", fault, detail, anchored=policy is not None, signed_by_two=totals.by_two)
        levels = dict(sorted(totals.assurance.items()))
        told = ", ".join(f"{count} at {level}" for level, count in levels.items()) or "none"
        detail = f"actions approved by people: {totals.by_people}, each with the votes its stages need"
        detail += f", and {totals.by_grants} by votes in advance; " if totals.by_grants else "; "
        detail += f"votes for: {told}; votes against: {totals.denials}"
        if "H0" in levels:
            detail += ". H0 is a click that the operator vouches for, not a person's signature"
        if totals.single_human:
            detail += f". {totals.single_human} under single_human: one person may have answered alone"
        if self.disclosed_beyond:
            fault = f"entry {min(self.disclosed_beyond)}: its parameters are not within the grant that it rests on"
        else:
            fault = self.origin_fault
        whole = anchored and known and "H0" not in levels and not totals.single_human
        # Who pins a policy that takes a click for an answer, or one person alone, has accepted that. The claim still
        # says that it cannot tell who it was; it does not make the whole bundle doubtful.
        accepted = anchored and known and policy is not None and not strange
        self.say_over_all(
            "votes",
            fault,
            detail,
            anchored=whole,
            weighs=not accepted,
            assurance=levels,
            single_human=totals.single_human,
            decisions=self.report.counts(),
            open_requests=len(facts.requests),
        )
        detail = f"statements of people: {len(self.heads.people)}, each naming an earlier head of this same log"
        self.say("statements", self.heads_fault, detail)

    def say_what_runs(self) -> None:
        """Launches, observations, canaries and the build. A monitor also tells which log it was shown."""
        for given in escalation.claims(self.history.facts, self.trust):
            claim = self.on_whose_word(given)
            fault = claim.detail if claim.verdict == INVALID else ""
            if claim.name == "observations":
                fault = fault or self.other_log_watched()
            if claim.verdict == CANNOT_TELL and not fault:
                self.report.claims.append(claim)
                continue
            self.say_over_all(
                claim.name, fault, claim.detail, anchored=self.anchored_decision, weighs=claim.weighs, **claim.evidence
            )

    def on_whose_word(self, claim: Claim) -> Claim:
        """The claim; that of launches cannot tell when layers were signed with keys that nothing outside speaks for.

        Who can make an admin at the console, or a key of one, could have signed any configuration.
        """
        if claim.name != "launches" or claim.verdict != VALID or not self.unknown_layers:
            return claim
        rest = f"signatures of layers that rest on the operator's word: {self.unknown_layers}"
        return replace(claim, verdict=CANNOT_TELL, detail=f"{claim.detail}; {rest}")

    def other_log_watched(self) -> str:
        """Which observation names a head that this log never had; empty when none does."""
        return next((fault for _, fault in self.heads.of_monitors(self.is_ours)), "")

    def say_capabilities(self, *, anchored: bool) -> None:
        """Whether every grant traces to a person, by a scan that applies no rule; and that `grants/` says the same."""
        findings, counts = self.grants.findings(), self.grants.counts()
        fault = f"entry {findings[0].index}: {findings[0].why}" if findings else ""
        try:
            fault = fault or grant_files.fault(self.zip, self.grants)
        except evidence_zip.EvidenceZipError as error:
            fault = str(error)
        held, tools, violations = counts["delegations"], counts["tools"], counts["violations"]
        detail = (
            f"grants without a valid human root: {violations['without_human_root']}, initiated by an agent: "
            f"{violations['initiated_by_agents']}, keys of agents among the signers: "
            f"{violations['agent_keys_among_signers']}; by people: {held['from_people']}; passed on by agents: "
            f"{held['passed_on']}, each narrower; tools registered or changed: {tools['new'] + tools['changed']}, of "
            f"which one person unsigned: {tools['by_one_unsigned']}"
        )
        if f"{grant_files.FOLDER}/{grant_files.HISTORY}" not in self.zip:
            detail += f"; the bundle has no {grant_files.FOLDER}/, so this is from its entries alone"
        shown = {name: counts[name] for name in ("delegations", "tools", "policies", "in_advance", "services")}
        self.say_over_all(
            "capabilities", fault, detail, anchored=anchored, entries=self.grants.entries, **violations, **shown
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
        detail += f"; {states[WITHHELD]} left out, as was asked for" if states[WITHHELD] else ""
        self.unlogged = len(disclosed.unlogged)
        detail += f"; no entry in here erased those of {self.unlogged} requests" if self.unlogged else ""
        fault = disclosed.openings_fault
        held, erased, never = states[HELD], states[ERASED], states[NEVER]
        withheld = states[WITHHELD]
        self.say("openings", fault, detail, held=held, erased=erased, never_held=never, withheld=withheld)
        whole = not disclosed.openings_fault
        detail = f"actions: {disclosed.derived}; effects, cost and size follow from the parameters by the registry"
        detail += f"; not disclosed: {disclosed.hidden}" if disclosed.hidden else ""
        self.say("effects", disclosed.effects_fault, detail, anchored=whole and not disclosed.hidden)
        detail = f"requests: {disclosed.shown}; what people were shown follows from the parameters"
        self.say("cards", disclosed.cards_fault, detail, anchored=whole and not disclosed.hidden)

    # --- limits -----------------------------------------------------------------------------------------------------

    def write_limits(self) -> None:
        """What this bundle does not prove, whatever the claims say."""
        assert self.checkpoint is not None
        totals, limits = self.history.facts.totals, self.report.limits
        if not self.contents.whole:
            limits.append(
                f"Anything about the {self.history.size - self.chosen.shown} entries that are not here, and that "
                "nothing in them takes back what these say: a later revocation, a denial or another policy. Ask for "
                "the whole log."
            )
        if self.trust is None or self.trust.witness is None:
            limits.append("That this log is the only one: compare its checkpoint with what others hold.")
            limits.append(self.heads.limit(self.checkpoint.size))
        counted = ((level, found["decisions"]) for level, found in self.report.coverage.items())
        levels = ", ".join(f"{count} at {level}" for level, count in counted if count) or "none"
        limits.append(
            "What an agent did without asking. Decisions by what forces the agent to ask, from E0 (its own wrapper) to "
            f"E3 (the resource checks the receipt): {levels}."
        )
        limits.append("That reported outcomes and costs are true: an agent reports its own.")
        if totals.tools_alone:
            limits.append(
                f"Who changed the tool registry in {totals.tools_alone} entries that no person signed. It says what "
                "tools do, how risky that is at least, and in which words people read of it."
            )
        limits.extend(escalation.limits(self.history.facts))
        limits.append("That times are right: they are the server's clock, in an order that holds.")
        limits.append("That a policy's rules gave the risk they should: only its floors and stages are checked again.")
        limits.append("Who an account or a key belongs to in the world: that is what trust.json says.")
        if self.clicks:
            limits.append(
                f"That it was a person behind {self.clicks} entries made in a session (H0): the operator vouches."
            )
        if totals.by_console:
            limits.append(f"Who made {totals.by_console} changes of people, keys and agents at the operator's console.")
        if totals.first_keys:
            limits.append(
                f"Whose the first {totals.first_keys} signing keys were, unless trust.json pins them: when they came, "
                "fewer than three people could take part."
            )
        if totals.vouched_by_console:
            limits.append(
                f"Whose {totals.vouched_by_console} signing keys are that the operator's console vouched for, unless "
                "trust.json pins them."
            )
        if "H3" in totals.assurance:
            limits.append("That a device called H3 is what its maker says: the makers' roots are not known here.")
        if self.hidden_from_grant:
            limits.append(
                f"That {self.hidden_from_grant} actions had parameters within what was approved in advance: those "
                "parameters are not disclosed."
            )
        if self.unlogged:
            limits.append(
                f"By which rule openings of {self.unlogged} requests were erased: no entry here says so. If one "
                "came while the bundle was made, it is in the next."
            )
        limits.append("That a key is still its owner's today: what was revoked after this log ends is not in it.")
        if self.continues is not None:
            old = Checkpoint.parse(self.continues["checkpoint"].partition("\n\n")[0] + "\n")
            limits.append(
                f"Whether the log that this one says it continues was ended honestly: {old.origin}, of {old.size} "
                f"entries, root {old.root.hex()}. Its own log key signed that end; look at a bundle of it, with the "
                "trust.json that you had for it."
            )
        sections = sorted({name.partition("/")[0] for name in self.zip.names if "/" in name} - self.checked)
        if sections:
            limits.append(f"What the files in {', '.join(sections)} say: they are signed as they are, and no more.")
        if "verify.pyz" in self.zip:
            limits.append(
                "What verify.pyz from this bundle says when it runs: who made the bundle made it, and it was not "
                "looked into here. Use a verifier that you got another way."
            )
        limits.append(
            "What views/, CLAIMS.html, REPORT.html and README.txt say in words, trust/keys.jsonl of when keys began "
            "and ended, and trust/policy.tlog of witnesses: none of that was checked. Read them, and rely on the "
            "entries."
        )

    # --- reading ----------------------------------------------------------------------------------------------------

    def text(self, name: str) -> str:
        return self.contents.text(name)

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file, without their ends."""
        return copies.lines(self.zip, name)


def _not_in_tree(index: int, raw: bytes) -> str:
    """What stands at the place of this entry, which is not the one that the log signed."""
    fault = f"entry {index} is not the one in the tree that the log signed"
    try:
        found = entries.parse(dsse.open_envelope(raw).payload)
    except ValueError:
        return f"{fault}; what stands there cannot be read"
    named = f"a {found['kind']}" if found["index"] == index else f"entry {found['index']} (a {found['kind']})"
    return f"{fault}; what stands there says that it is {named}"


def _with_kind(raw: bytes, fault: str) -> str:
    """What is wrong with an entry, with the kind that it says it is of."""
    try:
        entry = entries.parse(dsse.open_envelope(raw).payload)
    except ValueError:
        return fault
    return fault.replace(" breaks ", f" ({entry['kind']}) breaks ", 1)
