"""Bundles with launches, observations and canaries: what they are found to show, and that nobody can take one out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from imprimatur.formats import attestation, canonical, ids, merkle, trust
from imprimatur.formats.encoding import b64u
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, Report
from imprimatur.verify.report import human
from tests.verify import builder
from tests.verify.builder import ADA, RUI, SERVICE_KEYS, SYSTEM, Ask, Log, key, service_actor
from tests.verify.resealing import Operator
from tests.verify.test_services import running, seen_drifting, started

NAMES = ("launches", "observations", "canaries", "build")
PROVENANCE = {"statement": "sha256:" + "cd" * 32, "builder": "a builder"}
EXPORT = {"what": "entries", "form": "csv", "query": "", "size": 1, "count": 1}

Check = Callable[..., Report]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Verify a bundle of this log; `services` are anchors (the real ones; None: trust.json is silent)."""

    def run(log: Log, services: Any = "own", **filters: Any) -> Report:
        document = builder.trust_document(log)
        if services != "own":
            document["services"] = services
        some: dict[str, Any] = {"filters": filters, "shown": builder.chosen(log)} if filters else {}
        path = tmp_path / "bundle.zip"
        path.write_bytes(builder.zipped(builder.finished(builder.bundle_files(log, **some), log)))
        given = {name: value for name, value in document.items() if value is not None}
        return verify_bundle(path, trust.parse(canonical.dumps(given)))

    return run


def pinned(role: str, /, **changes: str) -> dict[str, str]:
    pair = SERVICE_KEYS[role]
    return {"service": ids.service_id(pair.public_key), "role": role, "key": b64u(pair.public_key), **changes}


def story() -> Log:
    """Everything that services say, and it is as it should be."""
    log = running()
    log.refuse_launch("grants-changed", delegations=[])
    launch = log.launch()
    for _ in range(3):
        log.observe(launch)
    for _ in range(3):
        log.canaries()
    log.add("server.started", log.realm, SYSTEM, started(provenance=PROVENANCE))
    log.end_launch(launch)
    return log


def resealed(log: Log, entries: list[dict[str, Any]]) -> Log:
    """The same log with these entries, as somebody with all of the server's keys would write it anew."""
    made = Operator(openings=log.openings).reseal(entries)
    made.policy, made.policy_digest, made.delegations = log.policy, log.policy_digest, log.delegations
    return made


def place_of(log: Log, kind: str, number: int = 0) -> int:
    places: list[int] = [entry["index"] for entry in log.entries if entry["kind"] == kind]
    return places[number]


def without(log: Log, index: int) -> Log:
    return resealed(log, [entry for entry in log.entries if entry["index"] != index])


def granted() -> tuple[Log, Ask]:
    """A log with a vote in advance, and an answer by a person after it."""
    log, root = builder.standing()
    ask = log.ask(root, "make_payment", {"amount": "5.00", "payee": "ACME"}, risk="HIGH", cost="5.00")
    log.request(ask)
    log.grant(ask)
    return log, ask


# --- what is found --------------------------------------------------------------------------------------------------


def test_that_a_launch_was_refused_does_not_show_that_any_was_safe(check: Check) -> None:
    log = running()
    log.refuse_launch("grants-changed", delegations=[])
    claim = check(log).claim("launches")
    assert (claim.verdict, claim.weighs) == (CANNOT_TELL, False)
    assert claim.evidence == {"attested": 0, "refused": 1}


def test_what_services_signed_is_shown_where_trust_json_names_them(check: Check) -> None:
    report = check(story())
    assert report.ok, human(report)
    assert {name: report.claim(name).verdict for name in NAMES} == dict.fromkeys(NAMES, VALID)
    assert report.claim("launches").evidence["attested"] == 1
    assert report.claim("launches").evidence["refused"] == 1
    assert report.claim("observations").evidence["observations"] == 3
    assert report.claim("canaries").evidence["passed"] == 3
    assert [limit for limit in report.limits if "between two observations" in limit]
    assert [limit for limit in report.limits if "which no canary tries" in limit]


def test_that_there_is_nothing_of_a_sort_proves_nothing_and_does_not_weigh(check: Check) -> None:
    report = check(running())
    assert report.ok, human(report)
    for name in NAMES:
        claim = report.claim(name)
        assert (claim.verdict, claim.weighs) == (CANNOT_TELL, False)
        assert "proves nothing" in claim.detail


@pytest.mark.parametrize("services", [None, [pinned(attestation.MONITOR)]], ids=["silent", "another one"])
def test_services_that_trust_json_does_not_name_are_the_servers_word(check: Check, services: Any) -> None:
    report = check(story(), services)
    assert report.verdict == CANNOT_TELL
    assert report.claim("launches").verdict == report.claim("canaries").verdict == CANNOT_TELL
    assert report.claim("observations").verdict == (VALID if services else CANNOT_TELL)


