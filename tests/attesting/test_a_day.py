"""The bundle of a simulated day verifies; whoever takes out, moves or makes up one entry of it is told which.

Two sorts of tampering. With the files alone nobody gets past the signed root. An operator with all of the server's keys
writes the log anew so that tree, chain, checkpoint and signatures agree: what people, agents and services signed then
speaks against it, as far as the newest head goes that one of them named. Behind that, only what others hold does.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from imprimatur.formats import attestation, canonical, delegation, dsse, evidence_zip, merkle, note, tiles, trust
from imprimatur.formats.commitments import Opening
from imprimatur.formats.encoding import b64, un_b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.rules import tools
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, Report
from imprimatur.verify.compare import CompareError, compare
from imprimatur.verify.contents import Contents
from imprimatur.verify.heads import Heads
from imprimatur.verify.history import BrokenRule, History
from imprimatur.verify.report import human
from tests.attesting import day as days
from tests.attesting.day import Day
from tests.conftest import REALM
from tests.verify import builder
from tests.verify.resealing import Operator, swapped, without

Entry = dict[str, Any]
Files = dict[str, bytes]

pytestmark = pytest.mark.django_db
"""No test here needs a database but the day; this has pytest make one."""


@dataclass
class Read:
    """The history before each entry, the root at each size, and the heads that are named in all of it."""

    before: list[bytes] = field(default_factory=list)
    roots: list[str] = field(default_factory=lambda: [f"sha256:{merkle.EMPTY_ROOT.hex()}"])
    heads: Heads = field(default_factory=Heads)


@dataclass
class Told:
    """The bundle of the day, taken apart, and the operator who has all of the server's keys."""

    day: Day
    files: Files
    envelopes: list[bytes]
    entries: list[Entry]
    operator: Operator
    folder: Path

    @cached_property
    def read(self) -> Read:
        """All of it, read once."""
        history, found = History(REALM), Read()
        for index, raw in enumerate(self.envelopes):
            found.before.append(canonical.dumps(history.snapshot()))
            found.heads.entry(history.feed(index, raw))
            found.roots.append(f"sha256:{history.root().hex()}")
        return found

    @cached_property
    def trust(self) -> trust.Trust:
        return trust.parse(canonical.dumps(self.day.trust))

    def places(self, kind: str, which: Callable[[Entry], bool] = lambda entry: True) -> list[int]:
        """Where the entries of this kind stand."""
        return [entry["index"] for entry in self.entries if entry["kind"] == kind and which(entry)]

    def check(self, files: Files, **anchors: Any) -> Report:
        return verify_bundle(self.write("b.zip", files), trust.parse(canonical.dumps({**self.day.trust, **anchors})))

    def write(self, name: str, files: Files) -> Path:
        path = self.folder / name
        path.write_bytes(builder.zipped(files))
        return path

    def resealed(self, entries: list[Entry]) -> Files:
        """The bundle that the operator publishes of these entries."""
        return self.operator.bundle(self.operator.reseal(entries))


@pytest.fixture(scope="module")
def day(django_db_setup: None, django_db_blocker: Any, settled: None, tmp_path_factory: pytest.TempPathFactory) -> Day:
    clock = days.Clock()
    with (
        pytest.MonkeyPatch.context() as patch,
        django_db_blocker.unblock(),
        days.moved(clock, patch.setattr),
        days.rolled_back(),
    ):
        return days.lived(tmp_path_factory.mktemp("day"), clock)


@pytest.fixture(scope="module")
def told(day: Day, tmp_path_factory: pytest.TempPathFactory) -> Told:
    with evidence_zip.Reader(day.whole) as reader:
        files = {name: reader.read(name) for name in reader.names}
        envelopes = [raw for _, raw in Contents(reader).entries(day.entries)]
    lines = [canonical.loads(line) for line in files["openings/openings.jsonl"].splitlines()]
    openings = [Opening(line["name"], un_b64u(line["key"]), line["value"]) for line in lines]
    entries = [canonical.loads(dsse.open_envelope(raw).payload) for raw in envelopes]
    operator = Operator(REALM, day.log_key, day.decision_keys, openings)
    return Told(day, files, envelopes, entries, operator, tmp_path_factory.mktemp("told"))


