from __future__ import annotations

import json
from datetime import timedelta

import pytest

from audit import log
from governance import access, standing
from governance.actions import add_person_key, issue_delegation
from governance.models import Delegation
from imprimatur.formats import canonical, delegation
from imprimatur.formats.timestamps import format_time
from tests.governance.cast import ssh_keygen_sign

USD = {"unit": "USD", "limit": "150.00", "per_action": "50.00"}


def later(**delta: int) -> str:
    return format_time(log.utc_now() + timedelta(**delta))


@pytest.fixture
def root(cast) -> Delegation:
    return cast.delegate(
        "ada",
        "robo",
        scope=["file:read:/project", "file:write:/project", "payment:send:vendor", "network:http:*.example.com"],
        constraints={
            "paths": ["/project"],
            "max_file_size": 1000,
            "tools": ["read_file", "write_file", "make_payment"],
        },
        spend=USD,
    )


def issue(command: issue_delegation.Command) -> issue_delegation.Result:
    return log.commit(issue_delegation.apply, command)


def test_an_admin_roots_a_delegation_and_posting_it_again_answers_the_same(cast, kinds):
    command = cast.command("ada", "robo", spend=USD)
    first, again = issue(command), issue(command)
    assert first.delegation.id == delegation.delegation_id(command.document)
    assert (again.delegation, again.entry) == (first.delegation, None)
    assert kinds().count("delegation.issued") == 1
    assert (first.delegation.limit, first.delegation.unit, first.delegation.depth) == (150_000_000, "USD", 0)


def test_the_real_ssh_keygen_signs_a_root_as_the_documentation_says(cast, tmp_path):
    document = cast.document("ada", "robo")
    line, armored = ssh_keygen_sign(tmp_path, canonical.dumps(document), delegation.SSH_NAMESPACE)
    key = log.commit(add_person_key.apply, add_person_key.Command(cast.ada, line, by=cast.ada)).key
    signature = {"kind": "ssh", "key": key.fingerprint, "value": armored}
    assert issue(issue_delegation.Command(document, signature, cast.ada)).entry is not None


def test_invariant_12_a_delegation_of_another_realm_or_namespace_does_not_count(cast, refused, tmp_path):
    with refused("malformed"):
        issue(cast.command("ada", "robo", realm="staging.imprimatur"))
    document = cast.document("ada", "robo")
    line, armored = ssh_keygen_sign(tmp_path, canonical.dumps(document), "git")
    key = log.commit(add_person_key.apply, add_person_key.Command(cast.ada, line, by=cast.ada)).key
    with refused("signature"):
        issue(issue_delegation.Command(document, {"kind": "ssh", "key": key.fingerprint, "value": armored}, cast.ada))


def test_invariant_4_a_root_needs_an_admin_and_a_key_of_their_own(cast, refused):
    document = cast.document("ada", "robo")
    rui = cast.people["rui"]
    with refused("not-allowed"):  # Rui brings in what Ada signed
        issue(issue_delegation.Command(document, cast.sign_delegation(document, "ada"), rui))
    theirs = cast.document("rui", "robo")
    with refused("signature"):  # Rui has no key: Ada's does not sign for him
        issue(issue_delegation.Command(theirs, cast.sign_delegation(theirs, "ada"), rui))
    with refused("signature"):  # an agent's key signs nothing for a person
        issue(issue_delegation.Command(document, delegation.sign_as_agent(document, cast.keys["robo"]), cast.ada))
    assert not Delegation.objects.exists()


def test_invariant_4_an_admin_who_lost_the_role_roots_nothing_more(cast, refused):
    from governance.actions import change_person

    boss = cast.person("boss", "admin")
    cast.ssh_key("boss")
    log.commit(change_person.apply, change_person.Command(boss, roles=("reviewer",), by=cast.ada))
    with refused("not-allowed"):
        issue(cast.command("boss", "robo"))


def test_invariant_4_an_agent_roots_nothing_and_passes_on_only_its_own(cast, root, refused):
    with refused("malformed"):
        issue_as_robo = cast.document("robo", "helper")  # no parent at all: it cannot even be signed
        issue(
            issue_delegation.Command(issue_as_robo, {"kind": "ed25519", "key": "k" * 43, "value": "A" * 86}, cast.robo)
        )
    with refused("not-found"):  # helper was given nothing, and is not told what exists
        issue(cast.command("helper", "robo", root))
    child = cast.delegate("robo", "helper", root, scope=["file:read:/project/src"], max_depth=1)
    with refused("not-allowed"):  # robo sees what is below it, but it is helper's to pass on
        issue(cast.command("robo", "robo", child, scope=["file:read:/project/src"], max_depth=0))


def test_invariant_4_a_document_changed_after_signing_is_refused(cast, refused):
    command = cast.command("ada", "robo")
    changed = {**command.document, "scope": ["*"]}
    with refused("signature"):
        issue(issue_delegation.Command(changed, command.signature, cast.ada))


