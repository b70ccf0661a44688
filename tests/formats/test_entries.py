"""Log entries: every kind has a closed schema, and an entry that contradicts itself is not an entry."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from imprimatur.formats import canonical, entries
from imprimatur.formats.canonical import CanonicalError
from imprimatur.formats.shapes import Obj, ShapeError
from tests.formats import samples

KINDS = sorted(entries.KINDS)


def test_there_is_a_sample_of_every_kind() -> None:
    assert set(samples.bodies()) == set(entries.KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_of_every_kind_is_built_and_parses_back(kind: str) -> None:
    payload = samples.an_entry(kind)
    entry = entries.parse(payload)
    assert entry["kind"] == kind
    assert entry["body"] == samples.bodies()[kind]
    assert canonical.dumps(entry) == payload


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_key_is_refused_in_every_kind(kind: str) -> None:
    body = {**samples.bodies()[kind], "approve_on_timeout": True}
    with pytest.raises(ShapeError, match="unknown key"):
        samples.an_entry(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_key_is_refused_in_every_kind(kind: str) -> None:
    for name in entries.KINDS[kind].required:
        body = samples.bodies()[kind]
        del body[name]
        with pytest.raises(ShapeError):
            samples.an_entry(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_null_is_refused_where_a_key_should_be_absent(kind: str) -> None:
    for name in entries.KINDS[kind].optional:
        with pytest.raises((ShapeError, CanonicalError)):
            samples.an_entry(kind, {**samples.bodies()[kind], name: None})


@pytest.mark.parametrize("kind", KINDS)
def test_every_nested_object_is_closed_as_well(kind: str) -> None:
    for path in nested(entries.KINDS[kind], samples.bodies()[kind]):
        body = copy.deepcopy(samples.bodies()[kind])
        target: Any = body
        for step in path:
            target = target[step]
        target["surprise"] = "x"
        with pytest.raises(ShapeError):
            samples.an_entry(kind, body)


def nested(shape: Obj, value: dict[str, Any]) -> list[list[str]]:
    """Paths of the objects below ``value`` whose shape names their keys."""
    paths = []
    for name, inner in {**shape.required, **shape.optional}.items():
        if isinstance(inner, Obj) and name in value:
            paths.append([name])
            paths += [[name, *path] for path in nested(inner, value[name])]
    return paths


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ShapeError, match="kind"):
        samples.an_entry("action.approved_by_timeout", {})


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"index": -1},
        {"index": 9.5},
        {"index": True},
        {"prev": "AB" * 32},
        {"prev": "ab" * 31},
        {"prev": "0" * 64},
        {"time": "2026-11-20T12:00:00Z"},
        {"actor": {"type": "robot", "id": "x"}},
        {"actor": {"type": "person", "id": "ada", "assurance": "H9"}},
        {"actor": {"type": "person", "id": "ada", "ip": "192.0.2.1"}},
        {"refs": [{"rel": "request", "index": 9}]},
        {"refs": [{"rel": "request"}]},
        {"refs": {}},
        {"subject": ""},
        {"realm": ""},
        {"body": []},
        {"extra": 1},
        {"index": 0},
    ],
    ids=str,
)
def test_an_entry_with_a_wrong_frame_is_refused(change: dict[str, Any]) -> None:
    entry = canonical.loads(samples.an_entry("agent.suspended"))
    entries.parse(canonical.dumps(entry))
    entry.update(change)
    with pytest.raises((ShapeError, CanonicalError)):
        entries.parse(canonical.dumps_json(entry))


def test_genesis_is_entry_zero_and_nothing_else_is() -> None:
    with pytest.raises(ShapeError, match=r"log\.genesis"):
        samples.an_entry("log.genesis", index=1, prev=samples.LEAF)
    with pytest.raises(ShapeError, match=r"log\.genesis"):
        samples.an_entry("agent.suspended", index=0, prev=entries.FIRST_PREV)
    with pytest.raises(ShapeError, match="zeros"):
        samples.an_entry("log.genesis", prev=samples.LEAF)


@pytest.mark.parametrize("text", ["{}", "[]", "", "null", '"x"'])
def test_bytes_that_are_not_an_entry_are_refused(text: str) -> None:
    with pytest.raises((ShapeError, CanonicalError)):
        entries.parse(text.encode())


def test_an_entry_in_another_spelling_is_refused() -> None:
    payload = samples.an_entry("agent.suspended")
    for other in (payload + b"\n", payload.replace(b":", b": ", 1), payload.replace(b'"agent"', b'"\\u0061gent"', 1)):
        with pytest.raises(CanonicalError):
            entries.parse(other)


def test_an_entry_too_large_for_a_tile_is_refused_both_ways() -> None:
    body = samples.bodies()["policy.activated"]
    body["document"] = {"rules": ["x" * entries.MAX_PAYLOAD]}
    with pytest.raises(ShapeError, match="at most"):
        samples.an_entry("policy.activated", body)
    with pytest.raises(ShapeError, match="at most"):
        entries.parse(b" " * (entries.MAX_PAYLOAD + 1))


@pytest.mark.parametrize("kind", ["action.requested", "action.decided"])
def test_invariant_1_an_action_digest_that_is_not_the_hash_of_the_binding_is_refused(kind: str) -> None:
    body = {**samples.bodies()[kind], "action_digest": samples.DIGEST}
    with pytest.raises(ShapeError, match="action_digest"):
        samples.an_entry(kind, body)


@pytest.mark.parametrize("kind", ["action.requested", "action.decided"])
def test_invariant_12_a_binding_for_another_realm_is_refused(kind: str) -> None:
    with pytest.raises(ShapeError, match="realm"):
        samples.an_entry(kind, realm="desk.example/staging")


def test_a_delegation_entry_names_the_delegation_it_holds() -> None:
    body = {**samples.bodies()["delegation.issued"], "delegation": samples.DIGEST}
    with pytest.raises(ShapeError, match="id of the document"):
        samples.an_entry("delegation.issued", body)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "deny"},
        {"verdict": "pending"},
        {"state": "DENIED"},
        {"state": "EXPIRED"},
        {"state": "PENDING"},
        {"not_after": None},
        {"attempt": samples.DIGEST},
        {"execute_by": samples.at(30)},
        {"votes": [9]},
        {"votes": [3, 3]},
        {"risk": "NONE"},
        {"enforcement": "E9"},
        {"code": "Not A Code"},
    ],
    ids=str,
)
def test_invariant_2_a_decision_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    samples.an_entry("action.decided", samples.decided_body())
    with pytest.raises(ShapeError):
        samples.an_entry("action.decided", samples.decided_body(**change))


def test_a_denial_has_a_code_and_no_time_to_act() -> None:
    denied = samples.decided_body(verdict="deny", state="REFUSED", code="over-budget", not_after=None, votes=[])
    assert entries.parse(samples.an_entry("action.decided", denied))["body"]["code"] == "over-budget"


def test_a_decision_may_be_redeemed_in_the_same_call() -> None:
    body = samples.decided_body(
        risk="LOW", votes=[], attempt=entries.attempt_digest(samples.ATTEMPT), execute_by=samples.at(30)
    )
    samples.an_entry("action.decided", body)


def test_invariant_11_the_log_holds_a_hash_of_the_attempt_and_not_the_attempt() -> None:
    assert samples.ATTEMPT not in samples.a_redemption().decode()
    assert entries.attempt_digest(samples.ATTEMPT).startswith("sha256:")


@pytest.mark.parametrize(
    "amount", ["-1.00", "1e3", "01.00", "1.", ".5", "1.0000001", "NaN", "9999999999.99", "1,00", ""]
)
def test_an_amount_in_another_spelling_is_refused(amount: str) -> None:
    with pytest.raises(ShapeError, match="amount"):
        samples.an_entry("spend.corrected", {**samples.bodies()["spend.corrected"], "amount": amount})


def test_invariant_11_a_shape_error_never_repeats_the_value() -> None:
    with pytest.raises(ShapeError) as caught:
        samples.an_entry("comment.added", {"request": samples.REQUEST, "comment": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert caught.value.path == "body.comment"