def test_a_trust_json_that_names_no_service_at_all_fails_what_services_signed(check: Check) -> None:
    report = check(story(), [])
    assert {report.claim(name).verdict for name in NAMES[:3]} == {INVALID}


def test_a_service_in_another_role_than_trust_json_says_fails(check: Check) -> None:
    others = [pinned(attestation.ORCHESTRATOR), pinned(attestation.MONITOR)]
    services = [*others, pinned(attestation.CANARIES, role=attestation.MONITOR)]
    assert check(story(), services).claim("canaries").verdict == INVALID


def test_drift_that_was_told_is_listed_and_keeps_the_claim(check: Check) -> None:
    log = story()
    launch = log.launch()
    index = seen_drifting(log, launch)
    log.observe("lau_nobody", matched=False)
    claim = check(log).claim("observations")
    assert (claim.verdict, claim.evidence["differing"], claim.evidence["unmatched"]) == (VALID, 1, 1)
    assert claim.evidence["drift"] == [{"index": index, "launch": launch, "codes": ["seccomp-missing"]}]
    assert f"entry {index} (seccomp-missing)" in claim.detail


def test_an_attack_that_got_through_is_invalid_and_named(check: Check) -> None:
    log = story()
    index = log.canaries(answers={"self-approval": (200, "")})
    claim = check(log).claim("canaries")
    assert claim.verdict == INVALID
    assert f"entry {index}: self-approval" in claim.detail


@pytest.mark.parametrize(
    ("answers", "wait", "says"),
    [
        ({"positive-control": (503, "busy")}, 0, "(control)"),
        ({}, 3600, "(gap)"),
        ({"forged-entry": (503, "busy")}, 0, "forged-entry"),
    ],
    ids=["without the control", "late", "refused otherwise"],
)
def test_periods_that_no_run_covers_are_listed_and_do_not_weigh(
    check: Check, answers: dict[str, Any], wait: int, says: str
) -> None:
    log = story()
    log.now += timedelta(seconds=wait)
    log.canaries(answers=answers)
    report = check(log)
    claim = report.claim("canaries")
    assert report.ok, human(report)
    assert (claim.verdict, claim.weighs) == (CANNOT_TELL, False)
    assert says in claim.detail


def test_a_run_that_is_due_and_did_not_come_is_told(check: Check) -> None:
    log = story()
    log.now += timedelta(hours=1)
    log.add("server.started", log.realm, SYSTEM, started(provenance=PROVENANCE))
    claim = check(log).claim("canaries")
    assert (claim.verdict, claim.weighs) == (CANNOT_TELL, False)
    assert "no run covers the time since" in claim.detail


def test_a_start_with_files_that_are_not_its_packages_is_invalid(check: Check) -> None:
    log = story()
    log.add("server.started", log.realm, SYSTEM, started(packages={"checked": 3, "wrong": ["django: views.py"]}))
    claim = check(log).claim("build")
    assert claim.verdict == INVALID
    assert "django: views.py" in claim.detail


def test_a_start_without_provenance_cannot_tell_and_does_not_weigh(check: Check) -> None:
    log = running()
    log.add("server.started", log.realm, SYSTEM, started())
    claim = check(log).claim("build")
    assert (claim.verdict, claim.weighs) == (CANNOT_TELL, False)
    assert "who built it" in claim.detail


def test_a_selective_bundle_shows_all_that_services_said_and_cannot_tell_of_the_rest(check: Check) -> None:
    log = story()
    log.allow(log.ask(next(iter(log.delegations))))
    report = check(log, requests=["act_" + "0" * 26])
    assert report.claim("launches").verdict == CANNOT_TELL
    assert report.claim("launches").evidence["attested"] == 1


def test_a_monitor_that_was_shown_another_log_says_so(check: Check) -> None:
    log = story()
    index = log.observe("lau_nobody", matched=False, log={"size": 3, "root": "sha256:" + "ab" * 32})
    claim = check(log).claim("observations")
    assert claim.verdict == INVALID
    assert f"entry {index} (observation.recorded)" in claim.detail


# --- what is hidden by saying nothing -------------------------------------------------------------------------------

SECOND = {"service": ids.service_id(key("second").public_key), "key": b64u(key("second").public_key)}


def by_another(monkeypatch: pytest.MonkeyPatch, log: Log) -> list[dict[str, str]]:
    """From now on a second service runs the canaries; the anchors of all."""
    anchors = [pinned(role) for role in attestation.ROLES]
    monkeypatch.setitem(SERVICE_KEYS, attestation.CANARIES, key("second"))
    log.service(attestation.CANARIES, key("second"))
    return [*anchors, {**SECOND, "role": attestation.CANARIES}]


