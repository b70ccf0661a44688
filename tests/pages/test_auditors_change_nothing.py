"""An auditor reads everything and changes nothing: every address of the desk is tried, also those of rooms to come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver

from audit.models import Bundle, Entry, SavedView

# What may succeed, and why it changes nothing of the record.
ALLOWED = {
    "bundle_ask": "evidence to take away: the log says who took it",
    "log_export": "a list to take away: the log says who took it",
    "log_sample_export": "a list to take away: the log says who took it",
    "evidence_compare_export": "a list to take away: the log says who took it",
    "bundle_download": "evidence that somebody else asked for: the log says who took it",
    "view_save": "filters under a name, their own",
    "view_rename": "filters under a name, their own",
    "view_delete": "filters under a name, their own",
    "policy_explain": "asks what the policy would say",
    "policy_simulate": "asks what a policy would have said",
}
# Their own account and their own keys, which sign nothing that an auditor may not do.
OWN = {
    *("account_login", "account_logout", "account_change_password", "account_reauthenticate", "away"),
    *("keys_ssh", "key_revoke", "key_revoke_sign", "passkey_begin", "passkey_created", "passkey_enrol"),
}
OWN_FACTORS = "mfa_"
# They lead back to the card, which says why it was refused.
TOLD_ON_THE_CARD = {"claim", "release"}
# No session counts there: a signature or a token does. Each has tests of its own.
OTHER_DOORS = {
    "log_tile",
    "delegation_signed",
    "terminal_key",
    "terminal_key_enrol",
    "terminal-card",
    "terminal-answer",
}
OTHER_PREFIXES = ("api/", ".well-known/", "healthz", "readyz", "metrics", "accounts/oidc/")
QUIET = ("django_session", "account_", "mfa_")
"""Tables that hold sessions and logins, and nothing of the record."""

PLACES: dict[str, Any] = {"int": 0, "str": "x", "slug": "approve", "path": "x"}


def _addresses(patterns: list[Any], before: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _addresses(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield pattern.name or "", route, pattern.pattern.converters


def _path(route: str, converters: dict[str, Any], real: dict[str, str]) -> str:
    path = "/" + route
    for name, converter in converters.items():
        kind = {"IntConverter": "int", "StringConverter": "str", "SlugConverter": "slug", "PathConverter": "path"}[
            type(converter).__name__
        ]
        path = path.replace(f"<{kind}:{name}>", str(real.get(name, PLACES[kind])))
    return path


def everywhere() -> list[tuple[str, str, dict[str, Any]]]:
    """Every address that a session opens."""
    return [
        found
        for found in _addresses(list(get_resolver().url_patterns))
        if found[0] not in OTHER_DOORS and not found[1].startswith(OTHER_PREFIXES)
    ]


@pytest.fixture
def real(world) -> dict[str, str]:
    """Things that exist, so that no refusal is only for want of something to change."""
    from tests.desk.requests import ask

    return {
        "agent_id": world.robo.id,
        "agent": world.robo.id,
        "thumbprint": world.keys["robo"].thumbprint,
        "delegation_id": world.delegation.id,
        "delegation": world.delegation.id,
        "person_id": world.rui.id,
        "person": world.rui.id,
        "name": "write_file",
        "tool": "write_file",
        "request_id": ask(world).id,
        "form": "csv",
    }


def test_there_are_addresses_to_try_and_every_exception_is_one_of_them() -> None:
    names = {name for name, _, _ in everywhere()}
    assert len(names) > 60
    assert set(ALLOWED) <= names and names >= OWN


def test_invariant_4_an_auditor_can_send_nowhere_but_to_take_evidence_away_and_keep_their_own_things(
    desk, world, real
) -> None:
    data = {"reason": "because", "decision": "approve", "scope": "everything", "name": "x", "version": "1"}
    data |= {"pick": f"{real['request_id']}:1", "sure": "yes"}
    let_in = []
    for name, route, converters in everywhere():
        if name in ALLOWED or name in OWN or name.startswith(OWN_FACTORS):
            continue
        path = _path(route, converters, real)
        client, before = desk.browser("audra"), Entry.objects.count()
        with CaptureQueriesContext(connection) as queries:
            answer = client.post(path, data)
        if name in TOLD_ON_THE_CARD:
            assert answer.status_code == 302 and answer["Location"] == f"/requests/{real['request_id']}/"
        elif answer.status_code not in (403, 404, 405, 409):
            let_in.append(f"POST {path}: {answer.status_code}")
        assert Entry.objects.count() == before, path
        written = [
            query["sql"]
            for query in queries
            if query["sql"].startswith(("INSERT", "UPDATE", "DELETE"))
            and not any(f'"{table}' in query["sql"].split("(")[0][:80] for table in QUIET)
        ]
        assert written == [], path
    assert let_in == []


def test_what_an_auditor_may_send_leaves_only_what_it_says(desk, world) -> None:
    world.publish()
    before = list(Entry.objects.order_by("index").values_list("leaf", flat=True))
    sent = {
        "bundle_ask": ([], {}),
        "log_export": (["csv"], {"query": "kind=agent."}),
        "log_sample_export": (["jsonl"], {"query": "seed=a&n=2"}),
        "view_save": ([], {"name": "Mine", "query": "kind=agent."}),
    }
    for name, (arguments, data) in sent.items():
        assert desk.post("audra", name, *arguments, data=data).status_code in (200, 302), name
    after = Entry.objects.order_by("index")
    assert list(after.values_list("leaf", flat=True))[: len(before)] == before
    assert [row.kind for row in after[len(before) :]] == ["export.taken", "export.taken"]
    assert Bundle.objects.count() == SavedView.objects.count() == 1