# --- the day as it was -----------------------------------------------------------------------------------------------


def test_the_bundle_of_a_day_verifies_and_says_what_happened(told: Told) -> None:
    report = verify_bundle(told.day.whole, told.trust)
    assert report.verdict == VALID, human(report)
    doubtful = {claim.name: (claim.verdict, claim.weighs) for claim in report.claims if claim.verdict != VALID}
    cannot = (CANNOT_TELL, False)
    assert doubtful == {"witnesses": cannot, "canaries": cannot, "build": cannot}
    assert [claim.name for claim in report.claims if claim.verdict == VALID] == [
        "zip", "files", "checkpoint", "tree", "history", "complete", "people", "capabilities", "grants", "policy",
        "votes", "statements", "openings", "effects", "cards", "launches", "observations", "copies", "sections",
        "earlier checkpoints", "manifest",
    ]  # fmt: skip
    assert 300 <= report.size == len(told.entries) <= 600
    assert report.counts() == {"verified": len(told.places("action.decided")), "invalid": 0, "cannot tell": 0}


def test_void_periods_drift_and_strangers_are_told_with_time_and_place(told: Told) -> None:
    report = verify_bundle(told.day.whole, told.trust)
    canaries = report.claim("canaries").evidence
    assert {name: canaries[name] for name in ("runs", "passed", "warned", "failed", "got_through", "red")} == {
        "runs": 45, "passed": 44, "warned": 1, "failed": 0, "got_through": 0, "red": [],
    }  # fmt: skip
    ended = [_said(told, place)["at"] for place in told.places("canary.reported")]
    last, back = days.DOWN[0] - 1, days.DOWN[0]
    silent, deaf = (ended[last], ended[back]), (ended[30], ended[31])
    assert [(void["from"], void["to"], void["why"]) for void in canaries["void"]] == [
        (*silent, "gap"),
        (*deaf, "control"),
    ]
    assert [time[11:16] for time in (*silent, *deaf)] == ["12:50", "14:50", "16:50", "17:20"]
    assert canaries["void_seconds"] == 9000

    seen = report.claim("observations").evidence
    [drift] = [place for place in told.places("observation.recorded") if told.entries[place]["body"]["findings"]]
    assert [(each["index"], each["codes"]) for each in seen["drift"]] == [(drift, ["seccomp-missing"])]
    assert told.entries[drift]["time"][11:16] == "10:20"
    [suspended] = told.places("agent.suspended")
    assert told.entries[suspended]["refs"][0] == {"rel": "observation", "index": drift}
    [stranger] = told.places("observation.recorded", lambda entry: not entry["body"]["matched"])
    assert seen["without_launch"] == [{"index": stranger, "claimed": "lau_unheard_of"}]
    counts = {name: seen[name] for name in ("observations", "differing", "unmatched", "agents_suspended")}
    assert counts == {"observations": 81, "differing": 1, "unmatched": 1, "agents_suspended": 1}
    assert (seen["never_observed"], seen["after_end"], seen["unwatched"]) == (0, 0, [])

    launches = report.claim("launches").evidence
    assert (launches["attested"], launches["refused"], launches["ended"], launches["running"]) == (3, 1, 2, 1)
    held = report.claim("capabilities").evidence
    assert {name: held["delegations"][name] for name in ("from_people", "passed_on", "live", "ended")} == {
        "from_people": 3, "passed_on": 2, "live": 1, "ended": 4,
    }  # fmt: skip
    assert (held["without_human_root"], held["initiated_by_agents"], held["agent_keys_among_signers"]) == (0, 0, 0)
    assert report.claim("grants").evidence["used_in_advance"] == 2
    assert report.claim("policy").evidence["signed_by_two"] == 3
    assert "changed 1 times" in report.claim("history").detail


