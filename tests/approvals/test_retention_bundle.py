"""A bundle without the words: what people and agents signed still verifies, and an erasure is held against the log."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from approvals import openings, transitions
from approvals.actions import add_comment, redeem_approval, report_outcome
from approvals.models import ActionRequest
from audit import trust
from audit.evidence import bundle
from audit.log import Actor, Writer, commit, utc_now
from audit.models import Entry, Opening
from imprimatur.formats import canonical
from imprimatur.formats.entries import attempt_digest
from imprimatur.formats.trust import parse
from imprimatur.verify import bundle as verifier
from imprimatur.verify.claims import INVALID, VALID
from imprimatur.verify.disclosed import Disclosed
from imprimatur.verify.history import BrokenRule, History
from tests.approvals.signing import Browser
from tests.approvals.test_retention import MARKER, denied, notarised, pending, wish
from tests.conftest import World


@pytest.fixture(autouse=True)
def desk(fresh_door: None, settings: Any) -> None:
    settings.ROOT_URLCONF = "server.urls"


def verified(tmp_path: Path, name: str, **wanted: Any) -> tuple[Path, Any]:
    """A bundle of everything published so far, and what the verifier says of it."""
    built = bundle.build(tmp_path / name, **wanted)
    return built.path, verifier.verify_bundle(built.path, parse(canonical.dumps(trust.document())))


def verdicts(report: Any) -> dict[str, str]:
    return {claim.name: claim.verdict for claim in report.claims}


def lines_of(path: Path) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        return archive.read("openings/openings.jsonl").splitlines()


def disclosed(lines: list[bytes]) -> Disclosed:
    """Go through the whole log with these openings."""
    found, history = Disclosed(iter(lines)), History("test.imprimatur")
    for row in Entry.objects.order_by("index"):
        found.entry(history.facts, history.feed(row.index, bytes(row.envelope)))
    found.finish()
    return found


def signed_and_done(world: World) -> ActionRequest:
    """Asked and signed by the agent, signed by a reviewer's passkey, redeemed and reported with a result."""
    browser = Browser(world, "rui")
    row = pending(world)
    assert browser.sign(row, "approve", reason=f"yes, {MARKER}").status_code < 400
    world.publish()
    key, attempt = world.keys["robo"].thumbprint, "a" * 22
    command = redeem_approval.Command(row.id, world.robo.id, key, row.action_digest, attempt_digest(attempt))
    commit(redeem_approval.apply, command)
    result, opening = openings.said("result", f"done, {MARKER}", row.id)
    done = report_outcome.Command(row.id, "SUCCEEDED", world.robo.id, key, result=result, opening=opening)
    commit(report_outcome.apply, done)
    return transitions.load(row.id)


def test_every_signature_holds_after_every_word_is_gone(world: World, tmp_path: Path) -> None:
    world.signing("rui")
    rows = [signed_and_done(world), denied(world)]
    world.publish()
    _, whole = verified(tmp_path, "whole.zip")
    _, without = verified(tmp_path, "without.zip", filters={"openings": False})
    for row in rows:
        wish(world, row.id)
    world.publish()
    assert not Opening.objects.exclude(value=None).exists()
    path, erased = verified(tmp_path, "erased.zip")
    with zipfile.ZipFile(path) as archive:
        assert not [name for name in archive.namelist() if MARKER.encode() in archive.read(name)]
    assert INVALID not in verdicts(whole).values()
    words = {"effects", "cards"}  # what follows from the parameters cannot be told without them
    known = {one["index"] for one in whole.decisions}
    for report in (without, erased):
        assert {name: verdict for name, verdict in verdicts(report).items() if name not in words} == {
            name: verdict for name, verdict in verdicts(whole).items() if name not in words
        }
        assert [one for one in report.decisions if one["index"] in known] == whole.decisions
    assert verdicts(erased)["openings"] == VALID
    assert "erased, 0 never held" in next(claim.detail for claim in erased.claims if claim.name == "openings")


def test_an_erasure_that_no_entry_tells_of_is_reported(world: World, tmp_path: Path) -> None:
    row = denied(world)
    Opening.objects.filter(subject=row.id).update(value=None, key=b"", erased_at=utc_now())
    world.publish()
    _, report = verified(tmp_path, "silent.zip")
    claim = next(claim for claim in report.claims if claim.name == "openings")
    assert "no entry in here erased those of 1 requests" in claim.detail
    assert any("By which rule" in limit for limit in report.limits)


def test_what_the_log_says_was_erased_must_not_be_there(world: World, tmp_path: Path) -> None:
    row = denied(world)
    world.publish()
    before = lines_of(bundle.build(tmp_path / "before.zip").path)
    wish(world, row.id)
    world.publish()
    after = lines_of(bundle.build(tmp_path / "after.zip").path)
    assert disclosed(after).openings_fault == ""
    assert disclosed(after).unlogged == set()
    assert f"erased the openings of {row.id}, and they are still here" in disclosed(before).openings_fault


def test_words_said_after_an_erasure_may_be_there(world: World, tmp_path: Path) -> None:
    row = denied(world)
    wish(world, row.id)
    commit(add_comment.apply, add_comment.command(row.id, "still something to say", person=world.rui))
    world.publish()
    lines = lines_of(bundle.build(tmp_path / "b.zip").path)
    assert disclosed(lines).openings_fault == ""
    assert disclosed(lines).states["held"] == 1


def test_a_request_is_not_erased_as_one_of_another_agent(world: World, tmp_path: Path) -> None:
    """A legal hold on its own agent would otherwise be passed by."""
    row = denied(world)
    Opening.objects.filter(subject=row.id).update(value=None, key=b"", erased_at=utc_now())

    def erase_elsewhere(writer: Writer, agent: str) -> None:
        body = {"rule": "request", "agent": agent, "subjects": [row.id], "count": 4, "reason": "why not"}
        writer.append("openings.erased", subject=agent, actor=Actor("person", world.ada.id), body=body)

    commit(erase_elsewhere, world.agents["twin"].id)
    world.publish()
    _, report = verified(tmp_path, "elsewhere.zip")
    assert verdicts(report)["openings"] == INVALID


@pytest.mark.parametrize("who", ["rui", "audra"])
def test_the_notary_takes_no_erasure_by_somebody_who_is_no_admin(world: World, who: str) -> None:
    row = denied(world)

    def erase_anyway(writer: Writer, person: str) -> None:
        body = {"rule": "request", "agent": world.robo.id, "subjects": [row.id], "count": 4, "reason": "why not"}
        writer.append("openings.erased", subject=world.robo.id, actor=Actor("person", person), body=body)

    commit(erase_anyway, world.people[who].id)
    with pytest.raises(BrokenRule, match="only an admin"):
        notarised()
