"""Whatever order the keys of a log change in, its bundle verifies; and a chain that is broken anywhere does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imprimatur.formats import canonical, checkpoint, keyring, merkle, note, trust
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.trust import DecisionKey
from imprimatur.verify import rulebook
from imprimatur.verify.history import BrokenRule, History
from tests.verify import builder
from tests.verify.builder import CONSOLE, DECISION_KEY, LOG_KEY, REALM, SYSTEM, Log, key

OLD_REALM = "gate.example/before"


def vkey(pair: KeyPair) -> str:
    return note.Vkey(REALM, pair.public_key).format()


def turn_away(log: Log) -> None:
    """The simplest entry."""
    body = {"key": "unknown", "minute": "2026-03-01T09:00:00.000Z", "codes": {"signature": 1}}
    log.add("door.rejected", "key:unknown", SYSTEM, body)


def play(moves: Sequence[str]) -> tuple[Log, list[KeyPair]]:
    """A log whose keys change like this, and the log keys in use at its end. A move that nobody may make is none."""
    log, _ = builder.standing()
    in_use = [LOG_KEY]
    for made, move in enumerate(moves, start=1):
        if move == "decision":
            log.change_decision_key(key(f"decision {made}"))
        elif move == "add" and len(in_use) < 8:
            in_use.append(key(f"log {made}"))
            log.add("log.key_added", REALM, CONSOLE, {"log_vkey": vkey(in_use[-1]), "reason": "more"})
        elif move == "retire" and len(in_use) > 1:
            log.add("log.key_retired", REALM, CONSOLE, {"log_vkey": vkey(in_use.pop(0)), "reason": "old"})
        else:
            turn_away(log)
    return log, in_use


def read(log: Log) -> tuple[History, keyring.Keyring]:
    history, ring = History(REALM, [DECISION_KEY.public_key]), keyring.Keyring()
    for index, raw in enumerate(log.envelopes):
        ring.see(history.feed(index, raw))
    return history, ring


MOVES = st.lists(st.sampled_from(["decision", "add", "retire", "other"]), max_size=12)
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(MOVES)
def test_any_sequence_of_changes_is_a_good_history_and_rests_on_its_first_key(moves: list[str]) -> None:
    log, in_use = play(moves)
    history, ring = read(log)
    size = history.size
    assert ring.decision_at(size) == history.decision_key == log.decision_key.public_key
    assert [each.format() for each in ring.log_at(size)] == [vkey(pair) for pair in in_use] == history.facts.log_vkeys
    first = [DecisionKey(DECISION_KEY.public_key, 0, None)]
    assert ring.not_anchored(first, size) == ""
    assert ring.not_anchored(ring.decision, size) == ""
    trust.parse(canonical.dumps({"realm": REALM, **ring.trusted()}))
    for place, known in enumerate(ring.decision):
        if known.last is not None:
            # A key that was trusted for one entry less did not introduce the next.
            short = [*ring.decision[:place], DecisionKey(known.public_key, known.first, known.last - 1)]
            assert ring.not_anchored(short, size)
        if known.first:
            late = [*ring.decision[:place], DecisionKey(known.public_key, known.first + 1, None)]
            assert ring.not_anchored(late, size) or known.first >= size


@QUICK
@given(MOVES, st.data())
def test_what_a_replaced_key_signs_is_refused_wherever_it_stands(moves: list[str], data: Any) -> None:
    log, _ = play(["decision", *moves])
    older = [DECISION_KEY, *(key(f"decision {n}") for n in range(1, len(moves) + 2))]
    log.decision_key = data.draw(st.sampled_from([pair for pair in older if pair.keyid != log.decision_key.keyid]))
    turn_away(log)
    with pytest.raises(BrokenRule) as caught:
        read(log)
    assert caught.value.rule == rulebook.SIGNATURE


def continuing(**changes: Any) -> Log:
    """A log whose first entry says which log it continues."""
    old = checkpoint.Checkpoint(OLD_REALM, 7, merkle.leaf_hash(b"old")).sign(key("old log").seed)
    said = {
        "log_vkey": note.Vkey(OLD_REALM, key("old log").public_key).format(),
        "checkpoint": old,
        "reason": "the key leaked",
        **changes,
    }
    log = Log()
    log.genesis(continues=said)
    return log


def test_a_log_may_continue_another_realms_log_whose_key_signed_its_end() -> None:
    read(continuing())


def signed(origin: str, pair: KeyPair, size: int = 7) -> dict[str, str]:
    root = merkle.leaf_hash(b"old") if size else merkle.EMPTY_ROOT
    return {
        "log_vkey": note.Vkey(origin, pair.public_key).format(),
        "checkpoint": checkpoint.Checkpoint(origin, size, root).sign(pair.seed),
    }


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"checkpoint": "x"}, rulebook.GENESIS),
        ({"log_vkey": "x"}, rulebook.GENESIS),
        ({"log_vkey": note.Vkey(OLD_REALM, key("another").public_key).format()}, rulebook.GENESIS),
        (signed(REALM, key("old log")), rulebook.REALM),
        (signed(OLD_REALM, LOG_KEY), rulebook.GENESIS),
        (signed(OLD_REALM, DECISION_KEY), rulebook.GENESIS),
        (signed(OLD_REALM, key("old log"), size=0), rulebook.GENESIS),
    ],
)
def test_a_log_continues_nothing_that_its_own_first_entry_does_not_show(changes: Any, rule: rulebook.Rule) -> None:
    with pytest.raises(BrokenRule) as caught:
        read(continuing(**changes))
    assert caught.value.rule == rule


def test_a_key_ring_gives_its_keys_as_trust_json_has_them(tmp_path: Path) -> None:
    log, _ = play(["decision", "add", "retire"])
    _, ring = read(log)
    size = len(log.envelopes)
    assert ring.trusted() == {
        "log": [vkey(key("log 2"))],
        "decision": [
            {"key": b64u(DECISION_KEY.public_key), "from": 0, "to": size - 3},
            {"key": b64u(key("decision 1").public_key), "from": size - 2},
        ],
    }
