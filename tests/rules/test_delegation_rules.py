"""Narrowing between two delegations, and what a chain of them allows."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprimatur.formats.timestamps import format_time
from imprimatur.rules.chain import Chain, Refusal, prepare, refusal
from imprimatur.rules.narrowing import problems

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROOT: dict[str, Any] = {
    "typ": "imprimatur/delegation/v1",
    "realm": "desk.example",
    "issuer": "p_ada",
    "subject": "ag_parent",
    "scope": [
        "file:write:/project",
        "file:read",
        "network:http:*.example.com",
        "email:send:nordhav.example",
        "payment:send",
    ],
    "constraints": {
        "paths": ["/project", "/docs"],
        "domains": ["*.example.com", "nordhav.example"],
        "max_file_size": 1000,
        "tools": ["read_file", "write_file", "make_payment", "http_request", "send_email"],
    },
    "spend": {"unit": "USD", "limit": "100.00", "per_action": "20.00"},
    "not_before": format_time(START),
    "not_after": format_time(START + 10 * HOUR),
    "max_depth": 3,
    "on_behalf_of": "p_kim",
    "purpose": "Keep the project tidy",
    "nonce": "AAAAAAAAAAAAAAAAAAAAAA",
}
CHILD: dict[str, Any] = {
    **copy.deepcopy(ROOT),
    "issuer": "ag_parent",
    "subject": "ag_child",
    "parent": "sha256:" + "0" * 64,
    "scope": ["file:write:/project/src"],
    "max_depth": 2,
}
WRITE = {"action": "file:write", "resource": "/project/src/a.py"}


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the field at a dotted path set, or taken away when the value is `...`."""
    document = copy.deepcopy(document)
    *parents, last = path.split(".")
    place = document
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


def ask(documents: list[dict[str, Any]], **change: Any) -> str | None:
    request: dict[str, Any] = {
        "effects": [WRITE], "cost_micro": None, "unit": None, "tool": "write_file", "size": 10, "at": START + HOUR
    }  # fmt: skip
    answer = refusal(documents, **{**request, **change})
    return None if answer is None else answer.code


# --- narrowing


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("scope", []),
        ("scope", ["file:read:/etc", "network:http:api.example.com", "payment:send:vendor/acme"]),
        ("constraints", {}),
        ("constraints", ...),
        ("constraints.paths", ...),
        ("constraints.paths", []),
        ("constraints.paths", ["/project/src", "/docs/a"]),
        ("constraints.domains", ["api.example.com", "*.api.example.com"]),
        ("constraints.max_file_size", 0),
        ("constraints.tools", ["read_file"]),
        ("spend", ...),
        ("spend", {"unit": "EUR", "limit": "0.00"}),
        ("spend", {"unit": "USD", "limit": "100.00"}),
        ("spend.per_action", "0.01"),
        ("not_before", format_time(START + HOUR)),
        ("not_after", format_time(START + HOUR)),
        ("max_depth", 0),
    ],
)
def test_what_is_narrower_may_be_issued(path: str, value: Any) -> None:
    assert problems(ROOT, CHILD) == []
    child = changed(CHILD, path, value)
    assert problems(ROOT, child) == []
    assert isinstance(prepare([ROOT, child]), Chain)


