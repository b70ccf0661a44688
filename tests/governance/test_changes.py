"""What widens authority takes two people and two keys, once two hold keys. Taking away stays one person's act."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from audit import signer
from audit.log import commit, utc_now
from audit.models import Entry
from governance import changes
from governance.actions import (
    activate_policy,
    add_person,
    change_person,
    propose_change,
    put_in_force,
    register_tool,
    retire_tool,
    revoke_person_key,
    second_change,
    withdraw_change,
)
from governance.actors import roles_of
from governance.models import Change, Person, Policy, Tool
from imprimatur.formats.ids import new_id
from imprimatur.rules.policy import DEMO_POLICY, to_toml
from imprimatur.rules.tools import DEFAULT_TOOLS
from imprimatur.rules.tools import digest as digest_of_tool
from imprimatur.verify.history import History
from tests.conftest import REALM, World
from tests.governance import proposals

NEWER = {**DEMO_POLICY, "name": "Newer"}
READ = DEFAULT_TOOLS["read_file"]
CLOSER = {**READ, "title": "Look into a file"}
NEW_TOOL = {**READ, "name": "peek"}


@pytest.fixture
def two(world: World) -> Iterator[World]:
    """Ada and Rui hold signing keys, so two people are asked; afterwards the verifier goes through the whole log."""
    world.signing("ada")
    world.signing("rui")
    yield world
    history = History(REALM, [signer.decision_key().public_key])
    for row in Entry.objects.order_by("index"):
        history.feed(row.index, bytes(row.envelope))


def last(kind: str) -> dict[str, Any]:
    from audit.selectors import payload_of

    return payload_of(Entry.objects.filter(kind=kind).order_by("-index")[0])


def kinds(many: int) -> list[str]:
    return list(Entry.objects.order_by("-index").values_list("kind", flat=True)[:many])[::-1]


def _activate(world: World) -> object:
    return commit(activate_policy.apply, activate_policy.Command(NEWER, world.ada))


def _add(world: World) -> object:
    return commit(add_person.apply, add_person.new("nina", ("reviewer",), by=world.ada)[0])


def _widen(world: World) -> object:
    return commit(change_person.apply, change_person.Command(world.rui, roles=("admin", "reviewer"), by=world.ada))


def _rename(world: World) -> object:
    return commit(change_person.apply, change_person.Command(world.rui, name="Rosa Imhof", by=world.ada))


def _tool(world: World) -> object:
    return commit(register_tool.apply, register_tool.Command(CLOSER, world.ada))


def _console(world: World) -> object:
    return commit(add_person.apply, add_person.new("nina", ("reviewer",))[0])


@pytest.mark.parametrize("alone", [_activate, _add, _widen, _rename, _tool, _console])
def test_one_admin_is_enough_until_two_people_hold_keys_and_never_after(world, refused, alone):
    world.signing("ada")
    alone(world)
    world.signing("rui")
    size = Entry.objects.count()
    with refused("two-people"):
        {
            _activate: lambda: commit(
                activate_policy.apply, activate_policy.Command({**NEWER, "name": "x"}, world.ada)
            ),
            _add: lambda: commit(add_person.apply, add_person.new("eve", ("reviewer",), by=world.ada)[0]),
            _widen: lambda: commit(
                change_person.apply, change_person.Command(world.rosa, roles=("admin", "reviewer"), by=world.ada)
            ),
            _rename: lambda: commit(change_person.apply, change_person.Command(world.rosa, name="Ada", by=world.ada)),
            _tool: lambda: commit(register_tool.apply, register_tool.Command(NEW_TOOL, world.ada)),
            _console: lambda: commit(add_person.apply, add_person.new("eve", ("reviewer",))[0]),
        }[alone]()
    assert Entry.objects.count() == size


def test_it_stays_on_whoever_leaves(two, refused):
    commit(revoke_person_key.apply, revoke_person_key.Command(two.key_of("rui").fingerprint, "lost", None, two.rui))
    assert changes.two_person()
    with refused("two-people"):
        _activate(two)


def test_taking_away_works_at_once_and_alone(two):
    commit(change_person.apply, change_person.Command(two.rosa, roles=(), by=two.ada))
    commit(change_person.apply, change_person.Command(two.rosa, active=False, by=two.ada))
    commit(add_person.apply, add_person.new("nina", (), by=two.ada)[0])
    assert roles_of(Person.objects.get(pk=two.rosa.pk)) == frozenset()


def test_a_policy_comes_into_force_when_somebody_else_signs_the_same(two):
    text = to_toml(NEWER) + "# mine\n"
    draft = proposals.policy(NEWER, toml=text)
    change = proposals.propose(two, "ada", draft)
    assert (change.state, Policy.objects.get(active=True).number) == (Change.PROPOSED, 1)
    done = proposals.second(two, "rui", change)
    assert done.state == Change.DONE
    row = Policy.objects.get(active=True)
    assert (row.digest, row.toml, row.activated_by) == (draft.subject, text, two.ada.pk)
    assert kinds(3) == ["change.proposed", "change.seconded", "policy.activated"]
    proposed, seconded, activated = last("change.proposed"), last("change.seconded"), last("policy.activated")
    assert {key: value for key, value in activated["body"].items() if key != "change"} == proposed["body"]["document"]
    assert activated["body"]["change"] == change.pk == seconded["body"]["change"]
    keys = [two.key_of(who).fingerprint for who in ("ada", "rui")]
    assert [entry["actor"]["key"] for entry in (proposed, seconded)] == keys


@pytest.mark.parametrize("document", [CLOSER, NEW_TOOL], ids=["a new version", "a new tool"])
def test_invariant_3_a_tool_is_registered_when_somebody_else_signs_the_same(two, refused, document):
    with refused("two-people"):
        commit(register_tool.apply, register_tool.Command(document, two.ada))
    change = proposals.propose(two, "ada", proposals.tool(document))
    digest = digest_of_tool(document)
    assert not Tool.objects.filter(digest=digest).exists()
    with refused("wrong-state"):  # proposed is not agreed
        commit(register_tool.apply, register_tool.Command(document, two.ada, change=change.pk))
    assert proposals.second(two, "rui", change).state == Change.DONE
    assert Tool.objects.get(name=document["name"], current=True).digest == digest
    assert kinds(3) == ["change.proposed", "change.seconded", "tool.registered"]
    done = last("tool.registered")["body"]
    assert done == {**last("change.proposed")["body"]["document"], "change": change.pk}
    assert ("replaces" in done) is (document is CLOSER)


def test_what_two_signed_of_one_tool_registers_no_other(two, refused):
    change = proposals.second(two, "rui", proposals.propose(two, "ada", proposals.tool(CLOSER, hold=True)))
    for other in (NEW_TOOL, {**CLOSER, "title": "Something else"}):
        with refused("wrong-state"):
            commit(register_tool.apply, register_tool.Command(other, two.ada, change=change.pk))
    assert Tool.objects.get(name="read_file", current=True).digest == digest_of_tool(READ)


def test_a_tool_proposed_on_a_version_that_is_gone_is_proposed_again(two, refused):
    change = proposals.propose(two, "ada", proposals.tool(CLOSER))
    commit(retire_tool.apply, retire_tool.Command("read_file", "unused", two.ada))
    assert "tool was changed" in (changes.stale(change) or "")
    with refused("wrong-state"):
        proposals.second(two, "rui", change)
    assert not Tool.objects.filter(name="read_file", current=True).exists()
    with refused("two-people"):  # retiring takes one, and bringing it back two
        commit(register_tool.apply, register_tool.Command(READ, two.ada))


def test_a_newcomer_is_added_by_two_and_no_password_is_kept_anywhere(two):
    draft = proposals.newcomer("nina", "reviewer", email="nina@example.com")
    proposals.second(two, "rui", proposals.propose(two, "ada", draft))
    nina = Person.objects.select_related("user").get(pk=draft.subject)
    assert (roles_of(nina), nina.user.email) == (frozenset({"reviewer"}), "nina@example.com")
    assert not nina.user.has_usable_password()
    assert nina.introducers == [two.ada.pk]
    assert b"nina@example.com" not in b"".join(bytes(row.envelope) for row in Entry.objects.all())


@pytest.mark.parametrize(
    "swapped", [{"email": "mallory@example.com"}, {"username": "mal"}, {"login_key": "A" * 43}, {"login_key": ""}]
)
@pytest.mark.parametrize("hold", [False, True], ids=["before it is seconded", "while it is held ready"])
def test_a_newcomer_gets_the_login_and_address_that_two_people_signed_or_none(two, refused, swapped, hold):
    change = proposals.propose(two, "ada", proposals.newcomer("nina", "reviewer", email="nina@example.com", hold=hold))
    if hold:
        change = proposals.second(two, "rui", change)
    Change.objects.filter(pk=change.pk).update(kept={**change.kept, **swapped})
    with refused("wrong-state"):
        if hold:
            commit(put_in_force.apply, put_in_force.Command(change.pk, two.ada))
        else:
            proposals.second(two, "rui", change)
    assert not Person.objects.filter(name="Nina").exists()


def test_a_newcomer_without_a_signed_login_is_not_proposed(two, refused):
    draft = proposals.newcomer("nina", "reviewer")
    silent = {name: value for name, value in draft.document.items() if name != "login"}
    for odd in (replace(draft, document=silent), replace(draft, kept={**draft.kept, "email": "mal@example.com"})):
        with refused("wrong-state"):
            proposals.propose(two, "ada", odd)


def test_roles_are_given_by_two(two):
    done = proposals.second(
        two, "rui", proposals.propose(two, "ada", proposals.person(two.rosa, roles=("admin", "reviewer")))
    )
    assert done.state == Change.DONE
    assert roles_of(Person.objects.get(pk=two.rosa.pk)) == frozenset({"admin", "reviewer"})


def test_single_human_is_switched_on_by_two_and_never_by_one(two):
    lonely = {**DEMO_POLICY, "single_human": True}
    proposals.second(two, "rui", proposals.propose(two, "ada", proposals.policy(lonely)))
    assert Policy.objects.get(active=True).document["single_human"] is True


@pytest.mark.parametrize(
    ("before", "who", "code", "says"),
    [
        ("", "ada", "not-allowed", "yourself"),
        ("audra holds a key", "audra", "not-allowed", "admin or reviewer"),
        ("rui is switched off", "rui", "not-allowed", ""),
        ("rui reviews no more", "rui", "not-allowed", "admin or reviewer"),
        ("ada is no admin any more", "rui", "wrong-state", "no longer an active admin"),
        ("ada is switched off", "rui", "wrong-state", "no longer an active admin"),
        ("the key of ada is revoked", "rui", "wrong-state", "revoked"),
        ("another policy", "rui", "wrong-state", "Another policy"),
        ("withdrawn", "rui", "wrong-state", "withdrawn"),
        ("over", "rui", "wrong-state", "over"),
        ("expired", "rui", "wrong-state", "over"),
        ("seconded", "rosa", "wrong-state", "seconded"),
    ],
)  # fmt: skip
def test_what_is_not_a_second_person_in_time_on_the_same_base_is_refused(two, refused, before, who, code, says):
    boss = Person.objects.get(pk=two.people["mallory"].pk)
    boss.user.groups.set(two.ada.user.groups.all())
    for login in {who} - {"ada", "rui"}:
        two.signing(login)
    change = proposals.propose(two, "ada", proposals.policy(NEWER))
    command = second_change.Command(change.pk, proposals.signed(two, who, change, "second"), two.people[who])
    _happens(two, boss, change, before)
    size = Entry.objects.count()
    with pytest.raises(Exception) as caught:
        commit(second_change.apply, command)
    assert getattr(caught.value, "code", caught.value) == code
    assert says in str(caught.value)
    assert Entry.objects.count() == size
    assert Policy.objects.filter(document__name="Newer").exists() is (before == "seconded")
    boss.user.groups.clear()


def _happens(two: World, boss: Person, change: Change, what: str) -> None:
    off: dict[str, Callable[[], object]] = {
        "rui is switched off": lambda: commit(
            change_person.apply, change_person.Command(two.rui, active=False, by=two.ada)
        ),
        "rui reviews no more": lambda: commit(
            change_person.apply, change_person.Command(two.rui, roles=(), by=two.ada)
        ),
        "ada is no admin any more": two.ada.user.groups.clear,
        "ada is switched off": lambda: type(two.ada.user).objects.filter(pk=two.ada.user.pk).update(is_active=False),
        "the key of ada is revoked": lambda: commit(
            revoke_person_key.apply, revoke_person_key.Command(two.key_of("ada").fingerprint, "lost", None, two.ada)
        ),
        "another policy": lambda: proposals.second(
            two, "rui", proposals.propose(two, "ada", proposals.policy({**DEMO_POLICY, "name": "Other"}))
        ),
        "withdrawn": lambda: commit(withdraw_change.apply, withdraw_change.Command(change.pk, "no", two.ada)),
        "over": lambda: Change.objects.filter(pk=change.pk).update(expires_at=utc_now()),
        "expired": lambda: (
            Change.objects.filter(pk=change.pk).update(expires_at=utc_now()),
            withdraw_change.expire(utc_now()),
        ),
        "seconded": lambda: proposals.second(two, "rui", change),
    }
    if what in off:
        off[what]()


@pytest.mark.parametrize(
    "lie",
    [
        {"role": "propose"},
        {"change": "chg_01jzzzzzzzzzzzzzzzzzzzzzzz"},
        {"act": "person.added"},
        {"subject": "somebody"},
        {"document": "sha256:" + "0" * 64},
        {"hold": True},
        {"realm": "staging.imprimatur"},
    ],
)
def test_invariant_12_another_statement_seconds_nothing(two, refused, lie):
    change = proposals.propose(two, "ada", proposals.policy(NEWER))
    with refused("wrong-state"):
        proposals.second(two, "rui", change, **lie)
    if "role" in lie:
        lie = {"role": "second"}
    with refused("wrong-state"):
        proposals.propose(two, "ada", proposals.policy({**NEWER, "name": "Newest"}), **lie)
    assert Policy.objects.get(active=True).number == 1


def test_a_signature_counts_once(two, refused):
    draft = proposals.policy(NEWER)
    signed = proposals.signed(two, "ada", draft, "propose")
    change = commit(propose_change.apply, propose_change.Command(draft, signed, two.ada))
    with refused("invalid"):
        commit(propose_change.apply, propose_change.Command(draft, signed, two.ada))
    with refused("wrong-state"):
        commit(
            propose_change.apply, propose_change.Command(replace(draft, id=new_id("chg", utc_now())), signed, two.ada)
        )
    command = second_change.Command(change.pk, proposals.signed(two, "rui", change, "second"), two.rui)
    commit(second_change.apply, command)
    with refused("wrong-state"):
        commit(second_change.apply, command)


def test_somebody_elses_signature_is_not_mine(two, refused):
    change = proposals.propose(two, "ada", proposals.policy(NEWER))
    two.signing("rosa")
    stolen = proposals.signed(two, "rui", change, "second")
    with refused("not-allowed"):
        commit(second_change.apply, second_change.Command(change.pk, stolen, two.rosa))


def test_only_an_admin_proposes_and_only_what_takes_two_and_could_be_done(two, refused):
    with refused("not-allowed"):
        proposals.propose(two, "rui", proposals.policy(NEWER))
    for draft, code in [
        (proposals.person(two.rosa, roles=()), "conflict"),
        (proposals.newcomer("nina"), "conflict"),
        (proposals.newcomer("rui", "reviewer"), "conflict"),
        (proposals.newcomer("nina", "king"), "invalid"),
        (replace(proposals.policy(NEWER), days=8), "invalid"),
        (replace(proposals.tool(CLOSER), subject="peek"), "conflict"),
        (replace(proposals.tool(CLOSER), document={**proposals.tool(CLOSER).document, "document": {}}), "invalid"),
        (replace(proposals.tool(CLOSER), document={**proposals.tool(CLOSER).document, "document": READ}), "conflict"),
        (replace(proposals.policy(NEWER), hold=True, days=91), "invalid"),
        (replace(proposals.policy(NEWER), subject="elsewhere"), "conflict"),
        (replace(proposals.policy(NEWER), document={**proposals.policy(NEWER).document, "number": 7}), "conflict"),
        (replace(proposals.policy(NEWER), document={"document": {"name": "no policy"}}), "invalid"),
    ]:
        with refused(code):
            proposals.propose(two, "ada", draft)
    assert not Change.objects.exists()


def test_without_two_holders_nothing_is_proposed(world, refused):
    world.signing("ada")
    with refused("conflict"):
        proposals.propose(world, "ada", proposals.policy(NEWER))


def test_what_is_held_ready_waits_for_one_click_of_an_admin(two, refused):
    change = proposals.propose(two, "ada", proposals.policy(NEWER, hold=True, days=90))
    with refused("wrong-state"):
        commit(put_in_force.apply, put_in_force.Command(change.pk, two.ada))
    assert proposals.second(two, "rui", change).state == Change.READY
    assert Policy.objects.get(active=True).number == 1
    with refused("not-allowed"):
        commit(put_in_force.apply, put_in_force.Command(change.pk, two.rui))
    assert commit(put_in_force.apply, put_in_force.Command(change.pk, two.ada)).state == Change.DONE
    assert Policy.objects.get(active=True).document["name"] == "Newer"
    with refused("wrong-state"):
        commit(put_in_force.apply, put_in_force.Command(change.pk, two.ada))


def test_what_is_held_ready_ends_with_its_time_its_base_or_a_key(two, refused):
    def held(name: str) -> Change:
        draft = proposals.policy({**NEWER, "name": name}, hold=True)
        return proposals.second(two, "rui", proposals.propose(two, "ada", draft))

    late, stale, stolen = held("late"), held("stale"), held("stolen")
    Change.objects.filter(pk=late.pk).update(expires_at=utc_now() - timedelta(seconds=1))
    with refused("wrong-state"):
        commit(put_in_force.apply, put_in_force.Command(late.pk, two.ada))
    assert withdraw_change.expire(utc_now()) == 1
    assert last("change.withdrawn")["actor"]["type"] == "system"
    assert Change.objects.get(pk=late.pk).state == Change.EXPIRED
    two.signing("rosa")
    commit(revoke_person_key.apply, revoke_person_key.Command(two.key_of("rui").fingerprint, "lost", None, two.rui))
    with refused("wrong-state"):
        commit(put_in_force.apply, put_in_force.Command(stolen.pk, two.ada))
    proposals.second(two, "rosa", proposals.propose(two, "ada", proposals.policy(NEWER)))
    with refused("wrong-state"):
        commit(put_in_force.apply, put_in_force.Command(stale.pk, two.ada))


def test_its_author_or_an_admin_withdraws_and_nobody_else(two, refused):
    change = proposals.propose(two, "ada", proposals.policy(NEWER))
    with refused("not-allowed"):
        commit(withdraw_change.apply, withdraw_change.Command(change.pk, "no", two.rui))
    with refused("invalid"):
        commit(withdraw_change.apply, withdraw_change.Command(change.pk, " ", two.ada))
    assert commit(withdraw_change.apply, withdraw_change.Command(change.pk, "no", two.ada)).state == Change.WITHDRAWN
    with refused("wrong-state"):
        commit(withdraw_change.apply, withdraw_change.Command(change.pk, "no", two.ada))


@pytest.mark.parametrize("change", [None, "chg_01jzzzzzzzzzzzzzzzzzzzzzzz", "proposed", "another", "done"])
def test_invariant_4_naming_a_change_that_two_did_not_sign_for_this_does_nothing(two, refused, change):
    named = change
    if change in ("proposed", "another", "done"):
        named = proposals.propose(two, "ada", proposals.policy(NEWER, hold=change == "another")).pk
    if change == "another":
        proposals.second(two, "rui", Change.objects.get(pk=named))
    document = {**NEWER, "name": "Mine"}
    if change == "done":
        proposals.second(two, "rui", Change.objects.get(pk=named))
        document = DEMO_POLICY
    with refused("wrong-state" if change else "two-people"):
        commit(activate_policy.apply, activate_policy.Command(document, two.ada, change=named))


def test_invariant_4_one_admin_alone_makes_no_second_voucher(two, refused):
    """The sock puppet: an account that the admin adds, gives a key and has vouch for the next."""
    draft = proposals.newcomer("puppet", "admin", "reviewer")
    change = proposals.propose(two, "ada", draft)
    with refused("not-allowed"):
        proposals.second(two, "ada", change)
    plain = commit(add_person.apply, add_person.new("puppet", (), by=two.ada)[0]).person
    two.people["puppet"] = plain
    with refused("two-people"):
        commit(change_person.apply, change_person.Command(plain, roles=("reviewer",), by=two.ada))
    key = two.enrolled("puppet")
    with refused("not-allowed"):
        two.vouch(key, by="ada")
    assert plain.pk not in changes.holders()