def test_a_gap_between_the_canaries_of_two_services_is_listed(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    log = story()
    log.retire(attestation.CANARIES)
    log.now += timedelta(days=10)
    anchors = by_another(monkeypatch, log)
    log.canaries()
    claim = check(log, anchors).claim("canaries")
    assert (claim.verdict, claim.weighs) == (CANNOT_TELL, False)
    assert "between one service and the next nobody ran them" in claim.detail


def test_a_service_that_takes_over_at_once_leaves_no_gap(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    log = story()
    log.retire(attestation.CANARIES)
    anchors = by_another(monkeypatch, log)
    for _ in range(20):
        log.canaries()
    assert check(log, anchors).claim("canaries").verdict == VALID


def test_a_service_whose_runs_stopped_is_not_covered_by_those_of_another(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = story()
    anchors = by_another(monkeypatch, log)
    for _ in range(20):
        log.canaries()
    claim = check(log, anchors).claim("canaries")
    assert (claim.verdict, claim.weighs) == (CANNOT_TELL, False)
    assert "no run covers the time since" in claim.detail


def test_an_attack_that_got_through_is_found_behind_many_failures_and_out_of_order(check: Check) -> None:
    log = story()
    for _ in range(55):
        log.canaries(answers={"forged-entry": (500, "")})
    before = log.entries[place_of(log, "canary.reported")]["time"]
    log.canaries(answers={"self-approval": (200, "")}, at=before, **{"from": before})
    assert check(log).claim("canaries").verdict == INVALID


def test_an_end_that_was_made_up_does_not_hide_what_runs_on(check: Check) -> None:
    log = story()
    launch = log.launch()
    log.observe(launch)
    log.end_launch(launch)
    overtaken = [log.process(launch, seccomp=0)]
    log.observe(launch, matched=False, processes=overtaken)
    assert check(log).claim("observations").verdict == VALID
    log.now += timedelta(minutes=2)
    index = log.observe(launch, matched=False, processes=overtaken)
    report = check(log)
    claim = report.claim("observations")
    assert (claim.verdict, claim.evidence["after_end"]) == (CANNOT_TELL, 1)
    assert f"said to have ended: entries {index}" in claim.detail
    assert [limit for limit in report.limits if "no service signs the end of a launch" in limit]


def test_a_launch_that_nobody_looks_at_any_more_is_named(check: Check) -> None:
    log = story()
    launch = log.launch()
    log.observe(launch)
    log.now += timedelta(minutes=20)
    log.add("export.taken", "x", builder.by(ADA), EXPORT)
    claim = check(log).claim("observations")
    assert (claim.verdict, claim.weighs) == (CANNOT_TELL, False)
    assert launch in claim.detail


@pytest.mark.parametrize("tell", [story, running], ids=["beside others", "alone"])
def test_a_service_that_trust_json_names_and_the_log_does_not_know_weighs(
    check: Check, tell: Callable[[], Log]
) -> None:
    """Somebody with the server's keys leaves out a monitor with all that it ever said."""
    anchors = [*(pinned(role) for role in attestation.ROLES), {**SECOND, "role": attestation.MONITOR}]
    report = check(tell(), anchors)
    claim = report.claim("observations")
    assert (report.verdict, claim.verdict, claim.weighs) == (CANNOT_TELL, CANNOT_TELL, True)
    assert "this log never registered it" in claim.detail


# --- by somebody with all of the server's keys -----------------------------------------------------------------------

KINDS = ("launch.refused", "observation.recorded", "canary.reported")


@pytest.mark.parametrize("kind", KINDS)
def test_one_left_out_by_somebody_with_the_servers_keys_is_named(check: Check, kind: str) -> None:
    log = story()
    history = check(without(log, place_of(log, kind))).claim("history")
    after = {"launch.refused": "launch.attested"}.get(kind, kind)
    assert history.verdict == INVALID
    assert f"({after}) breaks rule 44 (service): {after}: of the " in history.detail
    assert "statement 0 is missing before statement 1: left out" in history.detail


@pytest.mark.parametrize("kind", KINDS[1:])
def test_two_that_changed_places_are_named(check: Check, kind: str) -> None:
    log = story()
    entries = list(log.entries)
    one, other = place_of(log, kind, 0), place_of(log, kind, 1)
    entries[one], entries[other] = entries[other], entries[one]
    history = check(resealed(log, entries)).claim("history")
    assert history.verdict == INVALID
    assert f"entry {one} ({kind}) breaks rule 44 (service): {kind}: of the " in history.detail
    assert "statement 0 is missing before statement 1" in history.detail


@pytest.mark.parametrize("kind", KINDS[1:])
def test_one_made_up_by_the_server_is_named(check: Check, kind: str) -> None:
    """The server signs a statement with a key of its own, in the service's name and place."""
    log = story()
    place = place_of(log, kind)
    said = attestation.open_statement(log.entries[place]["body"]["statement"].encode())
    forged = attestation.seal(said.predicate_type, said.subjects, said.predicate, builder.DECISION_KEY)
    entries = copy.deepcopy(log.entries)
    entries[place]["body"]["statement"] = forged.decode()
    history = check(resealed(log, entries)).claim("history")
    assert history.verdict == INVALID
    assert f"entry {place} ({kind}) breaks rule 44 (service)" in history.detail
    assert "did not sign the statement: it is made up" in history.detail


def test_one_made_up_with_the_services_own_key_is_found_by_its_next_statement(check: Check) -> None:
    """Whoever took the monitor's key, or made it run twice: the monitor's own next statement does not follow."""
    log = running()
    launch = log.launch()
    log.observe(launch)
    own = copy.deepcopy(log.trees)
    log.observe(launch, processes=[log.process(launch, pid=8)])
    log.trees = own
    index = log.observe(launch)
    history = check(log).claim("history")
    assert history.verdict == INVALID
    assert f"entry {index} (observation.recorded)" in history.detail
    assert "this is statement 1, and 2 are here before it" in history.detail


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_a_vote_in_advance_that_was_left_out_is_named_by_the_next_statement_of_a_person(
    check: Check, later: bool
) -> None:
    log, ask = granted()
    said = log.statement(ask, RUI, credential=builder.name_of(builder.PEOPLE_KEYS[RUI]))
    if later:
        log.add("export.taken", "x", builder.by(ADA), EXPORT)
    vote = log.vote(ask, RUI, raw=said)
    claim = check(without(log, place_of(log, "grant.issued"))).claim("statements" if later else "history")
    assert claim.verdict == INVALID
    assert f"entry {vote - 1} (vote.cast)" in claim.detail
    assert "left out" in claim.detail


def test_a_vote_in_advance_that_the_server_made_up_is_named(check: Check) -> None:
    log, _ = granted()
    entries, place = copy.deepcopy(log.entries), place_of(log, "grant.issued")
    body = entries[place]["body"]
    body["statement"] = canonical.dumps({**canonical.loads(body["statement"].encode()), "max_uses": 50}).decode()
    history = check(resealed(log, entries)).claim("history")
    assert history.verdict == INVALID
    assert f"entry {place} (grant.issued) breaks rule" in history.detail


def test_a_delegation_that_the_server_made_up_is_named(check: Check) -> None:
    log, _ = builder.standing()
    log.issue(log.document(), key("decision"))
    history = check(log).claim("history")
    assert history.verdict == INVALID
    assert f"entry {len(log.entries) - 1} (delegation.issued) breaks rule" in history.detail


def test_the_tree_of_a_service_is_over_the_texts_of_its_statements() -> None:
    texts = [
        entry["body"]["statement"].encode()
        for entry in story().entries
        if entry["actor"] == service_actor(attestation.MONITOR)
    ]
    root = merkle.root_of(map(merkle.leaf_hash, texts[:-1]))
    own = attestation.open_statement(texts[-1]).predicate["own"]
    assert own == {"size": len(texts) - 1, "root": f"sha256:{root.hex()}"}


# --- trust.json -----------------------------------------------------------------------------------------------------


def test_trust_json_refuses_a_service_under_another_services_key() -> None:
    services = [pinned(attestation.MONITOR, key=b64u(key("x").public_key))]
    with pytest.raises(trust.TrustError, match="another service"):
        trust.parse(canonical.dumps({"realm": builder.REALM, "services": services}))


@pytest.mark.parametrize("twice", [{}, {"role": attestation.ORCHESTRATOR}], ids=["same role", "two roles"])
def test_trust_json_names_a_service_once(twice: dict[str, str]) -> None:
    services = [pinned(attestation.MONITOR), pinned(attestation.MONITOR, **twice)]
    with pytest.raises(trust.TrustError, match="twice"):
        trust.parse(canonical.dumps({"realm": builder.REALM, "services": services}))


def test_no_service_has_the_logs_own_key() -> None:
    public = builder.DECISION_KEY.public_key
    service = {"service": ids.service_id(public), "role": attestation.MONITOR, "key": b64u(public)}
    with pytest.raises(trust.TrustError, match="two purposes"):
        trust.parse(canonical.dumps({**builder.trust_document(running()), "services": [service]}))