def test_a_bundle_of_one_request_of_the_day_shows_all_that_services_said_and_proves_nothing_of_the_rest(
    told: Told,
) -> None:
    report = verify_bundle(told.day.selective, told.trust)
    assert report.verdict == CANNOT_TELL, human(report)
    assert INVALID not in {claim.verdict for claim in report.claims}
    assert report.claim("observations").evidence["observations"] == 81
    assert report.claim("canaries").evidence["voids"] == 2
    decided = {made["request"]: made["status"] for made in report.decisions}
    assert decided[told.day.chosen] == CANNOT_TELL
    assert set(decided.values()) == {CANNOT_TELL} and len(decided) < 5


def test_the_day_continues_its_morning(told: Told) -> None:
    found = compare(told.day.noon, told.day.whole)
    assert found.continues is True, found.fault
    assert found.added["canary.reported"] == len(told.places("canary.reported")) - 24


def _said(told: Told, place: int) -> dict[str, Any]:
    """What the service signed in this entry."""
    return dict(attestation.open_statement(told.entries[place]["body"]["statement"].encode()).predicate)


# --- one of each -----------------------------------------------------------------------------------------------------

WHAT: dict[str, tuple[str, Callable[[Entry], bool]]] = {
    "a root grant": ("delegation.issued", lambda entry: "parent" not in entry["body"]["document"]),
    "a passed-on grant": ("delegation.issued", lambda entry: "parent" in entry["body"]["document"]),
    "a tool change": ("tool.registered", lambda entry: entry["body"]["tool"] == "list_folder"),
    "a launch": ("launch.attested", lambda entry: True),
    "an observation": ("observation.recorded", lambda entry: True),
    "a canary run": ("canary.reported", lambda entry: True),
    "a revocation": ("delegation.revoked", lambda entry: True),
}
"""Each with the next one of its kind."""


def _two(told: Told, what: str) -> tuple[int, int]:
    one, other, *_ = told.places(*WHAT[what])
    return one, other


def _forged(told: Told, what: str) -> list[Entry]:
    """All entries, of which this one says something else, as well as whoever has the server's keys can make it."""
    entries = copy.deepcopy(told.entries)
    entry = entries[_two(told, what)[0]]
    body = entry["body"]
    if what.endswith("grant"):
        body["document"]["purpose"] = "whatever it likes"
        entry["subject"] = body["delegation"] = delegation.delegation_id(body["document"])
    elif what == "a tool change":
        body["document"]["sentence"] = "look at nothing in {path}"
        body["digest"] = tools.digest(body["document"])
    elif what == "a revocation":
        body["reason"] = "on request of its holder"
    else:
        said = attestation.open_statement(body["statement"].encode())
        changes: dict[str, dict[str, Any]] = {
            "launch": {"command": ["/usr/bin/robo", "twice"]},
            "canary": {"every": 600},
        }
        other = changes.get(entry["kind"].partition(".")[0], {"processes": []})
        own = next(iter(told.day.decision_keys.values()))
        made = attestation.seal(said.predicate_type, said.subjects, {**said.predicate, **other}, own)
        body["statement"] = made.decode()
    return entries


# --- with the files alone ----------------------------------------------------------------------------------------------


def _listed(files: Files) -> Files:
    """The files with a list over them, as anybody can write it; the signature over the old one stays."""
    listed = {name: content for name, content in files.items() if not name.startswith("MANIFEST.")}
    lines = (f"{hashlib.sha256(listed[name]).hexdigest()}  {name}\n" for name in sorted(listed))
    return {**files, "MANIFEST.sha256": "".join(lines).encode()}


def _tiled(told: Told, envelopes: list[bytes]) -> Files:
    """The files of the bundle with these entries in their tiles."""
    files, at = dict(told.files), 0
    for number, width in tiles.bundles_for(0, len(told.entries)):
        last = at + width >= len(told.entries)
        files[f"log/{tiles.entries_path(number, width)}"] = tiles.bundle_encode(
            envelopes[at:] if last else envelopes[at : at + width]
        )
        at += width
    return files


def _with_payload(raw: bytes, entry: Entry) -> bytes:
    """The envelope with another payload under its old signature."""
    envelope = canonical.loads(raw)
    return canonical.dumps({**envelope, "payload": b64(canonical.dumps(entry))})