@pytest.mark.parametrize(
    "facets",
    [
        {"nonce": None},
        {"scope": []},
        {"scope": ["file:read:/project/../etc"]},
        {"spend": {"unit": "USD", "limit": "1e9"}},
        {"spend": {"unit": "USD", "limit": "1.5"}},
        {"constraints": {"colour": ["blue"]}},
        {"on_behalf_of": "pe_nobody"},
        {"max_depth": 16},
    ],
)
def test_a_malformed_document_is_refused_before_anything_else(cast, refused, facets):
    document = cast.document("ada", "robo", **facets)
    signature = cast.ssh["ada"].sign(document)
    with refused("malformed"):
        issue(issue_delegation.Command(document, signature, cast.ada))


def test_one_that_is_over_or_for_nobody_is_refused(cast, refused):
    with refused("delegation-expired"):
        issue(cast.command("ada", "robo", not_before=later(hours=-2), not_after=later(hours=-1)))
    with refused("not-found"):
        stranger = cast.document("ada", "robo") | {"subject": "ag_" + "a" * 32}
        issue(issue_delegation.Command(stranger, cast.sign_delegation(stranger, "ada"), cast.ada))


def test_a_delegation_that_acts_for_somebody_names_a_person_we_know(cast):
    assert cast.delegate("ada", "robo", on_behalf_of=cast.people["rui"].id).subject == cast.robo


WIDER = {
    "scope": ({"scope": ["file:read"]}, "out-of-scope"),
    "scope by segment": ({"scope": ["file:read:/project-evil"]}, "out-of-scope"),
    "scope by subdomain": ({"scope": ["network:http:evil-example.com"]}, "out-of-scope"),
    "paths": ({"constraints": {"paths": ["/"]}}, "constraint"),
    "size": ({"constraints": {"max_file_size": 1001}}, "constraint"),
    "tools": ({"constraints": {"tools": ["delete_file"]}}, "constraint"),
    "limit": ({"spend": {**USD, "limit": "150.01"}}, "over-budget"),
    "unit": ({"spend": {**USD, "unit": "EUR"}}, "over-budget"),
    "per action": ({"spend": {**USD, "per_action": "50.01"}}, "over-budget"),
    "end": ({"not_after": later(hours=30)}, "delegation-expired"),
    "begin": ({"not_before": later(hours=-30)}, "delegation-expired"),
    "depth": ({"max_depth": 3}, "depth"),
}


@pytest.mark.parametrize("facet", WIDER)
def test_invariant_5_a_child_that_is_wider_in_any_facet_is_refused(cast, root, refused, facet):
    facets, code = WIDER[facet]
    narrow = {"scope": ["file:read:/project/src"]}
    assert issue(cast.command("robo", "helper", root, **narrow)).entry is not None
    with refused(code):
        issue(cast.command("robo", "helper", root, **{**narrow, **facets}))
    assert Delegation.objects.count() == 2


def test_invariant_5_nobody_passes_on_for_somebody_else_than_the_root_says(cast, root, refused):
    with refused("out-of-scope"):
        issue(cast.command("robo", "helper", root, scope=["file:read:/project"], on_behalf_of=cast.people["rui"].id))


def test_a_chain_ends_where_max_depth_says(cast, refused):
    held = cast.delegate("ada", "robo", max_depth=2)
    names = ["robo", "helper"]
    for depth in (1, 0):
        giver, taker = names[depth % 2 == 0], names[depth % 2]
        held = cast.delegate(giver, taker, held, max_depth=depth)
    with refused("depth"):
        issue(cast.command("robo", "helper", held, max_depth=0))


def test_a_chain_is_at_most_sixteen_long(cast, refused):
    held = cast.delegate("ada", "robo", max_depth=15)
    names = ["robo", "helper"]
    for position in range(15):
        held = cast.delegate(names[position % 2], names[(position + 1) % 2], held, max_depth=14 - position)
    assert len(access.chain_of(held)) == 16
    assert standing.fault(access.chain_of(held)) is None
    with refused("depth"):
        issue(cast.command("helper", "robo", held, max_depth=0))


def test_a_row_changed_behind_our_back_carries_nothing(cast, root):
    def fault() -> str | None:
        found = standing.fault(access.chain_of(Delegation.objects.get(pk=root.pk)))
        return found.code if found else None

    assert fault() is None
    document = json.loads(bytes(root.document))
    changes = [
        {"document": canonical.dumps({**document, "scope": ["*"]})},
        {"subject": cast.agents["helper"]},
        {"signature": {**root.signature, "key": "SHA256:" + "A" * 43}},
    ]
    for change in changes:
        Delegation.objects.filter(pk=root.pk).update(**change)
        assert fault() == "delegation-revoked"
        Delegation.objects.filter(pk=root.pk).update(
            document=bytes(root.document), subject=cast.robo, signature=root.signature
        )


def test_agents_see_their_own_delegations_and_those_below(cast, root, refused):
    child = cast.delegate("robo", "helper", root, scope=["file:read:/project"])
    for viewer in (cast.robo, cast.agents["helper"], cast.ada, cast.people["audra"], None):
        assert access.access_delegation(viewer, child.id) == child
    for viewer in (cast.agents["helper"], cast.people["mallory"]):
        with refused("not-found"):
            access.access_delegation(viewer, root.id)
