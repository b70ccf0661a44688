"""The scan of all grants, by itself: it finds what the rules would not have let in, and nothing where all is well."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imprimatur.formats import delegation, digests, evidence_zip, ids, selection, sshsig
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import narrowing, tools
from imprimatur.rules import policy as policies
from imprimatur.verify import grant_files, grant_history, grant_words
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, Claim
from imprimatur.verify.grant_history import (
    AGENT_KEYS,
    BY_AGENTS,
    NOT_NARROWER,
    UNREADABLE,
    WITHOUT_ROOT,
    GrantHistory,
)
from imprimatur.verify.grant_rows import ENDED, LIVE, STOPPED, WAITING
from tests.verify import builder
from tests.verify.builder import ADA, CHILD, PEOPLE_KEYS, ROBO, ROSA, RUI, Log, by, fingerprint, key
from tests.verify.reading import read
from tests.verify.test_bundle import anchors

Check = Callable[..., Any]


def scanned(log: Log, **options: Any) -> GrantHistory:
    """What the scan says of a log, lawful or not: it looks at entries alone."""
    history = GrantHistory(**options)
    for index, raw in enumerate(log.envelopes):
        history.read(index, raw)
    return history


def sorts(log: Log) -> dict[str, int]:
    """What must not be, and is: how often."""
    return {sort: count for sort, count in scanned(log).violations().items() if count}


def granted() -> tuple[Log, str]:
    """Robo and child are enrolled, and robo holds a root from Ada."""
    log, root = builder.standing()
    log.enrol(CHILD, "child")
    return log, root


# --- what is lawful ---------------------------------------------------------------------------------------------------


def test_a_good_log_has_no_grant_without_a_person_and_every_chain_traces_to_one() -> None:
    log = builder.whole_story()
    history = scanned(log)
    assert set(history.violations().values()) == {0} and history.findings() == []
    assert {row.person for row in history.delegations.values()} == {ADA, RUI}
    issued = [entry["index"] for entry in log.entries if entry["kind"] == "delegation.issued"]
    given = {"tool.registered", "policy.activated", "grant.issued", "delegation.issued", "service.registered"}
    assert [row.index for row in history.rows()] == [entry["index"] for entry in log.entries if entry["kind"] in given]
    assert [row.index for row in history.delegations.values()] == issued


def test_each_way_to_end_is_told_with_who_when_and_why() -> None:
    log, root = granted()
    child = log.child_of(root)
    short = log.root(not_after=format_time(log.now + timedelta(seconds=2)))
    kept = log.root(subject=CHILD)
    cause = log.revoke(root)
    agent = ids.agent_id(CHILD.public_key)
    stop = log.add("agent.suspended", agent, by(RUI), {"agent": agent, "reason": "odd"})
    history = scanned(log)
    standings = {name: history.standings()[row.index] for name, row in history.delegations.items()}
    assert standings[root].ending is not None and standings[child].ending is not None
    assert (standings[root].state, standings[root].ending.how, standings[root].ending.entry) == (
        ENDED,
        "revoked",
        cause,
    )
    assert (standings[root].ending.by, standings[root].ending.why) == (ADA, "over")
    assert (standings[child].state, standings[child].ending.how) == (ENDED, "parent")
    assert (standings[child].ending.of, standings[child].ending.entry) == (root, cause)
    assert standings[short].ending is not None and standings[short].ending.how == "expired"
    assert standings[kept].state == STOPPED and standings[kept].ending is not None
    assert (standings[kept].ending.how, standings[kept].ending.entry) == ("suspended", stop)
    said = grant_words.how(standings[kept], history.holders.name)
    assert "child was suspended" in said and "by Rui: odd" in said and said.endswith("as long as that lasts")
    log.add("agent.resumed", agent, by(ADA), {"agent": agent, "reason": "fine"})
    history = scanned(log)
    assert history.standings()[history.delegations[kept].index].state == LIVE
    assert history.standings(format_time(log.now + timedelta(days=99)))[history.delegations[kept].index].state == ENDED


def test_what_has_not_begun_waits() -> None:
    log, _ = granted()
    later = log.root(not_before=format_time(log.now + timedelta(days=1)))
    history = scanned(log)
    assert history.standings()[history.delegations[later].index].state == WAITING


def test_a_key_revoked_from_before_it_signed_ends_what_it_gave_and_puts_the_root_in_doubt() -> None:
    log, root = granted()
    before = log.entries[scanned(log).delegations[root].index - 1]["time"]
    lost = {"person": ADA, "fingerprint": fingerprint(PEOPLE_KEYS[ADA]), "since": before, "reason": "stolen"}
    log.add("person.key_revoked", ADA, by(ADA), lost)
    history = scanned(log)
    standing = history.standings()[history.delegations[root].index]
    assert standing.state == ENDED and standing.ending is not None
    assert (standing.ending.how, standing.ending.since, standing.ending.why) == ("key", before, "stolen")
    assert history.counts()["delegations"]["in_doubt"] == 1
    assert history.violations()[WITHOUT_ROOT] == 0, "at its time a person's key signed it"


def test_an_agents_key_revoked_since_ends_what_it_passed_on() -> None:
    log, root = granted()
    child = log.child_of(root)
    agent = ids.agent_id(ROBO.public_key)
    body = {"agent": agent, "thumbprint": ROBO.thumbprint, "since": log.entries[-1]["time"], "reason": "leaked"}
    log.add("agent.key_revoked", agent, by(ADA), body)
    history = scanned(log)
    standing = history.standings()[history.delegations[child].index]
    assert standing.ending is not None and (standing.ending.how, standing.ending.why) == ("key", "leaked")
    assert history.standings()[history.delegations[root].index].state == LIVE


def test_the_vouched_key_lapses_with_its_vouchers_and_takes_its_grants_along() -> None:
    log, _ = granted()
    newer = builder.passkey()
    log.holder(ROSA, newer, RUI)
    root = log.issue(log.document(issuer=ROSA, subject=CHILD), newer)
    read(log)
    rui = fingerprint(PEOPLE_KEYS[RUI])
    since = log.entries[scanned(log).delegations[root].index - 3]["time"]
    log.add("person.key_revoked", RUI, by(RUI), {"person": RUI, "fingerprint": rui, "since": since, "reason": "lost"})
    read(log)
    history = scanned(log)
    standing = history.standings()[history.delegations[root].index]
    assert standing.ending is not None and standing.ending.how == "key" and "lapsed with the key" in standing.ending.why


def test_changes_of_a_tool_are_told_facet_by_facet_and_who_signed_them() -> None:
    log, _ = granted()
    wider = builder.tool_document(
        "read_file",
        schema={
            "type": "object",
            "properties": {"path": {"type": "string"}, "host": {"type": "string"}},
            "required": ["host"],
            "additionalProperties": False,
        },
        effects=[{"action": "file:read", "resource": "{path}"}, {"action": "network:http", "resource": "{host}"}],
        minimum_risk="MEDIUM",
        reversibility="reversible",
    )
    before = tools.digest(builder.READ)
    body = {"tool": "read_file", "document": wider, "digest": tools.digest(wider), "replaces": before}
    index = log.agreed("tool.registered", "read_file", body)
    gone = log.add(
        "tool.retired",
        "call_model",
        by(ADA),
        {"tool": "call_model", "digest": tools.digest(builder.CALL), "reason": "unused"},
    )
    read(log)
    history = scanned(log)
    new = next(row for row in history.versions if row.index == index)
    assert new.replaces == before and [signed.person for signed in new.signers] == [ADA, RUI]
    assert new.changed["schema"] == "new host; host is required"
    assert new.changed["effects"] == "file:read {path}, network:http {host}; was file:read {path}"
    assert new.changed["minimum_risk"] == "MEDIUM; was nothing"
    assert new.changed["reversibility"] == "reversible; was read-only"
    old = next(row for row in history.versions if row.digest == before)
    assert old.ended is not None and (old.ended.how, old.ended.entry) == ("replaced", index)
    retired = next(row for row in history.versions if row.name == "call_model")
    assert retired.ended is not None and (retired.ended.how, retired.ended.entry) == ("retired", gone)
    counts = history.counts()["tools"]
    assert counts == {"new": 4, "changed": 1, "retired": 1, "signed_by_two": 1, "by_one_unsigned": 4}


def test_a_new_policy_says_what_is_other_and_ends_the_votes_in_advance_under_the_old() -> None:
    log, root = granted()
    ask = log.ask(root, "make_payment", {"amount": "5.00", "payee": "ACME"}, risk="HIGH", cost="5.00")
    log.request(ask)
    grant = log.grant(ask, RUI)
    stricter = {**builder.POLICY, "default_risk": "CRITICAL", "rules": builder.POLICY["rules"][:1]}
    digest = policies.digest(stricter)
    body = {"policy": digest, "number": 2, "document": stricter, "replaces": log.policy_digest}
    index = log.agreed("policy.activated", digest, body)
    read(log)
    history = scanned(log)
    newest = history.versions[-1]
    assert newest.changed == {"default_risk": "CRITICAL; was HIGH", "rules": "without medium"}
    standing = history.standings()[history.in_advance[grant].index]
    assert standing.ending is not None and (standing.ending.how, standing.ending.entry) == ("policy", index)


def test_a_vote_in_advance_is_used_up_by_its_last_use_and_uses_are_told_only_where_all_are_there() -> None:
    log, root = granted()

    def pay() -> Any:
        return log.ask(root, "make_payment", {"amount": "5.00", "payee": "ACME"}, risk="HIGH", cost="5.00")

    model = pay()
    log.request(model)
    grant = log.grant(model, RUI, max_uses=1)
    used = log.allow(pay(), grant=grant)
    read(log)
    history = scanned(log)
    standing = history.standings()[history.in_advance[grant].index]
    assert standing.ending is not None and (standing.ending.how, standing.ending.entry) == ("used-up", used)
    assert history.in_advance[grant].uses == 1
    part = scanned(log, whole=False)
    assert part.in_advance[grant].uses is None and "used" not in part.counts()["in_advance"]
    assert part.standings()[part.in_advance[grant].index].state == LIVE


# --- what is forged -----------------------------------------------------------------------------------------------------


def _agent_signed_root() -> Log:
    log, _ = granted()
    document = log.document(issuer=ids.agent_id(ROBO.public_key), subject=CHILD)
    signature = {"kind": "ed25519", "key": ROBO.thumbprint, "value": b64u(ROBO.sign(b"me myself"))}
    name = digests.tagged(delegation.TYP, delegation.canonical.dumps(document))
    body = {"delegation": name, "document": document, "signature": signature}
    log.add("delegation.issued", name, builder.agent_actor(ROBO), body)
    return log


def _orphan() -> Log:
    log, root = granted()
    log.delegations["gone"] = {**log.delegations[root]}
    nobody = digests.sha256(b"nobody ever saw this parent")
    document = log.document(issuer=ids.agent_id(ROBO.public_key), subject=CHILD, parent=nobody, max_depth=1)
    log.issue(document, ROBO)
    return log


def _agents_key_as_a_persons() -> Log:
    """The operator registers an agent's very key as a person's, and the agent signs a root with it."""
    log, _ = granted()
    log.person_key(ROSA, ROBO)
    log.issue(log.document(issuer=ROSA, subject=CHILD), ROBO)
    return log


def _persons_key_becomes_an_agents() -> Log:
    """The other way round: what is a person's key today is enrolled as an agent's tomorrow."""
    log, _ = granted()
    log.person_key(ROSA, key("shared"))
    log.issue(log.document(issuer=ROSA, subject=CHILD), key("shared"))
    log.enrol(key("shared"), "late")
    return log


def _widened() -> Log:
    log, root = granted()
    log.child_of(root, scope=["file:*:/", "shell:run"])
    return log


def _richer() -> Log:
    log, root = granted()
    log.child_of(root, spend={"unit": "USD", "limit": "100.01"})
    return log


def _not_signed_by_its_issuer() -> Log:
    log, root = granted()
    log.child_of(root)
    entry = log.entries[-1]
    times = {name: entry["body"]["document"][name] for name in ("not_before", "not_after")}
    fields = {"subject": CHILD, "parent": root, "max_depth": 1, "scope": ["file:read:/project"], **times}
    forged = log.document(issuer=ids.agent_id(ROBO.public_key), **fields)
    signature = {**entry["body"]["signature"]}
    name = delegation.delegation_id(forged)
    body = {"delegation": name, "document": forged, "signature": signature}
    log.add("delegation.issued", name, builder.agent_actor(ROBO), body)
    return log


def _by_somebody_without_the_role() -> Log:
    log, _ = granted()
    log.person_key(builder.AUDRA, key("audra"))
    log.issue(log.document(issuer=builder.AUDRA, subject=CHILD), key("audra"))
    return log


def _with_a_revoked_key() -> Log:
    log, _ = granted()
    lost = {"person": RUI, "fingerprint": fingerprint(PEOPLE_KEYS[RUI]), "since": format_time(log.now), "reason": "l"}
    log.add("person.key_revoked", RUI, by(RUI), lost)
    log.issue(log.document(issuer=RUI, subject=CHILD), PEOPLE_KEYS[RUI])
    return log


def _key_nobody_vouched_for() -> Log:
    log, _ = granted()
    log.enrol_key(ROSA, key("rosa 2"))
    log.issue(log.document(issuer=ROSA, subject=CHILD), key("rosa 2"))
    return log


def _for_another_realm() -> Log:
    log, _ = granted()
    log.issue(log.document(realm="gate.example/staging"), PEOPLE_KEYS[ADA])
    return log


def _under_a_revoked_parent() -> Log:
    log, root = granted()
    log.revoke(root)
    log.child_of(root)
    return log


def _under_an_expired_parent() -> Log:
    log, _ = granted()
    short = log.root(not_after=format_time(log.now + timedelta(seconds=2)))
    log.now += timedelta(seconds=5)
    log.child_of(short)
    return log


def _below_a_forged_root() -> Log:
    log = _by_somebody_without_the_role()
    log.issue(
        log.document(
            issuer=ids.agent_id(CHILD.public_key),
            subject=ROBO,
            parent=log.entries[-1]["subject"],
            max_depth=1,
            not_before=log.entries[-1]["body"]["document"]["not_before"],
            not_after=log.entries[-1]["body"]["document"]["not_after"],
        ),
        CHILD,
    )
    return log


def _an_agent_registers_a_tool() -> Log:
    log, _ = granted()
    log.tool(builder.tool_document("anything"), builder.agent_actor(ROBO))
    return log


def _said_to_be_signed_by_two() -> Log:
    log, _ = granted()
    document = builder.tool_document("anything")
    log.tool(document, change=log.propose("tool.registered", "anything", {}))
    return log


def _seconded_by_the_same_person() -> Log:
    log, _ = granted()
    document = builder.tool_document("anything")
    body = {"tool": "anything", "document": document, "digest": tools.digest(document)}
    change = log.propose("tool.registered", "anything", body)
    log.second(change, ADA)
    log.add("tool.registered", "anything", by(ADA), {**body, "change": change})
    return log


def _resumes_itself() -> Log:
    log, _ = granted()
    agent = ids.agent_id(ROBO.public_key)
    log.add("agent.suspended", agent, by(ADA), {"agent": agent, "reason": "odd"})
    log.add("agent.resumed", agent, builder.agent_actor(ROBO), {"agent": agent, "reason": "I am fine"})
    return log


def _rests_on_a_vote_that_nobody_gave() -> Log:
    log, root = granted()
    ask = log.ask(root, "make_payment", {"amount": "5.00", "payee": "ACME"}, risk="HIGH", cost="5.00")
    log.allow(ask, grant=digests.sha256(b"none"))
    return log


def _to_nobody() -> Log:
    log, _ = granted()
    log.root(subject=key("never enrolled"))
    return log


def _not_an_entry() -> Log:
    log, _ = granted()
    log.envelopes.append(b"{}")
    return log


def _malformed() -> Log:
    log, root = granted()
    log.add("delegation.issued", root, by(ADA), {"delegation": root, "document": {"scope": "all"}, "signature": {}})
    return log


FORGED: dict[str, tuple[Callable[[], Log], set[str]]] = {
    "a root that an agent signed": (_agent_signed_root, {WITHOUT_ROOT, BY_AGENTS, AGENT_KEYS}),
    "a child without a parent": (_orphan, {WITHOUT_ROOT}),
    "a root signed with an agent's key": (_agents_key_as_a_persons, {AGENT_KEYS}),
    "a root signed with what became an agent's key": (_persons_key_becomes_an_agents, {AGENT_KEYS}),
    "a child wider in scope": (_widened, {NOT_NARROWER}),
    "a child with more money": (_richer, {NOT_NARROWER}),
    "a child under somebody else's signature": (_not_signed_by_its_issuer, {WITHOUT_ROOT}),
    "a root of somebody who is no admin": (_by_somebody_without_the_role, {WITHOUT_ROOT}),
    "a root signed with a revoked key": (_with_a_revoked_key, {WITHOUT_ROOT}),
    "a root signed with a key nobody vouched for": (_key_nobody_vouched_for, {WITHOUT_ROOT}),
    "a root for another realm": (_for_another_realm, {WITHOUT_ROOT}),
    "a child of what was revoked": (_under_a_revoked_parent, {WITHOUT_ROOT}),
    "a child of what was over": (_under_an_expired_parent, {WITHOUT_ROOT}),
    "a child of a forged root": (_below_a_forged_root, {WITHOUT_ROOT}),
    "a tool that an agent registered": (_an_agent_registers_a_tool, {BY_AGENTS}),
    "a tool that two did not sign": (_said_to_be_signed_by_two, {WITHOUT_ROOT}),
    "a tool that one signed twice": (_seconded_by_the_same_person, {WITHOUT_ROOT}),
    "an agent that lifts its own suspension": (_resumes_itself, {BY_AGENTS}),
    "an allowed action on a vote nobody gave": (_rests_on_a_vote_that_nobody_gave, {WITHOUT_ROOT}),
    "a root for an agent that never was": (_to_nobody, {WITHOUT_ROOT}),
    "bytes that are no entry": (_not_an_entry, {UNREADABLE}),
    "a delegation that cannot be read": (_malformed, {UNREADABLE}),
}


@pytest.mark.parametrize("name", FORGED)
def test_invariant_4_what_was_forged_without_the_rules_is_found_by_the_scan_alone(name: str) -> None:
    forge, expected = FORGED[name]
    found = sorts(forge())
    assert set(found) == expected, found
    assert all(why.why for why in scanned(forge()).findings())


def test_a_forged_grant_is_named_by_its_entry_and_its_row_says_why() -> None:
    log = _widened()
    history = scanned(log)
    (finding, *_) = history.findings()
    assert finding.index == len(log.entries) - 1
    row = next(row for row in history.rows() if row.index == finding.index)
    assert row.faults and "scope" in row.faults[0]
    assert "MUST NOT BE" in b"\n".join(grant_files.tree_lines(history)).decode()


def test_everything_below_a_forged_root_traces_to_nobody() -> None:
    history = scanned(_below_a_forged_root())
    assert [row.person for row in history.delegations.values()] == [ADA, "", ""]
    assert history.violations()[WITHOUT_ROOT] == 2


def test_an_ssh_key_and_an_agents_key_are_the_same_when_their_bytes_are() -> None:
    finding = next(each for each in scanned(_agents_key_as_a_persons()).findings() if each.sort == AGENT_KEYS)
    assert (
        ROBO.thumbprint in finding.why and sshsig.parse_public_key(builder.ssh_line(ROBO)).public_key == ROBO.public_key
    )


# --- any history ------------------------------------------------------------------------------------------------------

AGENTS = [key(f"agent {number}") for number in range(3)]
SCOPES = ["file:*:/project", "file:read:/project", "file:read:/project/src", "payment:send", "shell:run", "file:*"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["root", "pass", "revoke", "suspend", "resume", "tool", "wait", "lost"]),
        st.integers(0, 99),
        st.integers(0, 99),
        st.lists(st.sampled_from(SCOPES), min_size=1, max_size=3, unique=True),
        st.sampled_from(["0.00", "10.00", "50.00", "100.00"]),
    ),
    max_size=14,
)


def _step(log: Log, step: tuple[str, int, int, list[str], str]) -> None:
    """One thing that somebody tries. Whether it is lawful is not asked here."""
    what, one, other, scope, limit = step
    names = list(log.delegations)
    agent = AGENTS[one % len(AGENTS)]
    if what == "root":
        person = (ADA, RUI, ROSA)[other % 3]
        fields = {"issuer": person, "subject": agent, "scope": scope, "max_depth": other % 4}
        log.issue(log.document(**fields, spend={"unit": "USD", "limit": limit}), PEOPLE_KEYS[person])
    elif what == "pass" and names:
        parent = names[other % len(names)]
        above = log.delegations[parent]
        issuer = next(each for each in AGENTS if ids.agent_id(each.public_key) == above["subject"])
        fields = {
            "issuer": above["subject"],
            "subject": agent,
            "parent": parent,
            "scope": scope if one % 2 else above["scope"],
            "spend": {"unit": "USD", "limit": limit},
            "not_before": above["not_before"],
            "not_after": above["not_after"],
            "max_depth": max(above["max_depth"] - 1 - one % 2, 0),
        }
        log.issue(log.document(**fields), issuer)
    elif what == "revoke" and names:
        log.revoke(names[other % len(names)])
    elif what in ("suspend", "resume"):
        name = ids.agent_id(agent.public_key)
        kind = "agent.suspended" if what == "suspend" else "agent.resumed"
        log.add(kind, name, by(ADA), {"agent": name, "reason": "r"})
    elif what == "tool":
        document = builder.tool_document(f"tool_{one % 3}", title=f"t{other}")
        log.agreed("tool.registered", document["name"], _registering(log, document))
    elif what == "wait":
        log.now += timedelta(days=one % 20)
    elif what == "lost":
        name = ids.agent_id(agent.public_key)
        since = format_time(log.now - timedelta(days=other % 3))
        body = {"agent": name, "thumbprint": agent.thumbprint, "since": since, "reason": "r"}
        log.add("agent.key_revoked", name, by(ADA), body)


def _registering(log: Log, document: dict[str, Any]) -> dict[str, Any]:
    body = {"tool": document["name"], "document": document, "digest": tools.digest(document)}
    done = [entry["body"] for entry in log.entries if entry["kind"] == "tool.registered"]
    before = [known["digest"] for known in done if known["tool"] == document["name"]]
    return {**body, "replaces": before[-1]} if before else body


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_invariant_4_in_any_lawful_history_every_capability_traces_to_a_person_and_nothing_is_found(
    steps: list[tuple[str, int, int, list[str], str]],
) -> None:
    """Random steps; those that the rules refuse are taken back. The scan, which knows no rule, finds nothing."""
    from imprimatur.verify.history import BrokenRule

    log = Log().found()
    for number, pair in enumerate(AGENTS):
        log.enrol(pair, f"agent {number}")
    history = read(log)
    for step in steps:
        size, kept, now = len(log.entries), dict(log.delegations), log.now
        snapshot = history.snapshot()
        _step(log, step)
        try:
            for index in range(size, len(log.entries)):
                history.feed(index, log.envelopes[index])
        except BrokenRule:
            del log.entries[size:], log.envelopes[size:]
            log.delegations, log.now = kept, now
            history = type(history).restore(json.loads(json.dumps(snapshot)))
    found = scanned(log)
    assert set(found.violations().values()) == {0}, found.findings()
    assert set(found.delegations) == set(log.delegations)
    for row in found.delegations.values():
        assert row.person in (ADA, RUI, ROSA)
        root = found.delegations[row.root]
        assert root.parent is None and root.document["issuer"] == row.person
        if row.parent is not None:
            assert not narrowing.problems(found.delegations[row.parent].document, row.document)
            assert row.narrower
    live = {name for name, row in found.delegations.items() if found.standings()[row.index].state in (LIVE, WAITING)}
    assert live == {name for name in log.delegations if _stands(history.facts, name)}
    documents = list(found.documents())
    assert [line["index"] for line in documents] == sorted(line["index"] for line in documents)


def _stands(facts: Any, name: str) -> bool:
    """Whether the rules would let the holder act under it now; they forget what is long over."""
    from imprimatur.verify import authority

    links = authority.chain_of(facts, name)
    if links is None or authority.dead_link(facts, links) is not None:
        return False
    over = any(link.document["not_after"] <= facts.now for _, link in links)
    return not over and not facts.agents[links[-1][1].document["subject"]].suspended


# --- in a bundle --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log() -> Log:
    return builder.whole_story()


@pytest.fixture
def check(tmp_path: Path, log: Log) -> Check:
    """The claim about capabilities of a bundle of these files."""

    def run(files: dict[str, bytes], of: Log = log) -> Claim:
        (tmp_path / "bundle.zip").write_bytes(builder.zipped(builder.finished(files, of)))
        return verify_bundle(tmp_path / "bundle.zip", anchors(of)).claim("capabilities")

    return run


def changed(files: dict[str, bytes], change: Callable[[list[bytes]], Any], name: str) -> dict[str, bytes]:
    lines = files[name].splitlines()
    change(lines)
    return {**files, name: b"".join(line + b"\n" for line in lines)}


def test_a_good_bundle_proves_its_capabilities_with_the_numbers(check: Check, log: Log) -> None:
    claim = check(builder.bundle_files(log))
    assert claim.verdict == VALID, claim.detail
    assert claim.controls == ("AC-2", "AC-6(7)", "AC-6(10)")
    assert {claim.evidence[sort] for sort in grant_history.VIOLATIONS} == {0}
    assert claim.evidence["entries"] == len(log.entries)
    assert claim.evidence["delegations"]["from_people"] == 2


HISTORY = "grants/history.jsonl"


def test_a_removed_row_is_named_by_line_and_entry(check: Check, log: Log) -> None:
    files = builder.bundle_files(log)
    rows = [json.loads(line)["index"] for line in files[HISTORY].splitlines()]
    claim = check(changed(files, lambda lines: lines.pop(3), HISTORY))
    assert claim.verdict == INVALID
    assert claim.detail == f"{HISTORY} line 4 is of entry {rows[4]}, where the row of entry {rows[3]} belongs"
    claim = check(changed(files, lambda lines: lines.pop(), HISTORY))
    assert claim.detail == f"{HISTORY} ends before the row of entry {rows[-1]}"


def test_reordered_rows_are_named(check: Check, log: Log) -> None:
    files = builder.bundle_files(log)
    rows = [json.loads(line)["index"] for line in files[HISTORY].splitlines()]
    claim = check(changed(files, lambda lines: lines.insert(0, lines.pop(1)), HISTORY))
    assert claim.detail == f"{HISTORY} line 1 is of entry {rows[1]}, where the row of entry {rows[0]} belongs"


def test_a_forged_or_added_row_is_named(check: Check, log: Log) -> None:
    files = builder.bundle_files(log)
    rows = [json.loads(line)["index"] for line in files[HISTORY].splitlines()]

    def forge(lines: list[bytes]) -> None:
        at = next(place for place, line in enumerate(lines) if b'"delegation"' in line)
        lines[at] = lines[at].replace(b'"state":"ended"', b'"state":"live"')

    place = next(at for at, line in enumerate(files[HISTORY].splitlines()) if b'"delegation"' in line)
    claim = check(changed(files, forge, HISTORY))
    assert claim.detail == f"{HISTORY} line {place + 1} does not say what entry {rows[place]} says"
    claim = check(changed(files, lambda lines: lines.append(lines[0]), HISTORY))
    assert claim.verdict == INVALID and f"line {len(rows) + 1} is of no entry" in claim.detail


@pytest.mark.parametrize("name", grant_files.NAMES)
def test_a_missing_or_changed_file_is_named(check: Check, log: Log, name: str) -> None:
    files = builder.bundle_files(log)
    place = f"grants/{name}"
    without = {other: raw for other, raw in files.items() if other != place}
    assert check(without).detail == f"{place} is missing"
    other = files[place].replace(b'"initiated_by_agents":0', b'"initiated_by_agents":1').replace(b"0  ", b"1  ")
    if name != "history.jsonl":
        assert other != files[place]
        claim = check({**files, place: other})
        assert claim.verdict == INVALID and claim.detail.startswith(f"{place} line ")
    assert check({**files, place: files[place] + b"x"}).verdict == INVALID
    assert check({**files, "grants/more.txt": b"x"}).detail == "grants/more.txt does not belong into a bundle"


def test_a_bundle_without_the_folder_is_told_and_its_entries_are_scanned_all_the_same(check: Check, log: Log) -> None:
    files = {name: raw for name, raw in builder.bundle_files(log).items() if not name.startswith("grants/")}
    claim = check(files)
    assert claim.verdict == VALID and "has no grants/" in claim.detail
    assert claim.evidence["delegations"]["from_people"] == 2


def test_the_scan_goes_on_after_the_first_broken_rule_to_the_end(check: Check) -> None:
    """An operator who signs what breaks a rule early on hides nothing that comes later."""
    forged = _orphan()
    forged.tool(builder.tool_document("anything"), builder.agent_actor(ROBO))
    claim = check(builder.bundle_files(forged), forged)
    assert claim.verdict == INVALID
    assert claim.evidence[WITHOUT_ROOT] == 1 and claim.evidence[BY_AGENTS] == 1
    assert claim.evidence["entries"] == len(forged.entries)


def test_what_is_found_is_invalid_though_the_files_say_it_honestly(check: Check) -> None:
    forged = _widened()
    claim = check(builder.bundle_files(forged), forged)
    assert claim.verdict == INVALID and f"entry {len(forged.entries) - 1}: " in claim.detail


def test_a_selective_bundle_holds_the_same_rows_and_cannot_tell_of_what_is_left_out(check: Check, log: Log) -> None:
    request = next(entry["subject"] for entry in log.entries if entry["kind"] == "action.decided")
    shown = builder.chosen(log, request)
    files = builder.bundle_files(log, filters={"requests": [request]}, shown=shown)
    claim = check(files)
    assert claim.verdict == CANNOT_TELL, claim.detail
    whole = scanned(log)
    rows = [json.loads(line) for line in files[HISTORY].splitlines()]
    assert [row["index"] for row in rows] == [row.index for row in whole.rows()]
    assert not any("uses" in row for row in rows)
    claim = check(changed(files, lambda lines: lines.pop(0), HISTORY))
    assert claim.verdict == INVALID


def test_what_the_scan_looks_at_is_in_every_bundle_but_for_uses() -> None:
    assert grant_history.KINDS - {grant_history.USE} <= selection.AUTHORITY


def test_the_drawing_is_inert_whatever_an_agent_is_called() -> None:
    log = Log().found()
    log.enrol(ROBO, "robo\x1b[31m\u202e\n[99] forged line")
    log.root(purpose="x\ny")
    lines = b"\n".join(grant_files.tree_lines(scanned(log))).decode()
    assert "\x1b" not in lines and "\u202e" not in lines
    assert not any(line.startswith("[99]") for line in lines.splitlines())


def test_the_same_entries_give_the_same_files_with_nothing_but_the_standard_library(tmp_path: Path, log: Log) -> None:
    from tests.verify.test_bundle import alone, written

    files = builder.finished(builder.bundle_files(log), log)
    bundle, trusted = written(tmp_path, files, log)
    done = alone(bundle, "--trust", trusted, "--json")
    assert done.returncode == 0, done.stderr
    claims = {claim["name"]: claim for claim in json.loads(done.stdout)["claims"]}
    assert claims["capabilities"]["verdict"] == VALID
    assert evidence_zip.Reader(bundle).read("grants/counts.json") == files["grants/counts.json"]


def test_a_chain_as_long_as_forgers_like_is_drawn_without_recursion() -> None:
    log, root = granted()
    pairs: list[KeyPair] = [ROBO, CHILD]
    for depth in range(40):
        issuer, subject = pairs[depth % 2], pairs[(depth + 1) % 2]
        above = log.delegations[root]
        fields = {"not_before": above["not_before"], "not_after": above["not_after"], "max_depth": 0}
        root = log.issue(
            log.document(issuer=ids.agent_id(issuer.public_key), subject=subject, parent=root, **fields), issuer
        )
    history = scanned(log)
    assert max(row.depth for row in history.delegations.values()) == 40
    drawn = [line.decode().strip("│ ") for line in grant_files.tree_lines(history)]
    assert sum(line.startswith("└─ ") for line in drawn) == 40
    assert history.violations()[NOT_NARROWER] > 20
