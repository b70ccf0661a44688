"""The page of every grant: it says what bundles and verifiers say, shows it as chains, and costs the same for many."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from approvals import grants
from approvals.actions import issue_grant, revoke_grant
from audit import grant_history
from audit.evidence import bundle
from audit.log import commit, utc_now
from audit.models import Entry
from audit.trust import document as trust_document
from governance import ceremonies
from governance.actions import register_tool, retire_tool, revoke_delegation, suspend_agent
from imprimatur.formats import canonical, delegation, dsse, evidence_zip, trust
from imprimatur.formats.timestamps import format_time
from imprimatur.rules.tools import DEFAULT_TOOLS
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.grant_history import USE, GrantHistory
from imprimatur.verify.grant_rows import Held
from tests.desk.requests import ask


def _text(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def _titles(answer: Any) -> list[str]:
    return re.findall(r'<p class="grant-who"><b>([^<]*)</b>', answer.content.decode())


@pytest.fixture
def passed(world) -> Iterator[Any]:
    """Robo passes on to twin, twin to trip; what twin holds is revoked."""
    world.enrol("trip")
    root = world.delegate("robo", max_depth=3, purpose="The chain")
    above = canonical.loads(bytes(root.document))
    fields = {name: above[name] for name in ("not_before", "not_after")}
    child = world.pass_on(root, "robo", "twin", max_depth=1, scope=["file:read:/project"], spend=None, **fields)
    leaf = world.pass_on(child, "twin", "trip", max_depth=0, scope=["file:read:/project/src"], spend=None, **fields)
    commit(revoke_delegation.apply, revoke_delegation.Command(child.id, world.ada, "no longer needed"))
    world.chain = (root, child, leaf)
    yield world


def _in_advance(world: Any) -> str:
    """Rui approves deletions in advance, it is used once, and taken back."""
    high = ask(world, "write_file", {"path": "/project/src/a.py", "content": "x", "destructive": True})
    chosen = {
        "effects": ["file:write:/project/src"],
        "parameters": {"path": {"op": "any"}, "content": {"op": "any"}, "destructive": {"op": "any"}},
        "max_uses": 3,
    }
    chosen["not_after"] = format_time(utc_now() + timedelta(minutes=30))
    signed = ceremonies.session(world.rui, grants.document(world.rui, high, chosen, None))
    commit(issue_grant.apply, issue_grant.command(world.rui.id, high, signed))
    world.publish()
    ask(world, "write_file", {"path": "/project/src/b.py", "content": "x", "destructive": True})
    given = grants.Grant.objects.get()
    assert given.uses == 1
    commit(revoke_grant.apply, revoke_grant.Command(given.id, world.rui, "enough"))
    return str(given.id)


# --- what it says ---------------------------------------------------------------------------------------------------


def test_the_page_tells_the_numbers_and_how_they_are_computed(desk, passed) -> None:
    answer = desk.get("audra", "grant_history")
    counted = re.findall(r"<dt>([^<]+)</dt><dd>(\d+)</dd>", answer.content.decode())
    assert counted[:4] == [
        ("grants without a valid human root", "0"),
        ("grants initiated by an agent", "0"),
        ("agents’ keys among the signers", "0"),
        ("passed on and not narrower", "0"),
    ]
    text = _text(answer)
    assert "2 delegations came from 1 person, and 2 were passed on, 2 levels deep at most" in text
    assert "was verified again for this page" in text


def test_chains_are_nested_lists_with_what_until_when_who_and_how_it_ended(desk, passed) -> None:
    answer = desk.get("audra", "grant_history")
    page, (root, child, leaf) = answer.content.decode(), passed.chain
    assert _titles(answer) == ["robo", "twin", "trip", "robo"]  # the newest root first, each part below its whole
    assert re.search(r"robo.*?<ul class=\"grants\">.*?twin.*?<ul class=\"grants\">.*?trip", page, re.DOTALL)
    text = _text(answer)
    assert "Signed by Ada Brandt, SSH key SHA256:" in text
    assert "Passed on by robo, agent’s key" in text
    assert "Revoked" in text and "by Ada Brandt: no longer needed" in text
    assert "with the one above it" in text
    assert "scope: file:read:/project/src; was file:read:/project" in text
    for row in (root, child, leaf):
        assert reverse("delegation", args=[row.id]) in page
        assert reverse("entry", args=[row.issued_index]) in page


def test_the_filters_show_what_matches_with_what_it_is_a_part_of(desk, passed) -> None:
    trip = passed.agents["trip"].id
    answer = desk.get("audra", "grant_history", query={"holder": trip})
    assert _titles(answer) == ["robo", "twin", "trip"]
    assert answer.content.decode().count(' above">') == 2
    assert _titles(desk.get("audra", "grant_history", query={"state": "live"})) == ["robo", "robo"]
    assert _titles(desk.get("audra", "grant_history", query={"state": "ended"})) == ["robo", "twin", "trip"]
    assert _titles(desk.get("audra", "grant_history", query={"text": "no longer needed"})) == ["robo", "twin"]
    assert len(_titles(desk.get("audra", "grant_history", query={"person": passed.ada.id}))) == 4
    assert "Nothing matches" in _text(desk.get("audra", "grant_history", query={"text": "nothing like it"}))
    assert "cannot be read" in _text(desk.get("audra", "grant_history", query={"holder": "ag_nobody"}))


def test_a_suspended_agent_stops_what_it_holds_and_what_it_passed_on(desk, world) -> None:
    commit(suspend_agent.apply, suspend_agent.Command(world.robo, "acts strangely", world.ada))
    answer = desk.get("audra", "grant_history", query={"state": "stopped"})
    assert _titles(answer) == ["robo"]
    assert "robo was suspended by Ada Brandt: acts strangely" in _text(answer)


def test_tools_policies_and_votes_in_advance_stand_in_one_timeline_newest_first(desk, passed) -> None:
    changed = {**DEFAULT_TOOLS["read_file"], "minimum_risk": "MEDIUM"}
    commit(register_tool.apply, register_tool.Command(changed, passed.ada))
    commit(retire_tool.apply, retire_tool.Command("send_email", "nobody uses it", passed.ada))
    _in_advance(passed)
    answer = desk.get("audra", "grant_history", query={"show": "changes"})
    titles, text = _titles(answer), _text(answer)
    assert titles[:2] == ["Approved in advance for robo", "Tool read_file: changed"]
    assert any(title.startswith("Policy 1") for title in titles)
    assert "used 1 of 3 times" in text and "Revoked" in text and "by Rui Falk: enough" in text
    assert "Risk at least MEDIUM; was nothing" in text
    assert "Taken out" in text and "nobody uses it" in text
    assert "changed: 1; taken out: 1" in text
    only = desk.get("audra", "grant_history", query={"show": "changes", "text": "read_file"})
    assert _titles(only) == ["Tool read_file: changed", "Tool read_file: new"]


def test_long_histories_come_in_pages_and_a_chain_that_is_cut_shows_where_it_hangs(desk, passed, monkeypatch) -> None:
    from audit.views import grant_history as view

    monkeypatch.setattr(view, "PAGE", 2)
    first, second = (desk.get("audra", "grant_history", query={"page": str(page)}) for page in (1, 2))
    assert _titles(first) == ["robo", "twin"]
    assert _titles(second) == ["robo", "twin", "trip", "robo"]
    assert second.content.decode().count(' above">') == 2
    assert "3 to 4 of 4" in _text(second) and "page=1" in second.content.decode()


def test_invariant_9_what_people_wrote_is_inert(desk, world) -> None:
    row = world.delegate("twin", purpose="x")
    reason = "<script>alert(1)</script> <b>bold</b>\u202e"
    commit(revoke_delegation.apply, revoke_delegation.Command(row.id, world.ada, reason))
    page = desk.get("audra", "grant_history").content.decode()
    assert "<script>alert" not in page and "<b>bold" not in page and "\u202e" not in page
    assert "&lt;script&gt;" in page


# --- that it is so --------------------------------------------------------------------------------------------------


def _section(world: Any, folder: Path) -> Path:
    path: Path = bundle.build(folder / "bundle.zip").path
    return path


def test_page_section_and_verifier_agree(desk, passed, tmp_path) -> None:
    _in_advance(passed)
    passed.publish()
    path = _section(passed, tmp_path)
    with evidence_zip.Reader(path) as reader:
        rows = [json.loads(line) for line in reader.read("grants/history.jsonl").splitlines()]
        counts = json.loads(reader.read("grants/counts.json"))
    claim = verify_bundle(path, trust.parse(canonical.dumps(trust_document()))).claim("capabilities")
    assert claim.verdict == "valid", claim.detail
    with grant_history.reading() as read:
        assert read.complete and read.size == counts["entries"]
        own = read.history.counts(counts["at"])
        assert list(read.history.documents(counts["at"])) == rows
    # The page passes by the entries that give nobody anything; what it counts of the others is the same.
    assert {name: value for name, value in own.items() if name not in ("entries", "at")} == {
        name: value for name, value in counts.items() if name not in ("entries", "at")
    }
    for name in ("delegations", "tools", "policies", "in_advance"):
        assert claim.evidence[name] == counts[name] == own[name]
    assert counts["in_advance"] == {"given": 1, "by_click": 1, "used": 1}
    shown = _titles(desk.get("audra", "grant_history"))
    assert len(shown) == counts["delegations"]["from_people"] + counts["delegations"]["passed_on"]


def test_the_rows_of_the_database_agree_too_on_what_is_in_force(passed) -> None:
    from governance.models import Delegation
    from governance.views import listing

    passed.delegate("twin", not_before="2099-01-01T00:00:00.000Z", not_after="2100-01-01T00:00:00.000Z")
    passed.delegate("trip")
    commit(suspend_agent.apply, suspend_agent.Command(passed.agents["trip"], "odd", passed.ada))
    now = utc_now()
    with grant_history.reading() as read:
        found = read.history.delegations
        standings = read.history.standings(format_time(now))
    states = {row.id: standings[found[row.id].index].state for row in Delegation.objects.all()}
    for row in listing.forest(listing.roots(), now):
        if row.delegation.subject.state == "active":
            assert (states[row.delegation.id] == "live") == (row.ended == ""), row.ended
    assert set(states.values()) == {"live", "waiting", "stopped", "ended"}
    assert set(found) == set(Delegation.objects.values_list("id", flat=True))
    for row in Delegation.objects.all():
        held = found[row.id]
        assert isinstance(held, Held) and canonical.dumps(held.document) == bytes(row.document)
        assert (held.index, held.depth, held.parent) == (row.issued_index, row.depth, row.parent_id)
        assert (held.revoked is not None) == (row.revoked_at is not None)


def test_what_came_since_is_read_on_and_another_log_is_read_anew(world, monkeypatch) -> None:
    with grant_history.reading() as read:
        first = read.history
        before = len(first.delegations)
    world.delegate("twin")
    fed: list[int] = []
    original = GrantHistory.read
    monkeypatch.setattr(
        GrantHistory, "read", lambda self, index, raw: (fed.append(index), original(self, index, raw))[1]
    )
    with grant_history.reading() as read:
        assert read.history is first and len(read.history.delegations) == before + 1
    assert fed == [Entry.objects.filter(kind="delegation.issued").latest("index").index]
    monkeypatch.setattr(grant_history._read, "leaf", "0" * 64)  # as if a backup had taken the log's place
    with grant_history.reading() as read:
        assert read.history is not first and len(read.history.delegations) == before + 1


def test_a_log_too_long_for_one_look_is_read_by_the_next_and_the_page_says_so(desk, passed, monkeypatch) -> None:
    monkeypatch.setattr(grant_history, "_read", grant_history.Read())
    monkeypatch.setattr(grant_history, "MOST", 8)
    assert "Read so far" in _text(desk.get("audra", "grant_history"))
    for _ in range(5):
        answer = desk.get("audra", "grant_history")
    assert "Read so far" not in _text(answer)
    whole = GrantHistory()
    for row in Entry.objects.order_by("index"):
        whole.read(row.index, bytes(row.envelope))
    with grant_history.reading() as read:
        assert list(read.history.documents(whole.now)) == list(whole.documents())


def test_every_use_of_a_vote_in_advance_is_found_by_the_rows(passed) -> None:
    _in_advance(passed)
    used = []
    for row in Entry.objects.filter(kind=USE):
        body = canonical.loads(dsse.open_envelope(bytes(row.envelope)).payload)["body"]
        used += [row.index] if "grant" in body else []
    assert grants.uses_between(0, 10**9) == used and used
    assert grants.uses_between(used[0] + 1, 10**9) == grants.uses_between(0, used[0]) == []


def test_a_grant_that_traces_to_nobody_is_shown_in_red_with_its_entry(desk, world, monkeypatch) -> None:
    """As if somebody had got around the server: an entry whose signature is another document's."""
    genuine = Entry.objects.filter(kind="delegation.issued").latest("index")
    payload = canonical.loads(dsse.open_envelope(bytes(genuine.envelope)).payload)
    payload["body"]["document"]["scope"] = ["*"]
    payload["body"]["delegation"] = delegation.delegation_id(payload["body"]["document"])
    original = GrantHistory.read

    def read(self: GrantHistory, index: int, raw: bytes) -> None:
        if index == genuine.index:
            self.entry(payload, raw)
        else:
            original(self, index, raw)

    monkeypatch.setattr(grant_history, "_read", grant_history.Read())
    monkeypatch.setattr(GrantHistory, "read", read)
    answer = desk.get("audra", "grant_history")
    monkeypatch.setattr(grant_history, "_read", grant_history.Read())
    text = _text(answer)
    assert "This must not be" in text and f"Entry {genuine.index}" in text
    assert 'class="wrong"' in answer.content.decode() and "must-not" in answer.content.decode()


def test_more_grants_cost_no_more_queries(desk, world, django_assert_max_num_queries) -> None:
    client = desk.browser("audra")
    client.get(reverse("grant_history"))
    with django_assert_max_num_queries(40) as few:
        client.get(reverse("grant_history"))
    for _ in range(12):
        world.delegate("twin")
    client.get(reverse("grant_history"))
    for query in ({}, {"show": "changes"}, {"state": "live", "text": "file"}):
        with django_assert_max_num_queries(40) as many:
            client.get(reverse("grant_history"), query)
        assert len(many) <= len(few)


def test_the_tab_is_there_for_whoever_may_open_it(desk, world) -> None:
    address = reverse("grant_history")
    assert f'href="{address}"' in desk.get("audra", "log").content.decode()
    assert f'href="{address}"' not in desk.get("rui", "log").content.decode()
    assert desk.get("rui", "grant_history").status_code == 403
