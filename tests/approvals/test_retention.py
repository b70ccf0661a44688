"""What is old enough is erased by the clock, everywhere it lay; and nothing that a hold covers or that is still alive."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from approvals import openings, statements, transitions
from approvals.actions import add_comment, cast_vote
from approvals.models import ActionRequest
from audit import fsck, log, proofs, retention, retention_clock
from audit.actions import erase_openings, lift_hold, place_hold, remove_bundle
from audit.admins import Admin
from audit.errors import Declined
from audit.evidence import bundle, jobs
from audit.log import commit, utc_now
from audit.models import Bundle, Entry, Hold, Opening
from audit.selectors import payload_of
from governance.models import Ceremony
from imprimatur.formats import canonical
from imprimatur.formats.ids import new_id
from imprimatur.verify.history import BrokenRule, History
from tests.conftest import World
from tests.desk.requests import ask

MARKER = "sesame-4711"
"""Stands in everything that agents and people say here, so that a search of the whole database finds what is left."""

Forward = Callable[[int], datetime]


@pytest.fixture
def forward(monkeypatch: pytest.MonkeyPatch) -> Forward:
    """Let days pass for whoever writes to the log."""

    def pass_days(days: int) -> datetime:
        now = utc_now() + timedelta(days=days)
        monkeypatch.setattr(log, "utc_now", lambda: now)
        return now

    return pass_days


def admin(world: World) -> Admin:
    return Admin(world.ada.user.pk, world.ada.id)


def hold(world: World, scope: str, target: str = "") -> Hold:
    return commit(place_hold.apply, place_hold.Command(admin(world), scope, target, "case 12"))


def lift(world: World, held: Hold) -> Hold:
    return commit(lift_hold.apply, lift_hold.Command(admin(world), held.id, "closed"))


def wish(world: World, request: str) -> retention.Erasure:
    command = erase_openings.Command((request,), "asked to be forgotten", by=admin(world))
    [erasure] = commit(erase_openings.apply, command)
    return erasure


def pending(world: World) -> ActionRequest:
    return ask(world, parameters={"path": f"/project/src/{MARKER[:6]}.py"}, says=f"trust me, {MARKER}")


def denied(world: World) -> ActionRequest:
    """Denied with a reason, discussed before, and with every sort of words it can have."""
    row = pending(world)
    commit(add_comment.apply, add_comment.command(row.id, f"a comment, {MARKER}", person=world.rui))
    row.refresh_from_db()
    command = cast_vote.clicked(world.rui, row, version=row.version, decision="deny", reason=f"no, {MARKER}")
    commit(cast_vote.apply, command)
    return transitions.load(row.id)


def run_by_clock(now: datetime) -> int:
    return retention_clock.Rounds().step(now)


def notarised() -> History:
    history = History("test.imprimatur")
    for entry in Entry.objects.order_by("index"):
        history.feed(entry.index, bytes(entry.envelope))
    return history


def last() -> dict[str, Any]:
    return payload_of(Entry.objects.order_by("-index")[0])


def test_nothing_is_erased_by_default(world: World, forward: Forward, settings: Any) -> None:
    denied(world)
    assert settings.RETENTION_DAYS == 0
    assert run_by_clock(forward(10_000)) == 0
    assert not Entry.objects.filter(kind=retention.ERASED).exists()


def test_what_is_older_than_the_rule_is_erased_with_one_entry_per_agent(
    world: World, forward: Forward, settings: Any
) -> None:
    settings.RETENTION_DAYS = 30
    first, second = denied(world), denied(world)
    alive = pending(world)
    count = Opening.objects.filter(subject__in=[first.id, second.id]).count()
    assert run_by_clock(forward(29)) == 0
    now = forward(31)
    assert run_by_clock(now) == count
    said = last()
    assert (said["kind"], said["subject"], said["actor"]["type"]) == (retention.ERASED, world.robo.id, "system")
    assert said["body"]["subjects"] == sorted([first.id, second.id])
    assert (said["body"]["rule"], said["body"]["count"], said["body"]["agent"]) == ("retention", count, world.robo.id)
    for row in Opening.objects.filter(subject__in=[first.id, second.id]):
        assert (row.value, bytes(row.key), row.erased_at) == (None, b"", now)
    assert openings.values(alive.id), "what is alive keeps its words, however old it is"
    assert run_by_clock(now) == 0
    assert Entry.objects.filter(kind=retention.ERASED).count() == 1, "nothing left is nothing to say"
    notarised()


def test_words_said_after_the_end_begin_the_time_anew(world: World, forward: Forward, settings: Any) -> None:
    settings.RETENTION_DAYS = 30
    row = denied(world)
    forward(20)
    commit(add_comment.apply, add_comment.command(row.id, "one more thing", person=world.rui))
    assert run_by_clock(forward(40)) == 0
    assert run_by_clock(forward(51)) > 0
    forward(52)
    commit(add_comment.apply, add_comment.command(row.id, "and another", person=world.rui))
    assert run_by_clock(forward(90)) == 1, "what was said after an erasure is erased in its own time"
    assert notarised().size == Entry.objects.count()


def test_batches_go_on_behind_what_is_passed_by(
    world: World, forward: Forward, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RETENTION_DAYS = 30
    monkeypatch.setattr(retention, "MOST_SUBJECTS", 2)
    monkeypatch.setattr(retention.due, "__kwdefaults__", {"after": "", "most": 2})
    rows = sorted([denied(world).id for _ in range(5)])
    for name in rows[:2]:
        hold(world, "request", name)
    now, rounds = forward(31), retention_clock.Rounds()
    assert rounds.step(now) == 0, "the first two are held"
    assert rounds.step(now) > 0
    assert rounds.step(now) > 0
    left = set(Opening.objects.filter(value__isnull=False).values_list("subject", flat=True))
    assert left == set(rows[:2])
    assert rounds.step(now) == 0 and not rounds.step(now + retention_clock.EVERY)
    notarised()


@pytest.mark.parametrize("scope", ["request", "agent", "everything"])
def test_a_hold_keeps_what_it_covers_until_it_is_lifted(
    world: World, forward: Forward, settings: Any, scope: str
) -> None:
    settings.RETENTION_DAYS = 30
    row = denied(world)
    held = hold(world, scope, {"request": row.id, "agent": world.robo.id}.get(scope, ""))
    now = forward(31)
    assert run_by_clock(now) == 0
    with pytest.raises(Declined, match=r"legal hold.*case 12"):
        wish(world, row.id)
    assert openings.values(row.id)
    lift(world, held)
    assert run_by_clock(now) > 0, "a hold that is lifted does not begin the time anew"
    notarised()


def test_a_hold_on_another_request_or_agent_is_no_hold_here(world: World, forward: Forward, settings: Any) -> None:
    settings.RETENTION_DAYS = 30
    row, other = denied(world), denied(world)
    hold(world, "request", other.id)
    hold(world, "agent", world.agents["twin"].id)
    assert run_by_clock(forward(31)) > 0
    assert not openings.values(row.id) and openings.values(other.id)
    notarised()


def test_holds_are_refused_in_words(world: World) -> None:
    row = denied(world)
    held = hold(world, "request", row.id)
    size = Entry.objects.count()
    for scope, target, words in (
        ("request", row.id, "stands already"),
        ("request", "act_" + "0" * 26, "no request"),
        ("agent", "ag_" + "a" * 32, "no agent"),
        ("agent", world.ada.id, "no agent"),
        ("agent", row.id, "no agent"),
        ("everything", row.id, "without one"),
        ("request", "", "without one"),
        ("tool", "x", "without one"),
    ):
        with pytest.raises(Declined, match=words):
            hold(world, scope, target)
    for wrong in (
        lambda: commit(place_hold.apply, place_hold.Command(admin(world), "everything", "", " ")),
        lambda: commit(lift_hold.apply, lift_hold.Command(admin(world), held.id, "")),
        lambda: commit(lift_hold.apply, lift_hold.Command(admin(world), "hld_x", "why")),
        lambda: commit(place_hold.apply, place_hold.Command(Admin(world.rui.user.pk, world.rui.id), "agent", "", "x")),
        lambda: commit(erase_openings.apply, erase_openings.Command((row.id,), " ", by=admin(world))),
        lambda: wish(world, "act_" + "0" * 26),
    ):
        with pytest.raises(Declined):
            wrong()
    assert Entry.objects.count() == size
    lift(world, held)
    with pytest.raises(Declined, match="already"):
        lift(world, held)
    world.ada.user.is_active = False
    world.ada.user.save()
    with pytest.raises(Declined, match="role admin"):
        wish(world, row.id)


def test_a_wish_erases_one_request_at_once_and_only_once(world: World) -> None:
    row, other = denied(world), denied(world)
    erasure = wish(world, row.id)
    assert erasure.count == 4  # path, justification, comment, reason
    said = last()
    assert (said["actor"]["type"], said["actor"]["id"], said["body"]["rule"]) == ("person", world.ada.id, "request")
    assert "before" not in said["body"]
    assert openings.values(other.id)
    with pytest.raises(Declined, match="Nothing is left"):
        wish(world, row.id)
    notarised()


@pytest.mark.parametrize("state", ["PENDING", "APPROVED", "REDEEMED"])
def test_what_is_alive_is_not_erased_by_anybody(world: World, forward: Forward, settings: Any, state: str) -> None:
    settings.RETENTION_DAYS = 1
    row = pending(world)
    ActionRequest.objects.filter(pk=row.id).update(state=state)
    with pytest.raises(Declined, match=f"not ended: it is {state}"):
        wish(world, row.id)
    assert run_by_clock(forward(5)) == 0
    assert openings.values(row.id)


def test_every_copy_of_the_words_goes(world: World, settings: Any) -> None:
    """Searches every column of every row that the desk keeps, besides the signed entries, for what was said."""
    row = denied(world)
    draft = statements.draft(row, world.rui, "flag", reason=f"odd, {MARKER}")
    statements.open_ceremony(world.rui, draft)
    assert Ceremony.objects.exclude(kept={}).exists()
    assert MARKER in everything_kept()
    wish(world, row.id)
    assert MARKER not in everything_kept()
    row.refresh_from_db()
    assert (list(row.card), row.target) == (["erased"], "")


def test_what_happens_after_a_wish_leaves_what_was_signed_whole(world: World, forward: Forward, settings: Any) -> None:
    row = denied(world)
    before = [bytes(entry.envelope) for entry in Entry.objects.filter(subject=row.id).order_by("index")]
    wish(world, row.id)
    assert [bytes(entry.envelope) for entry in Entry.objects.filter(subject=row.id).order_by("index")] == before
    world.publish()
    result = fsck.run()
    assert result.findings == []


def test_fsck_says_what_no_entry_erased_and_what_stayed_although_one_did(world: World) -> None:
    row, other = denied(world), denied(world)
    kept = {one.pk: (bytes(one.key), bytes(one.value)) for one in Opening.objects.filter(subject=row.id)}
    wish(world, row.id)
    world.publish()
    silent = Opening.objects.filter(subject=other.id).first()
    assert silent is not None
    Opening.objects.filter(pk=silent.pk).update(value=None, key=b"", erased_at=utc_now())
    back, (key, value) = next(iter(kept.items()))
    Opening.objects.filter(pk=back).update(key=key, value=value, erased_at=None)
    found = {finding.where: finding.what for finding in fsck.run().findings}
    assert set(found) == {f"opening {silent.pk}", f"opening {back}"}
    assert "no entry" in found[f"opening {silent.pk}"]
    assert "still" in found[f"opening {back}"]


def test_fsck_finds_a_hold_that_was_taken_out_of_the_table(world: World) -> None:
    held = hold(world, "everything")
    world.publish()
    assert fsck.run().findings == []
    Hold.objects.all().delete()
    [finding] = fsck.run().findings
    assert (finding.where, held.id in finding.what) == ("holds", True)


def test_the_notary_stops_what_a_hold_that_was_taken_away_would_have_stopped(world: World) -> None:
    row = denied(world)
    hold(world, "request", row.id)
    Hold.objects.all().delete()
    wish(world, row.id)
    with pytest.raises(BrokenRule, match="under a legal hold"):
        notarised()


def a_bundle(world: World, state: str = Bundle.READY, **filters: Any) -> Bundle:
    """A bundle of what is published on this server, as a worker would have left it."""
    world.publish()
    row = Bundle(id=new_id("bdl", utc_now()), asked_by=world.ada.user, asked_as=world.ada.id, asked_at=utc_now())
    row.state, row.filters, row.size = state, filters, proofs.latest_checkpoint().size
    row.save()
    path = jobs.path_of(row.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"zip")
    return row


def test_bundles_on_this_server_go_with_the_words_they_hold(world: World) -> None:
    row = denied(world)
    holds_it, without = a_bundle(world), a_bundle(world, openings=False)
    later = denied(world)
    wish(world, later.id)
    assert retention_clock.remove_bundles() == [], "neither holds words of a request that came later"
    wish(world, row.id)
    after = a_bundle(world)
    assert retention_clock.remove_bundles() == [holds_it.id]
    assert [jobs.path_of(each.id).is_file() for each in (holds_it, without, after)] == [False, True, True]
    holds_it.refresh_from_db()
    assert (holds_it.state, holds_it.error) == (Bundle.READY, remove_bundle.REMOVED)
    assert retention_clock.remove_bundles() == []


def test_a_bundle_that_was_built_meanwhile_is_found_when_it_is_ready(world: World) -> None:
    row = denied(world)
    building = a_bundle(world, Bundle.BUILDING)
    wish(world, row.id)
    assert retention_clock.remove_bundles() == []
    Bundle.objects.update(state=Bundle.READY)
    assert retention_clock.remove_bundles() == [building.id]


def test_an_erased_request_in_a_bundle_leaves_nothing_of_its_words(world: World, tmp_path: Path) -> None:
    row = denied(world)
    wish(world, row.id)
    world.publish()
    built = bundle.build(tmp_path / "b.zip")
    with zipfile.ZipFile(built.path) as archive:
        lines = [canonical.loads(line) for line in archive.read("openings/openings.jsonl").splitlines()]
        assert not [name for name in archive.namelist() if MARKER.encode() in archive.read(name)]
    assert {line["state"] for line in lines} == {"erased"}
    assert not [line for line in lines if "value" in line or "key" in line]


def everything_kept() -> str:
    """All rows of all tables but the signed entries, as text; binary columns decoded as far as they go."""
    found: list[str] = []
    with connection.cursor() as cursor:
        for table in sorted(set(connection.introspection.table_names()) - {Entry._meta.db_table}):
            cursor.execute(f'SELECT * FROM "{table}"')
            found += [_text(value) for row in cursor.fetchall() for value in row]
    return "\n".join(found)


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | memoryview) else str(value)