@pytest.mark.parametrize("how", ["removed", "swapped", "forged"])
@pytest.mark.parametrize("what", WHAT)
def test_with_the_files_alone_one_entry_that_is_changed_is_named(told: Told, what: str, how: str) -> None:
    one, other = _two(told, what)
    kind = WHAT[what][0]
    if how == "removed":
        after = told.entries[one + 1]
        envelopes, says = without_raw(told.envelopes, one), f"entry {one + 1} (a {after['kind']})"
    elif how == "swapped":
        envelopes, says = swapped(told.envelopes, one, other), f"entry {other} (a {kind})"
    else:
        envelopes, says = list(told.envelopes), f"a {kind}"
        envelopes[one] = _with_payload(told.envelopes[one], _forged(told, what)[one])
    files = _tiled(told, envelopes)
    assert told.check(files).claim("files").verdict == INVALID, "without a new list nobody reads on"
    report = told.check(_listed(files))
    claim = report.claim("tree")
    assert (report.verdict, claim.verdict) == (INVALID, INVALID)
    assert claim.detail.startswith(f"entry {one} is not the one in the tree that the log signed")
    assert claim.detail.endswith(f"what stands there says that it is {says}")


def without_raw(envelopes: list[bytes], place: int) -> list[bytes]:
    return [raw for at, raw in enumerate(envelopes) if at != place]


def test_an_entry_that_is_missing_at_the_end_of_the_files_is_named(told: Told) -> None:
    report = told.check(_listed(_tiled(told, told.envelopes[:-1])))
    assert report.claim("tree").verdict == INVALID
    assert report.claim("tree").detail.startswith(f"entry {len(told.entries) - 1} is missing")


# --- with all of the server's keys -------------------------------------------------------------------------------------


def test_the_operator_can_write_the_whole_log_anew_and_it_holds(told: Told) -> None:
    """Else what follows would show that its re-sealing is poor, and not that others speak against it."""
    report = told.check(told.resealed(told.entries))
    assert report.verdict == VALID, human(report)


BETWEEN = re.compile(r"Its first (\d+) entries are as people or monitors saw them, its first (\d+) are not")
UP_TO = re.compile(r"entry (\d+) \(([a-z._]+)\) breaks (rule \d+)")


def _against(report: Report) -> str:
    """Everything that is wrong with a bundle, in words."""
    return "\n".join(f"{claim.name}: {claim.detail}" for claim in report.claims if claim.verdict == INVALID)


def _found_between(text: str) -> tuple[int, int]:
    """The entries between which the report says that it was."""
    between, broken = BETWEEN.search(text), UP_TO.search(text)
    if between is not None:
        return int(between[1]), int(between[2])
    assert broken is not None, text
    seen = re.search(r"Its first (\d+) entries are as people or monitors saw them", text)
    return int(seen[1]) if seen else 0, int(broken[1])


def _expected(told: Told, what: str, how: str) -> tuple[str, ...]:
    """What the report has to say, word for word."""
    one, other = _two(told, what)
    kind, entry = WHAT[what][0], told.entries[one]
    at_it = f"entry {one} ({kind}) breaks rule "
    if what.endswith("grant"):
        gone = f"the delegation {entry['subject']} is not in the log"
        if what == "a root grant" and how == "swapped":
            return ("the statement names a log that is not this one",)
        return {"removed": (gone,), "swapped": (gone,), "forged": (f"{at_it}15",)}[how]
    if what == "a tool change":
        names_another_log = "its monitor was shown a log that is not this one"
        return {"removed": (names_another_log,), "swapped": (f"{at_it}19",), "forged": (f"{at_it}39",)}[how]
    if what == "a revocation":
        lost = ("the statement names a log that is not this one", "its monitor was shown a log that is not this one")
        return {"removed": lost, "swapped": (f"{at_it}18",), "forged": lost}[how]
    service, number = entry["actor"]["id"], _said(told, one)["own"]["size"]
    if how == "forged":
        return (f"{at_it}44", f"{service} did not sign the statement: it is made up")
    next_one = other - 1 if how == "removed" else one
    missing = f"statement {number} is missing before statement {number + 1}: left out, or moved behind it"
    return (f"entry {next_one} ({kind}) breaks rule 44", service, missing)


