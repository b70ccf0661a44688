"""Receipts that an operator with the decision key makes up: what the client refuses, the page never calls verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from imprimatur.formats import canonical, digests, dsse, receipts
from imprimatur.formats.timestamps import parse_time
from tests.desk.browser import test_check
from tests.desk.browser.conftest import Served, signed_in
from tests.verify import builder
from tests.verify.builder import DECISION_KEY, Ask, Log

pytestmark = pytest.mark.browser

Receipt = dict[str, Any]


@dataclass
class Story:
    """A log with two critical requests, approved and confirmed alike, and one that ran on a vote in advance."""

    log: Log
    critical: tuple[Ask, int, tuple[int, int], int]
    other: tuple[Ask, int, tuple[int, int], int]
    granted: tuple[Ask, int, int]
    denial: int

    def raw(self, index: int) -> bytes:
        return self.log.envelopes[index]

    def receipt(self) -> Receipt:
        _, decided, votes, redeemed = self.critical
        return receipts.make(decided, self.raw(decided), map(self.raw, votes), self.raw(redeemed))

    def in_advance(self) -> Receipt:
        _, decided, grant = self.granted
        return receipts.make(decided, self.raw(decided), grant=(grant, self.raw(grant)))


@pytest.fixture(scope="module")
def story() -> Story:
    log, root = builder.standing()

    def critical() -> tuple[Ask, int, tuple[int, int], int]:
        ask = log.ask(root, "delete_file", risk="CRITICAL")
        log.request(ask)
        first = log.vote(ask)
        votes = (first, log.confirm(ask, first))
        return ask, log.allow(ask, votes), votes, log.redeem(ask)

    one, two = critical(), critical()
    model = log.ask(root, "make_payment", {"amount": "4.00", "payee": "ACME"}, risk="HIGH", cost="4.00")
    log.request(model)
    log.grant(model)
    issued = len(log.envelopes) - 1
    denial = log.vote(model, decision="deny", session=True)
    log.deny(model, "DENIED", "reviewer-denied", (denial,))
    later = log.ask(root, "make_payment", {"amount": "3.00", "payee": "ACME"}, risk="HIGH", cost="3.00")
    used = log.allow(later, grant=log.entries[issued]["body"]["grant"])
    return Story(log, one, two, (later, used, issued), denial)


def resealed(envelope: str, change: Callable[[Any], None]) -> str:
    """The same entry with a change, signed by the decision key as if nothing were wrong."""
    entry = canonical.loads(dsse.open_envelope(envelope.encode()).payload)
    change(entry)
    return dsse.seal(canonical.dumps(entry), DECISION_KEY.sign, DECISION_KEY.keyid).decode()


def same_vote_twice(story: Story, made: Receipt) -> None:
    made["votes"][1] = made["votes"][0]


def votes_in_another_order(story: Story, made: Receipt) -> None:
    made["votes"].reverse()


def one_vote_more(story: Story, made: Receipt) -> None:
    made["votes"].append(made["votes"][0])


def votes_of_another_request(story: Story, made: Receipt) -> None:
    votes = story.other[2]
    made["votes"] = [story.raw(at).decode() for at in votes]
    made["envelope"] = resealed(made["envelope"], lambda entry: entry["body"].update(votes=list(votes)))


def redemption_of_another_request(story: Story, made: Receipt) -> None:
    made["redeemed"] = story.raw(story.other[3]).decode()


def redemption_of_another_action(story: Story, made: Receipt) -> None:
    wrong = digests.sha256(b"another")
    made["redeemed"] = resealed(made["redeemed"], lambda entry: entry["body"].update(action_digest=wrong))


def redemption_before_the_decision(story: Story, made: Receipt) -> None:
    made["redeemed"] = resealed(made["redeemed"], lambda entry: entry.update(index=1))


def _says(entry: Any, **changes: Any) -> None:
    said = {**canonical.loads(entry["body"]["statement"].encode()), **changes}
    entry["body"]["statement"] = canonical.dumps(said).decode()


def vote_that_denies(story: Story, made: Receipt) -> None:
    made["votes"][0] = resealed(made["votes"][0], lambda entry: _says(entry, decision="deny"))


def vote_on_another_action(story: Story, made: Receipt) -> None:
    wrong = digests.sha256(b"another")
    made["votes"][0] = resealed(made["votes"][0], lambda entry: _says(entry, action_digest=wrong))


def vote_that_names_another_request(story: Story, made: Receipt) -> None:
    made["votes"][0] = resealed(made["votes"][0], lambda entry: _says(entry, request=story.other[0].id))


def vote_whose_statement_is_not_in_its_one_form(story: Story, made: Receipt) -> None:
    def loosen(entry: Any) -> None:
        entry["body"]["statement"] = entry["body"]["statement"].replace(",", ", ", 1)

    made["votes"][0] = resealed(made["votes"][0], loosen)


def decision_without_its_action(story: Story, made: Receipt) -> None:
    made["envelope"] = resealed(made["envelope"], lambda entry: entry["body"].pop("binding"))


def action_of_another_realm(story: Story, made: Receipt) -> None:
    made["envelope"] = resealed(made["envelope"], lambda entry: entry["body"]["binding"].update(realm="elsewhere"))


def grant_that_was_not_used(story: Story, made: Receipt) -> None:
    _, _, grant = story.granted
    made["grant"] = {"index": grant, "envelope": story.raw(grant).decode()}


def grant_left_out(story: Story, made: Receipt) -> None:
    del made["grant"]


def another_grant(story: Story, made: Receipt) -> None:
    wrong = digests.sha256(b"another")
    made["envelope"] = resealed(made["envelope"], lambda entry: entry["body"].update(grant=wrong))


def grant_after_the_decision(story: Story, made: Receipt) -> None:
    index = made["index"] + 1
    envelope = resealed(made["grant"]["envelope"], lambda entry: entry.update(index=index))
    made["grant"] = {"index": index, "envelope": envelope}


VOTED = (
    same_vote_twice,
    votes_in_another_order,
    one_vote_more,
    votes_of_another_request,
    redemption_of_another_request,
    redemption_of_another_action,
    redemption_before_the_decision,
    vote_that_denies,
    vote_on_another_action,
    vote_that_names_another_request,
    vote_whose_statement_is_not_in_its_one_form,
    decision_without_its_action,
    action_of_another_realm,
    grant_that_was_not_used,
)
IN_ADVANCE = (grant_left_out, another_grant, grant_after_the_decision)


def refusal(story: Story, made: Receipt, ask: Ask) -> str:
    """Why the client refuses this receipt; empty when it takes it."""
    bound = ask.body["binding"]
    decided = story.log.entries[made["index"]]
    expected = receipts.Expected(
        realm=story.log.realm,
        decision_keys=[DECISION_KEY.public_key],
        agent=bound["agent"],
        delegation=bound["delegation"],
        tool=bound["tool"]["name"],
        parameters=bound["parameters"],
        context=bound["context"],
        idempotency_key=ask.body["request"]["idempotency_key"],
        attempt=f"attempt {ask.id}",
        redeemed="redeemed" in made,
        covers=lambda said, body: "",
    )
    try:
        receipts.check(made, expected=expected, now=parse_time(decided["time"]))
    except receipts.ReceiptError as error:
        return error.code
    return ""


@pytest.fixture(scope="module")
def page(browser: Browser, served: Served) -> Iterator[Page]:
    with signed_in(browser, served, "mallory") as page:
        page.goto("/check/")
        page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
        yield page


def verdict(page: Page, story: Story, made: Receipt) -> str:
    return test_check.give(page, {"receipt": made, "trust": builder.trust_document(story.log)})


def test_what_the_client_takes_is_not_refused_here(page: Page, story: Story) -> None:
    for made, ask in ((story.receipt(), story.critical[0]), (story.in_advance(), story.granted[0])):
        assert refusal(story, made, ask) == ""
        assert verdict(page, story, made) == "unknown"  # no proof is given
        assert test_check.step(page, "What comes with it") == "valid"
        assert test_check.step(page, "The action") == "valid"


@pytest.mark.parametrize("change", [*VOTED, *IN_ADVANCE], ids=lambda change: change.__name__)
def test_a_lie_that_the_decision_key_signed_is_refused_here_as_the_client_refuses_it(
    page: Page, story: Story, change: Callable[[Story, Receipt], None]
) -> None:
    made, ask = (story.receipt(), story.critical[0]) if change in VOTED else (story.in_advance(), story.granted[0])
    change(story, made)
    assert refusal(story, made, ask)
    assert verdict(page, story, made) in ("invalid", "unreadable")


def test_a_denial_rests_on_the_vote_that_denied(page: Page, story: Story) -> None:
    decided = story.denial + 1
    made = receipts.make(decided, story.raw(decided), [story.raw(story.denial)])
    assert verdict(page, story, made) == "unknown"
    assert test_check.step(page, "What comes with it") == "valid"
