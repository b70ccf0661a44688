"""Scopes over generated scopes and actions: what `within` promises, and that nothing slips past the normal form."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imprimatur.rules.scope import Scope, ScopeError, normalise, parse

# Few and similar words, so that generated scopes and actions meet often.
SEGMENTS = st.sampled_from(["a", "b", "a-evil", "ab"])
PATHS = st.lists(SEGMENTS, max_size=3).map("/".join)
HOSTS = st.sampled_from(["x.test", "a.x.test", "b.a.x.test", "evil-x.test", "test", "192.0.2.1"])
PORTS = st.sampled_from(["", ":80", ":443", ":8443"])
LOCALS = st.sampled_from(["ada", "bo"])


def _below(prefix: str, path: str) -> str:
    return f"{prefix}/{path}" if path else prefix


NETWORK = st.builds(lambda host, port, path: _below(host + port, path), HOSTS, PORTS, PATHS)
NETWORK_PATTERNS = st.builds(
    lambda star, target: star + target if not target.startswith("192") else target, st.sampled_from(["", "*."]), NETWORK
)
ADDRESSES = st.builds(lambda local, host: f"{local}@{host}", LOCALS, HOSTS.filter(lambda host: host[0] != "1"))
ADDRESS_PATTERNS = ADDRESSES | HOSTS.filter(lambda host: host[0] != "1").flatmap(
    lambda host: st.sampled_from([host, "*." + host])
)
TARGETS = {
    "file": PATHS.map(lambda path: "/" + path),
    "network": NETWORK,
    "email": ADDRESSES,
    "payment": PATHS.filter(bool),
}
PATTERNS = {**TARGETS, "network": NETWORK_PATTERNS, "email": ADDRESS_PATTERNS}
VERBS = st.sampled_from(["read", "send"])
DOMAINS = st.sampled_from(sorted(TARGETS))


@st.composite
def actions(draw: st.DrawFn) -> tuple[str, str | None]:
    domain = draw(DOMAINS)
    return f"{domain}:{draw(VERBS)}", draw(st.none() | TARGETS[domain])


@st.composite
def scopes(draw: st.DrawFn) -> Scope:
    if draw(st.integers(0, 9)) == 0:
        return parse("*")
    domain = draw(DOMAINS)
    text = f"{domain}:{draw(VERBS | st.just('*'))}"
    resource = draw(st.none() | PATTERNS[domain])
    return parse(text if resource is None else f"{text}:{resource}")


@given(scopes(), scopes(), actions())
def test_what_a_narrower_scope_covers_its_parent_covers(
    child: Scope, parent: Scope, action: tuple[str, str | None]
) -> None:
    if child.within(parent) and child.covers(*action):
        assert parent.covers(*action)


@given(scopes(), scopes(), scopes())
def test_within_is_reflexive_and_transitive(one: Scope, two: Scope, three: Scope) -> None:
    assert one.within(one)
    if one.within(two) and two.within(three):
        assert one.within(three)


@given(scopes(), scopes())
def test_scopes_within_each_other_are_the_same_scope(one: Scope, two: Scope) -> None:
    if one.within(two) and two.within(one):
        assert one == two


@given(actions())
def test_a_scope_made_of_an_action_covers_it(action: tuple[str, str | None]) -> None:
    name, resource = action
    text = name if resource is None else f"{name}:{resource}"
    assert parse(text).covers(name, resource)


@given(scopes())
def test_a_scope_reads_back_from_its_own_text(scope: Scope) -> None:
    assert parse(str(scope)) == scope


@given(scopes(), actions())
def test_a_scope_with_a_resource_never_covers_an_action_without_one(
    scope: Scope, action: tuple[str, str | None]
) -> None:
    if scope.resource is not None:
        assert not scope.covers(action[0], None)


HOSTILE = st.text(
    alphabet=st.sampled_from(list("aA/.%2eF5c\\:@*?#;[] \x00\x1f\u202e\u200b\uff0f\uff0e\u2025\u0430\u0308é!,<>0x")),
    max_size=14,
)


@given(st.sampled_from(["file:read", "network:http", "email:send", "payment:send"]), HOSTILE | st.text(max_size=20))
def test_a_normal_form_is_stable_and_cannot_climb(action: str, resource: str) -> None:
    try:
        normal = normalise(action, resource)
    except ScopeError:
        assert not parse("*").covers(action, resource)
        return
    assert normalise(action, normal) == normal
    assert "\\" not in normal and "//" not in normal and "\x00" not in normal
    assert not {".", ".."} & set(normal.split("/"))
    assert parse("*").covers(action, resource)


@given(HOSTILE | st.text(max_size=20))
def test_a_path_is_covered_only_below_the_scope(tail: str) -> None:
    if parse("file:read:/project/src").covers("file:read", "/project/src" + tail):
        assert tail == "" or tail.startswith("/")


@given(HOSTILE | st.text(max_size=20), HOSTILE | st.text(max_size=20))
def test_a_wildcard_covers_only_hosts_that_end_with_its_domain(head: str, tail: str) -> None:
    resource = f"{head}x.test{tail}"
    if parse("network:http:*.x.test").covers("network:http", resource):
        host = normalise("network:http", resource).split("/")[0]
        assert host.endswith(".x.test")
        assert host != ".x.test"