@pytest.mark.parametrize("how", ["removed", "swapped", "forged"])
@pytest.mark.parametrize("what", WHAT)
def test_what_an_operator_with_all_keys_changes_is_named_by_what_others_signed(told: Told, what: str, how: str) -> None:
    one, other = _two(told, what)
    if how == "removed":
        entries = without(told.entries, one)
    else:
        entries = _forged(told, what) if how == "forged" else swapped(told.entries, one, other)
    report = told.check(told.resealed(entries))
    against = _against(report)
    assert report.verdict == INVALID
    assert report.claim("tree").verdict == report.claim("checkpoint").verdict == VALID, "the operator did it well"
    for words in _expected(told, what, how):
        assert words in against, against
    first, last = _found_between(against)
    assert first <= one <= last, against


def test_drift_that_the_operator_hides_is_worked_out_again(told: Told) -> None:
    """The findings are the server's own words, and no service signed them."""
    entries = copy.deepcopy(told.entries)
    [drift] = [place for place in told.places("observation.recorded") if entries[place]["body"]["findings"]]
    entries[drift]["body"]["findings"] = []
    report = told.check(told.resealed(without(entries, drift + 1)))
    assert report.verdict == INVALID
    says = (
        f"entry {drift} (observation.recorded) breaks rule 46 (observation): what was observed differs from its launch"
    )
    assert says in _against(report)


def test_a_revocation_that_is_dated_later_is_found_by_who_saw_the_log_in_between(told: Told) -> None:
    """No rule speaks against it: it may be entered long after the moment from which it holds."""
    _, place = _two(told, "a revocation")
    behind = next(at for at in told.places("launch.attested") if at > place)
    moved = [*told.entries[:place], *told.entries[place + 1 : behind], told.entries[place], *told.entries[behind:]]
    report = told.check(told.resealed(moved))
    assert report.verdict == INVALID
    first, last = _found_between(_against(report))
    assert first <= place < last < behind


ONLY_OTHERS_TELL = {
    "action.decided": "nothing has been reported of it yet; that somebody looked over what is not there breaks no rule",
    "action.reported": "an outcome is the last entry of an action",
    "action.looked_over": "nothing rests on what somebody looked over",
    "observation.recorded": "the next observation would name it, and there is none yet",
    "canary.reported": "the next run would name it, and there is none yet",
    "delegation.revoked": "that something ended is seen by what does not happen any more",
}
"""Kinds of entries that an operator with all keys can leave out at the end of the log, one at a time: behind the newest
head that a person or a monitor named, when nothing that was signed later rests on them."""


def test_whichever_entry_an_operator_with_all_keys_leaves_out_it_is_found_unless_nobody_saw_the_log_after_it(
    told: Told,
) -> None:
    """Each entry is left out in turn, everything behind it written anew, and read up to what gives it away."""
    heads = told.read.heads
    unseen = []
    for place in range(1, len(told.entries)):
        fault, widest = _found_without(told, place)
        if not fault:
            unseen.append(place)
            continue
        assert widest <= 60, f"entry {place} is only known to be among {widest}"
    assert all(place >= heads.newest for place in unseen), [told.entries[place]["kind"] for place in unseen]
    assert {told.entries[place]["kind"] for place in unseen} == set(ONLY_OTHERS_TELL)
    assert len(unseen) <= len(told.entries) - heads.newest < 15

    # Of these the report says by itself that it cannot show them, and from where on.
    for place in unseen:
        report = told.check(told.resealed(without(told.entries, place)))
        assert report.verdict == VALID, _against(report)
        [limit] = [limit for limit in report.limits if "who has all of the server's keys" in limit]
        size = len(told.entries) - 1
        found = re.search(r"(\d+) of the (\d+) entries, from entry (\d+) on, came after the newest", limit)
        assert found is not None, limit
        behind, of, first = map(int, found.groups())
        assert (of, behind) == (size, size - first)
        assert first <= place, "the place of what was left out is in what the report cannot show"