@pytest.mark.parametrize(
    ("path", "value", "facet", "code"),
    [
        ("realm", "staging.example", "realm", "out-of-scope"),
        ("issuer", "ag_other", "issuer", "out-of-scope"),
        ("issuer", "p_ada", "issuer", "out-of-scope"),
        ("parent", ..., "parent", "out-of-scope"),
        ("parent", None, "parent", "out-of-scope"),
        ("on_behalf_of", "p_ada", "on_behalf_of", "out-of-scope"),
        ("on_behalf_of", ..., "on_behalf_of", "out-of-scope"),
        ("scope", ["file:write:/project-evil"], "scope", "out-of-scope"),
        ("scope", ["file:write"], "scope", "out-of-scope"),
        ("scope", ["file:*:/project"], "scope", "out-of-scope"),
        ("scope", ["*"], "scope", "out-of-scope"),
        ("scope", ["file:write:/project/../etc"], "scope", "out-of-scope"),
        ("scope", "file:read", "scope", "out-of-scope"),
        ("scope", ..., "scope", "out-of-scope"),
        ("constraints.paths", ["/project", "/etc"], "constraints.paths", "constraint"),
        ("constraints.paths", ["/project-evil"], "constraints.paths", "constraint"),
        ("constraints.paths", None, "constraints", "constraint"),
        ("constraints.domains", ["example.com"], "constraints.domains", "constraint"),
        ("constraints.domains", ["*.nordhav.example"], "constraints.domains", "constraint"),
        ("constraints.max_file_size", 1001, "constraints.max_file_size", "constraint"),
        ("constraints.max_file_size", True, "constraints.max_file_size", "constraint"),
        ("constraints.max_file_size", "10", "constraints.max_file_size", "constraint"),
        ("constraints.tools", ["read_file", "execute_code"], "constraints.tools", "constraint"),
        ("constraints.tools", "read_file", "constraints.tools", "constraint"),
        ("constraints.countries", ["NO"], "constraints", "constraint"),
        ("spend.unit", "EUR", "spend.unit", "over-budget"),
        ("spend.limit", "100.000001", "spend.limit", "over-budget"),
        ("spend.limit", "1e1", "spend", "over-budget"),
        ("spend.limit", 5.0, "spend", "over-budget"),
        ("spend.limit", ..., "spend", "over-budget"),
        ("spend.per_action", "20.01", "spend.per_action", "over-budget"),
        ("spend", None, "spend", "over-budget"),
        ("not_before", format_time(START - HOUR), "not_before", "delegation-expired"),
        ("not_after", format_time(START + 11 * HOUR), "not_after", "delegation-expired"),
        ("not_after", format_time(START), "not_after", "delegation-expired"),
        ("not_after", "2026-03-01", "not_after", "delegation-expired"),
        ("not_after", ..., "not_after", "delegation-expired"),
        ("max_depth", 3, "max_depth", "depth"),
        ("max_depth", -1, "max_depth", "depth"),
        ("max_depth", ..., "max_depth", "depth"),
        ("max_depth", 16, "max_depth", "depth"),
    ],
)
def test_invariant_5_what_exceeds_its_parent_in_any_facet_is_refused_at_issue_and_at_use(
    path: str, value: Any, facet: str, code: str
) -> None:
    child = changed(CHILD, path, value)
    assert [problem.facet for problem in problems(ROOT, child)] == [facet]
    assert ask([ROOT, child]) == code


def test_a_delegation_of_depth_zero_may_not_be_passed_on() -> None:
    leaf = changed(ROOT, "max_depth", 0)
    assert {problem.facet for problem in problems(leaf, changed(CHILD, "max_depth", 0))} == {"max_depth"}


def test_money_cannot_come_from_a_parent_without_any() -> None:
    assert [problem.facet for problem in problems(changed(ROOT, "spend", ...), CHILD)] == ["spend"]


def test_every_facet_that_is_wider_is_named() -> None:
    child = changed(changed(CHILD, "scope", ["*", "file:write"]), "spend.limit", "200.00")
    assert [problem.facet for problem in problems(ROOT, child)] == ["scope", "scope", "spend.limit"]


@pytest.mark.parametrize("document", [None, [], {}, "text"])
def test_a_document_that_cannot_be_read_is_a_problem_and_not_an_exception(document: Any) -> None:
    assert len(problems(ROOT, document)) == 1
    assert len(problems(document, CHILD)) == 1
    assert isinstance(prepare([document]), Refusal)


# --- chains


