"""What a grant covers: exactly what it says, and never a wider effect, more money, or another tool."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.formats import canonical
from imprimatur.rules import grants, money, scope
from imprimatur.rules.grants import Action, Asked, GrantError
from imprimatur.rules.quorum import Stage

AGENT, OTHER_AGENT = "ag_" + "a" * 32, "ag_" + "b" * 32
DIGEST, OTHER_DIGEST = "sha256:" + "1" * 64, "sha256:" + "2" * 64
ONE = (Stage("reviewer", 1),)
VALUES: dict[str, Any] = {"path": "/project/src/a.py", "content": "x = 1", "destructive": True}


def grant(**changes: Any) -> dict[str, Any]:
    """A grant for overwriting files below one folder, three times."""
    return {
        "agent": AGENT,
        "delegation": DIGEST,
        "tool": "write_file",
        "tool_digest": DIGEST,
        "policy": DIGEST,
        "effects": ["file:write:/project/src"],
        "parameters": {
            "path": {"op": "starts_with", "value": "/project/src/"},
            "content": {"op": "any"},
            "destructive": {"op": "equals", "value": True},
        },
        "max_uses": 3,
        **changes,
    }


def action(**changes: Any) -> Action:
    """Overwriting one of them."""
    whole: dict[str, Any] = {
        "agent": AGENT,
        "delegation": DIGEST,
        "tool": "write_file",
        "tool_digest": DIGEST,
        "policy": DIGEST,
        "risk": "HIGH",
        "reversibility": "reversible",
        "effects": [{"action": "file:write", "resource": "/project/src/a.py"}],
        "parameters": tuple(VALUES),
        **changes,
    }
    return Action(**whole)


def asked(**changes: Any) -> Asked:
    """As policy judged it, with its values."""
    whole: dict[str, Any] = {"stages": ONE, "floors": ("destructive",), "values": dict(VALUES), **changes}
    return Asked(**whole)


def test_a_request_like_the_one_it_was_made_from_runs() -> None:
    assert grants.against_use(grant(), action(), asked()) == ""
    elsewhere = action(effects=[{"action": "file:write", "resource": "/project/src/deep/b.py"}])
    values = {**VALUES, "path": "/project/src/deep/b.py", "content": "anything at all"}
    assert grants.against_use(grant(), elsewhere, asked(values=values)) == ""


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"agent": OTHER_AGENT}, "another agent"),
        ({"delegation": OTHER_DIGEST}, "another delegation"),
        ({"tool": "delete_file"}, "another tool"),
        ({"tool_digest": OTHER_DIGEST}, "another version of the tool"),
        ({"tool_digest": ""}, "another version of the tool"),
        ({"policy": OTHER_DIGEST}, "another version of the policy"),
        ({"risk": "CRITICAL"}, "HIGH only"),
        ({"risk": "MEDIUM"}, "HIGH only"),
        ({"reversibility": "irreversible"}, "cannot be undone"),
        ({"effects": []}, "outside"),
        ({"effects": [{"action": "file:write", "resource": "/project/src-evil/a.py"}]}, "outside"),
        ({"effects": [{"action": "file:delete", "resource": "/project/src/a.py"}]}, "outside"),
        ({"effects": [{"action": "file:write", "resource": "/project"}]}, "outside"),
        ({"parameters": ("path", "content")}, "other parameters"),
        ({"parameters": (*VALUES, "mode")}, "other parameters"),
        ({"cost": 1, "unit": "USD"}, "no sum"),
    ],
)
def test_what_differs_from_the_grant_is_asked_about(changes: dict[str, Any], because: str) -> None:
    assert because in grants.against_use(grant(), action(**changes), asked())


def test_one_effect_outside_is_enough() -> None:
    both = [
        {"action": "file:write", "resource": "/project/src/a.py"},
        {"action": "file:write", "resource": "/project/tests/a.py"},
    ]
    assert grants.against_action(grant(), action(effects=both))


@pytest.mark.parametrize(
    "stages",
    [
        (),
        (Stage("reviewer", 2),),
        (Stage("reviewer", 1), Stage("security", 1)),
        (Stage("reviewer", 1), Stage("reviewer", 1, "confirm")),
    ],
)
def test_invariant_3_a_grant_stands_for_exactly_one_approval(stages: tuple[Stage, ...]) -> None:
    assert "more than one" in grants.against_use(grant(), action(), asked(stages=stages))


@pytest.mark.parametrize("floor", ["freeze", "withheld", "unknown", "irreversible", "policy-error", "of-the-future"])
def test_a_floor_that_wants_a_person_now_rules_grants_out(floor: str) -> None:
    assert "a person" in grants.against_use(grant(), action(), asked(floors=("destructive", floor)))


def test_withheld_fields_never_match() -> None:
    assert "withheld" in grants.against_use(grant(), action(), asked(withheld=("content",)))


@pytest.mark.parametrize(
    "values",
    [
        {**VALUES, "destructive": False},
        {**VALUES, "destructive": 1},
        {**VALUES, "path": "/project/sr"},
        {**VALUES, "path": ["/project/src/a.py"]},
        {"path": VALUES["path"], "content": ""},
        {**VALUES, "mode": "0777"},
        {},
    ],
)
def test_every_parameter_has_to_satisfy_its_predicate(values: dict[str, Any]) -> None:
    assert grants.against_use(grant(), action(), asked(values=values))


@pytest.mark.parametrize(
    ("predicate", "yes", "no"),
    [
        ({"op": "equals", "value": "a"}, ["a"], ["A", "a ", "", None, ["a"]]),
        ({"op": "equals", "value": 1}, [1, 1.0], [True, "1", 2, 1.5]),
        ({"op": "equals", "value": {"a": [1, 2]}}, [{"a": [1, 2]}], [{"a": [2, 1]}, {"a": [1, 2], "b": 0}]),
        ({"op": "one_of", "values": ["a", 2]}, ["a", 2], ["2", "b", None]),
        ({"op": "starts_with", "value": "ab"}, ["ab", "abc"], ["a", "xab", ["ab"], 1]),
        ({"op": "at_most", "value": "20.00"}, ["20", "19.999999", "0", "20.00"], ["20.01", "-1", "1e1", 5, "NaN", ""]),
        ({"op": "any"}, ["", None, {"a": 1}], []),
        ({"op": "of-the-future"}, [], ["", 1]),
    ],
)
def test_predicates_are_strict(predicate: dict[str, Any], yes: list[Any], no: list[Any]) -> None:
    assert all(grants.holds(predicate, value) for value in yes)
    assert not any(grants.holds(predicate, value) for value in no)


def test_money_needs_a_sum_in_its_own_unit() -> None:
    capped = grant(max_total={"amount": "20.00", "unit": "USD"})
    assert grants.against_action(capped, action(cost=20_000_000, unit="USD")) == ""
    assert "costs more" in grants.against_action(capped, action(cost=20_000_001, unit="USD"))
    assert "another kind" in grants.against_action(capped, action(cost=1, unit="EUR"))


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"effects": ["*"]}, "too wide"),
        ({"effects": ["file:*"]}, "too wide"),
        ({"effects": ["file:write"]}, "too wide"),
        ({"effects": ["file:*:/project/src"]}, "too wide"),
        ({"effects": ["file:write:/project/src", "file:write:/etc"]}, "nothing to do"),
        ({"effects": ["file:write:/project/src", "file:delete:/project/src"]}, "nothing to do"),
        ({"effects": ["file:write:/project/src/b.py"]}, "nothing to do"),
        ({"effects": ["nonsense"]}, "scope"),
        ({"parameters": {"path": {"op": "any"}}}, "other parameters"),
        ({"parameters": {**grant()["parameters"], "destructive": {"op": "equals", "value": False}}}, "destructive"),
        ({"parameters": {**grant()["parameters"], "path": {"op": "starts_with", "value": ""}}}, "begin"),
        ({"parameters": {**grant()["parameters"], "content": {"op": "equals", "value": "x" * 2000}}}, "content"),
    ],
)
def test_a_grant_that_reaches_too_far_or_misses_its_own_request_is_refused(
    changes: dict[str, Any], because: str
) -> None:
    values = {**VALUES, "content": "x" * 2000}
    with pytest.raises(GrantError, match=because):
        grants.check_issue(grant(**changes), action(), values)


def test_a_narrow_grant_is_issued() -> None:
    grants.check_issue(grant(), action(), VALUES)
    grants.check_issue(grant(effects=["file:write:/project/src/a.py"]), action(), None)


# --- properties ------------------------------------------------------------------------------------------------------

segments = st.lists(st.sampled_from(["project", "src", "src-evil", "a.py", "b", "tests"]), min_size=1, max_size=4)
paths = segments.map(lambda parts: "/" + "/".join(parts))
effects = st.builds(
    lambda verb, path: {"action": f"file:{verb}", "resource": path}, st.sampled_from(["write", "delete", "read"]), paths
)
scopes = st.builds(lambda verb, path: f"file:{verb}:{path}", st.sampled_from(["write", "delete"]), paths)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.floats(-2, 2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(scopes, min_size=1, max_size=3, unique=True), st.lists(effects, max_size=3))
def test_a_grant_never_covers_an_effect_outside_its_scopes(agreed: list[str], wanted: list[dict[str, str]]) -> None:
    covered = grants.against_action(grant(effects=agreed), action(effects=wanted)) == ""
    parsed = [scope.parse(text) for text in agreed]
    inside = [any(one.covers(effect["action"], effect["resource"]) for one in parsed) for effect in wanted]
    assert covered == (bool(wanted) and all(inside))


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(["USD", "EUR"]))
def test_a_grant_never_covers_more_money_than_it_names(cap: int, cost: int, unit: str) -> None:
    capped = grant(max_total={"amount": money.format_amount(cap), "unit": "USD"})
    covered = grants.against_action(capped, action(cost=cost, unit=unit)) == ""
    assert covered == (cost == 0 or (cost <= cap and unit == "USD"))


@given(st.sampled_from(["agent", "delegation", "tool", "tool_digest", "policy"]), st.text(max_size=80))
def test_a_grant_never_covers_another_agent_delegation_tool_or_policy(name: str, text: str) -> None:
    same = text == getattr(action(), name)
    assert (grants.against_action(grant(), replace(action(), **{name: text})) == "") == same


@given(json_values, json_values)
def test_equal_means_equal_as_committed_to(one: Any, other: Any) -> None:
    same = canonical.dumps_json(one) == canonical.dumps_json(other)
    assert grants.holds({"op": "equals", "value": one}, other) == same


@given(st.dictionaries(st.sampled_from(["path", "content", "destructive", "mode"]), json_values))
def test_a_grant_never_covers_values_it_did_not_name(values: dict[str, Any]) -> None:
    if grants.against_values(grant()["parameters"], values) == "":
        assert set(values) == set(grant()["parameters"])
        assert values["destructive"] is True
        assert values["path"].startswith("/project/src/")
