"""A history of which some entries are left out: what is there is held to the rules, and nothing is made up."""

from __future__ import annotations

import pytest

from imprimatur.formats import merkle, selection
from imprimatur.verify import rulebook
from imprimatur.verify.history import BrokenRule, History
from tests.verify import builder
from tests.verify.builder import ADA, DECISION_KEY, REALM, ROBO, Log


def reading(log: Log, left_out: set[int]) -> History:
    """The history of the log, of which these entries are passed over."""
    history = History(REALM, [DECISION_KEY.public_key])
    for index, raw in enumerate(log.envelopes):
        if index in left_out:
            history.skip(merkle.leaf_hash(raw))
        else:
            history.feed(index, raw)
    return history


def about_requests(log: Log) -> dict[str, set[int]]:
    """The entries about each request."""
    found: dict[str, set[int]] = {}
    for entry in log.entries:
        if entry["kind"] in selection.REQUEST_KINDS:
            found.setdefault(entry["subject"], set()).add(entry["index"])
    return found


def test_any_other_request_may_be_left_out_and_order_chain_and_tree_go_on() -> None:
    log = builder.whole_story()
    root = merkle.root_of(map(merkle.leaf_hash, log.envelopes))
    for name, indexes in about_requests(log).items():
        kept = set(builder.chosen(log, name))
        left_out = set(range(len(log.envelopes))) - kept
        history = reading(log, left_out)
        assert history.root() == root
        assert history.size == len(log.envelopes)
        assert history.facts.left_out == len(left_out)
        assert indexes <= kept


def test_entry_0_cannot_be_left_out() -> None:
    log = Log().found()
    with pytest.raises(BrokenRule) as caught:
        History(REALM, [DECISION_KEY.public_key]).skip(merkle.leaf_hash(log.envelopes[0]))
    assert caught.value.rule is rulebook.GENESIS


def test_another_leaf_than_the_one_left_out_breaks_the_chain() -> None:
    log, root = builder.standing()
    log.allow(log.ask(root))
    log.allow(log.ask(root))
    history = History(REALM, [DECISION_KEY.public_key])
    for index, raw in enumerate(log.envelopes[:-2]):
        history.feed(index, raw)
    history.skip(merkle.leaf_hash(b"another"))
    with pytest.raises(BrokenRule) as caught:
        history.feed(history.size, log.envelopes[-1])
    assert caught.value.rule is rulebook.CHAIN


@pytest.mark.parametrize("kind", ["action.requested", "vote.cast", "action.decided"])
def test_a_part_of_a_shown_request_cannot_be_left_out_unnoticed(kind: str) -> None:
    log, root = builder.standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask)
    log.allow(ask, (log.vote(ask),))
    log.redeem(ask)
    log.report(ask)
    gone = {entry["index"] for entry in log.entries if entry["kind"] == kind}
    with pytest.raises(BrokenRule):
        reading(log, gone)


@pytest.mark.parametrize(
    "kind",
    [
        "person.added",
        "tool.registered",
        "policy.activated",
        "person.key_enrolled",
        "person.key_vouched",
        "agent.invited",
        "agent.enrolled",
        "delegation.issued",
    ],
)
def test_authority_that_is_used_cannot_be_left_out_unnoticed(kind: str) -> None:
    log = builder.whole_story()
    for index in (entry["index"] for entry in log.entries if entry["kind"] == kind):
        if _used(log, index):
            with pytest.raises(BrokenRule):
                reading(log, {index})


def _used(log: Log, index: int) -> bool:
    """Whether something later stands on this entry. Bo never signs with the key that was vouched for."""
    entry = log.entries[index]
    if entry["kind"] == "delegation.issued":
        return entry["body"]["delegation"] in {
            other["body"]["binding"]["delegation"] for other in log.entries if "binding" in other["body"]
        }
    if entry["kind"] == "person.key_vouched":
        return entry["subject"] != builder.BO
    if entry["kind"] == "tool.registered":
        named = {other["body"]["binding"]["tool"]["name"] for other in log.entries if "binding" in other["body"]}
        return entry["body"]["tool"] in named
    return True


def test_what_people_are_promised_is_asked_before_anything_is_left_out() -> None:
    log = Log()
    log.genesis()
    log.person(builder.PEOPLE[0])
    log.person(builder.PEOPLE[1])
    history = History(REALM, [DECISION_KEY.public_key])
    for index, raw in enumerate(log.envelopes[:-1]):
        history.feed(index, raw)
    with pytest.raises(BrokenRule) as caught:
        history.skip(merkle.leaf_hash(log.envelopes[-1]))
    assert caught.value.rule is rulebook.FOUNDING


def test_money_given_back_for_what_is_left_out_breaks_no_rule_and_lets_nothing_pass_the_limit() -> None:
    log, root = builder.standing()
    parameters = {"path": "m", "amount": "90.00"}

    def call() -> int:
        effects = [{"action": "llm:call", "resource": "m"}]
        ask = log.ask(root, "call_model", parameters, risk="MEDIUM", cost="90.00", effects=effects)
        return log.allow(ask, at_once=True)

    hidden = call()
    back = {"delegation": root, "amount": "90.00", "unit": "USD", "reason": "refunded"}
    log.add("spend.corrected", root, builder.by(ADA), back)
    call()
    history = reading(log, {hidden})
    assert history.facts.delegations[root].spent == 90_000_000
    call()
    with pytest.raises(BrokenRule) as caught:
        reading(log, {hidden})
    assert caught.value.rule is rulebook.SPEND


def test_a_history_with_entries_left_out_goes_into_no_snapshot() -> None:
    log, root = builder.standing()
    hidden = log.allow(log.ask(root))
    log.rotate(ROBO, builder.key("robo 2"))
    with pytest.raises(RuntimeError):
        reading(log, {hidden}).snapshot()