def test_a_chain_allows_what_every_link_allows() -> None:
    assert ask([ROOT]) is None
    assert ask([ROOT, CHILD]) is None
    assert ask([ROOT], effects=[{"action": "file:write", "resource": "/project/b"}]) is None
    assert ask([ROOT, CHILD], effects=[{"action": "file:write", "resource": "/project/b"}]) == "out-of-scope"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"effects": []}, "out-of-scope"),
        ({"effects": [{"action": "file:write"}]}, "out-of-scope"),
        ({"effects": [{"action": "file:read"}], "tool": "read_file"}, "constraint"),
        ({"effects": [{"resource": "/project/a"}]}, "out-of-scope"),
        ({"effects": [WRITE, {"action": "shell:run", "resource": "ls"}]}, "out-of-scope"),
        ({"effects": [{"action": "file:write", "resource": "/project/../etc/passwd"}]}, "out-of-scope"),
        ({"effects": [{"action": "file:write", "resource": ""}]}, "out-of-scope"),
        ({"effects": [{"action": "file:read", "resource": "/etc/passwd"}]}, "constraint"),
        ({"effects": [{"action": "file:read", "resource": "/docs/a"}], "size": None}, None),
        ({"effects": [{"action": "network:http", "resource": "https://api.example.com/"}]}, None),
        ({"effects": [{"action": "network:http", "resource": "https://example.com/"}]}, "out-of-scope"),
        ({"effects": [{"action": "email:send", "resource": "bo@nordhav.example"}]}, None),
        ({"tool": "execute_code"}, "constraint"),
        ({"size": 1000}, None),
        ({"size": 1001}, "constraint"),
        ({"size": None}, "constraint"),
        ({"at": START}, None),
        ({"at": START - timedelta(microseconds=1)}, "delegation-expired"),
        ({"at": START + 10 * HOUR}, "delegation-expired"),
        ({"cost_micro": 0, "unit": "EUR"}, None),
        ({"cost_micro": 20_000_000, "unit": "USD"}, None),
        ({"cost_micro": 20_000_001, "unit": "USD"}, "over-budget"),
        ({"cost_micro": 1, "unit": "EUR"}, "over-budget"),
        ({"cost_micro": 1, "unit": None}, "over-budget"),
        ({"cost_micro": -1, "unit": "USD"}, "over-budget"),
    ],
)
def test_what_one_delegation_allows(change: dict[str, Any], code: str | None) -> None:
    assert ask([ROOT], **change) == code


def test_domains_hold_for_hosts_and_addresses_on_any_port() -> None:
    open_scope = changed(ROOT, "scope", ["network:http", "network:external", "email:send"])
    for action, resource, code in (
        ("network:external", "db.example.com:5432", None),
        ("network:http", "https://evil.test/", "constraint"),
        ("network:http", "https://evil-example.com/", "constraint"),
        ("network:http", None, "constraint"),
        ("email:send", "bo@api.example.com", None),
        ("email:send", "bo@mail.nordhav.example", "constraint"),
    ):
        assert ask([open_scope], effects=[{"action": action, "resource": resource}], tool="http_request") == code


def test_a_constraint_of_an_ancestor_holds_though_the_child_leaves_it_out() -> None:
    child = changed(changed(CHILD, "constraints", ...), "scope", ["file:read"])
    assert ask([ROOT, child], effects=[{"action": "file:read", "resource": "/etc/passwd"}]) == "constraint"
    assert ask([ROOT, child], effects=[{"action": "file:read", "resource": "/docs/a"}], size=5000) == "constraint"


def test_absent_spend_is_zero() -> None:
    child = changed(CHILD, "spend", ...)
    assert ask([ROOT, child], cost_micro=1, unit="USD") == "over-budget"
    assert ask([ROOT, child], cost_micro=0, unit="USD") is None


def test_a_chain_is_complete_in_order_and_at_most_sixteen_long() -> None:
    assert ask([]) == "out-of-scope"
    assert ask([CHILD]) == "out-of-scope"
    assert ask([CHILD, ROOT]) == "out-of-scope"
    assert ask([ROOT, CHILD, CHILD]) == "out-of-scope"
    links = [changed(ROOT, "max_depth", 15)]
    for depth in range(14, -1, -1):
        link = {
            **CHILD,
            "issuer": links[-1]["subject"],
            "subject": f"ag_{depth}",
            "max_depth": depth,
            "scope": ROOT["scope"],
        }
        links.append(link)
    assert len(links) == 16
    assert ask(links) is None
    assert ask([*links, links[-1]]) == "depth"


def test_a_refusal_names_what_was_asked_for() -> None:
    answer = refusal(
        [ROOT], effects=[{"action": "network:http", "resource": "http://api.example.com/x"}],
        cost_micro=None, unit=None, tool="http_request", size=None, at=START,
    )  # fmt: skip
    assert answer == Refusal("out-of-scope", "network:http api.example.com:80/x is outside the delegation.")
    assert Chain(()).refusal(effects=[WRITE], cost_micro=None, unit=None, tool="t", size=None, at=START) is not None


# --- property: a child never allows what its parent does not