def test_the_last_revocation_is_among_those_that_nobody_saw(told: Told) -> None:
    """So that the test above is about more than bookkeeping."""
    last = told.entries[-1]
    assert last["kind"] == "delegation.revoked"
    assert told.read.heads.newest < last["index"]


def test_without_its_first_entry_no_log_begins(told: Told) -> None:
    with pytest.raises(BrokenRule) as caught:
        History(REALM).feed(0, told.envelopes[1])
    assert caught.value.index == 0


def _found_without(told: Told, place: int) -> tuple[str, int]:
    """What gives away that this entry is gone, and over how many entries that leaves it open which one it was."""
    history = History.restore(canonical.loads(told.read.before[place]), REALM)
    heads, known = Heads(), told.read.roots[: place + 1]

    def ours(size: int, root: str) -> bool:
        return size < len(known) and known[size] == root

    for entry, raw in _rest(told, place):
        try:
            history.feed(entry["index"], raw)
        except BrokenRule as error:
            return str(error), entry["index"] - place
        known.append(f"sha256:{history.root().hex()}")
        heads.entry(entry)
        for _, fault in (*heads.of_people(ours), *heads.of_monitors(ours)):
            return fault, entry["index"] - place
    return "", 0


def _rest(told: Told, place: int) -> Iterator[tuple[Entry, bytes]]:
    """What the operator writes behind the gap, one entry after the other."""
    made = told.operator.begun()
    made.envelopes, made.entries = told.envelopes[:place], told.entries[:place]
    named = [entry["body"]["decision_key"]["keyid"] for entry in made.entries if "decision_key" in entry["body"]]
    made.decision_key = told.day.decision_keys[named[-1]]
    moved = {at: at - (at > place) for at in range(len(told.entries)) if at != place}
    for entry in told.operator.go_on(made, told.entries[place + 1 :], moved):
        yield entry, made.envelopes[-1]


# --- what others hold --------------------------------------------------------------------------------------------------


def test_the_last_entry_left_out_is_shown_by_a_bundle_of_then_and_not_by_one_of_the_morning(told: Told) -> None:
    shorter = told.write("shorter.zip", told.resealed(told.entries[:-1]))
    assert verify_bundle(shorter, told.trust).verdict == VALID
    assert compare(told.day.noon, shorter).continues is True
    with pytest.raises(CompareError, match="the log has lost entries"):
        compare(told.day.whole, shorter)


def test_a_revocation_of_the_morning_left_out_is_shown_by_the_bundle_of_noon(told: Told) -> None:
    place = told.places("delegation.revoked")[0]
    found = compare(told.day.noon, told.write("anew.zip", told.resealed(without(told.entries, place))))
    assert (found.continues, found.forked_at) == (False, place)


def test_an_earlier_checkpoint_that_somebody_kept_does_not_fit_to_the_log_written_anew(told: Told) -> None:
    with evidence_zip.Reader(told.day.noon) as reader:
        kept = reader.read("log/checkpoint")
    size = int(kept.split(b"\n")[1])
    place = told.places("delegation.revoked")[0]
    assert place < size
    for entries, verdict in ((told.entries, VALID), (without(told.entries, place), INVALID)):
        log = told.operator.reseal(entries)
        files = {name: raw for name, raw in told.operator.bundle(log).items() if not name.startswith("MANIFEST.")}
        files[f"log/checkpoints/{size}"] = kept
        report = told.check(builder.finished(files, log, log.decision_key))
        claim = report.claim("earlier checkpoints")
        assert claim.verdict == verdict
        assert ("the log forked" in claim.detail) == (verdict == INVALID)


def test_where_a_witness_is_asked_for_its_cosignature_is_missing_from_what_it_never_saw(told: Told) -> None:
    key = KeyPair.generate()
    vkey = note.Vkey("witness.example", key.public_key, note.COSIGNATURE).format()
    report = told.check(told.resealed(told.entries[:-1]), witness={"keys": [vkey], "quorum": 1})
    assert report.claim("witnesses").verdict == INVALID
    assert not [limit for limit in report.limits if "who has all of the server's keys" in limit]