SCOPES = st.lists(
    st.sampled_from(
        ["*", "file:*", "file:read", "file:write", "file:write:/", "file:write:/a", "file:write:/a/b", "file:*:/a", "network:http",
         "network:http:*.x.test", "network:http:a.x.test", "network:http:*.a.x.test", "email:send", "email:send:x.test",
         "email:send:*.x.test", "payment:send", "payment:send:vendor"]
    ),
    max_size=3,
)  # fmt: skip
HOSTS = st.lists(st.sampled_from(["x.test", "*.x.test", "a.x.test", "*.a.x.test"]), max_size=2)
AMOUNTS = st.sampled_from(["0.00", "1.00", "5.00", "9.00"])
CONSTRAINTS = st.fixed_dictionaries(
    {},
    optional={
        "paths": st.lists(st.sampled_from(["/", "/a", "/a/b", "/ab"]), max_size=2),
        "domains": HOSTS,
        "max_file_size": st.integers(0, 3),
        "tools": st.lists(st.sampled_from(["t", "u"]), max_size=2),
    },
)
SPEND = st.fixed_dictionaries(
    {"unit": st.sampled_from(["USD", "EUR"]), "limit": AMOUNTS}, optional={"per_action": AMOUNTS}
)
TIMES = st.integers(0, 4)


@st.composite
def links(draw: st.DrawFn) -> dict[str, Any]:
    begin = draw(st.integers(0, 2))
    document: dict[str, Any] = {
        "scope": draw(SCOPES),
        "not_before": format_time(START + begin * HOUR),
        "not_after": format_time(START + draw(st.integers(begin + 1, 4)) * HOUR),
    }
    for facet, values in (("constraints", CONSTRAINTS), ("spend", SPEND)):
        if draw(st.booleans()):
            document[facet] = draw(values)
    return document


@st.composite
def families(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A root and an accepted child: what was refused of the child is replaced by what the parent says."""
    root = {"realm": "r", "issuer": "p_ada", "subject": "ag_1", "max_depth": 1, **draw(links())}
    child = {
        "realm": "r", "issuer": "ag_1", "subject": "ag_2", "max_depth": 0, "parent": "sha256:" + "0" * 64, **draw(links())
    }  # fmt: skip
    found = {problem.facet.partition(".")[0] for problem in problems(root, child)}
    if found & {"not_before", "not_after"}:
        found |= {"not_before", "not_after"}
    for facet in found:
        if facet in root:
            child[facet] = root[facet]
        else:
            del child[facet]
    assert problems(root, child) == []
    return root, child


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "effects": draw(EFFECTS),
        "cost_micro": draw(st.none() | st.integers(0, 10).map(lambda whole: whole * 1_000_000)),
        "unit": draw(st.sampled_from(["USD", "EUR"])),
        "tool": draw(st.sampled_from(["t", "u"])),
        "size": draw(st.none() | st.integers(0, 4)),
        "at": START + draw(TIMES) * HOUR,
    }


EFFECTS = st.lists(
    st.one_of(
        st.builds(dict, action=st.sampled_from(["file:read", "file:write"]), resource=st.sampled_from(["/a", "/a/b/c", "/ab", "/"])),
        st.builds(dict, action=st.just("network:http"), resource=st.sampled_from(["x.test", "a.x.test", "b.a.x.test/p"])),
        st.builds(dict, action=st.just("email:send"), resource=st.sampled_from(["m@x.test", "m@a.x.test"])),
        st.builds(dict, action=st.just("payment:send"), resource=st.sampled_from(["vendor", "vendor/acme", "other"])),
        st.builds(dict, action=st.sampled_from(["file:write", "payment:send"])),
    ),
    min_size=1,
    max_size=2,
)  # fmt: skip


@settings(max_examples=400)
@given(families(), requests())
def test_invariant_5_an_accepted_child_never_allows_what_its_parent_refuses(
    family: tuple[dict[str, Any], dict[str, Any]], request: dict[str, Any]
) -> None:
    root, child = family
    if refusal([root, child], **request) is None:
        assert refusal([root], **request) is None


@settings(max_examples=400)
@given(families(), requests())
def test_invariant_5_an_accepted_child_states_nothing_wider_than_its_parent(
    family: tuple[dict[str, Any], dict[str, Any]], request: dict[str, Any]
) -> None:
    root, child = family
    # The child as a root of its own. What it leaves out holds through its parent, so just that is lent to it.
    alone = {name: value for name, value in child.items() if name != "parent"}
    alone["constraints"] = {**root.get("constraints", {}), **child.get("constraints", {})}
    if "spend" in child:
        alone["spend"] = {**root.get("spend", {}), **child["spend"]}
    if refusal([alone], **request) is None:
        assert refusal([root], **request) is None
