from __future__ import annotations

from typing import Any

import pytest

from audit import log
from governance import cascade, pauses, policies, registry
from governance.actions import activate_policy, change_person, lift_pause, register_tool, retire_tool, set_pause
from governance.models import Pause, Policy, Tool
from imprimatur.rules.policy import DEMO_POLICY, digest
from imprimatur.rules.tools import DEFAULT_TOOLS

READ = DEFAULT_TOOLS["read_file"]
NEWER = {**READ, "title": "Look into a file"}


def register(cast, document: dict[str, Any], who: str = "ada") -> register_tool.Result:
    return log.commit(register_tool.apply, register_tool.Command(document, cast.people[who]))


def activate(cast, document: dict[str, Any], who: str = "ada") -> activate_policy.Result:
    return log.commit(activate_policy.apply, activate_policy.Command(document, cast.people[who]))


def test_a_new_version_replaces_the_old_and_the_old_may_come_back(cast, bodies):
    first = registry.tool("read_file")
    assert first is not None
    assert register(cast, READ).entry is None
    second = register(cast, NEWER).tool
    assert (registry.tool("read_file") or first).digest == second.digest
    assert bodies("tool.registered")[-1]["replaces"] == first.digest
    register(cast, READ)
    assert registry.tool("read_file") == first
    assert Tool.objects.filter(name="read_file", current=True).count() == 1


def test_a_retired_tool_is_unknown(cast, refused):
    log.commit(retire_tool.apply, retire_tool.Command("read_file", "old", cast.ada))
    assert registry.tool("read_file") is None
    with refused("not-found"):
        log.commit(retire_tool.apply, retire_tool.Command("read_file", "old", cast.ada))
    assert register(cast, READ).entry is not None


@pytest.mark.parametrize("who", ["rui", "audra", "mallory"])
def test_invariant_4_only_an_admin_changes_tools_policy_and_pauses(cast, refused, who):
    person = cast.people[who]
    changes: list[tuple[Any, Any]] = [
        (register_tool.apply, register_tool.Command(NEWER, person)),
        (retire_tool.apply, retire_tool.Command("read_file", "x", person)),
        (activate_policy.apply, activate_policy.Command({**DEMO_POLICY, "rules": []}, person)),
        (set_pause.apply, set_pause.Command(Pause.EVERYTHING, "", "x", person)),
        (lift_pause.apply, lift_pause.Command(Pause.EVERYTHING, "", "x", person)),
    ]
    for apply, command in changes:
        with refused("not-allowed"):
            log.commit(apply, command)


@pytest.mark.parametrize(
    "change", [{"schema": {"type": "object"}}, {"effects": []}, {"colour": "blue"}, {"name": "a b"}]
)
def test_a_tool_that_is_open_or_says_nothing_of_its_effects_is_refused(cast, refused, change):
    with refused("invalid"):
        register(cast, {**READ, **change})


def test_a_tool_altered_in_the_database_is_not_used(cast):
    row = register(cast, NEWER).tool
    registry.by_digest.cache_clear()
    Tool.objects.filter(pk=row.pk).update(document={**NEWER, "destructive": True})
    with pytest.raises(ValueError, match="does not match its digest"):
        registry.tool("read_file")
    registry.by_digest.cache_clear()


def test_policies_are_numbered_and_only_one_is_active(cast, bodies):
    newer = {**DEMO_POLICY, "name": "Newer"}
    result = activate(cast, newer)
    assert (result.policy.number, policies.active().digest) == (2, digest(newer))
    assert activate(cast, newer).entry is None
    activate(cast, DEMO_POLICY)
    assert list(Policy.objects.values_list("number", "active")) == [(3, True), (2, False), (1, False)]
    assert [body.get("replaces") for body in bodies("policy.activated")] == [None, digest(DEMO_POLICY), digest(newer)]


def test_an_activation_tells_those_who_asked_inside_its_transaction(cast, monkeypatch):
    told: list[int] = []
    monkeypatch.setattr(cascade, "_policy_callbacks", [lambda writer, policy: told.append(policy.number)])
    activate(cast, {**DEMO_POLICY, "name": "Newer"})
    assert told == [2]


def test_a_policy_that_is_malformed_or_that_nobody_could_answer_is_refused(cast, refused):
    with refused("invalid"):
        activate(cast, {**DEMO_POLICY, "rules": [{"name": "x", "risk": "LOW"}]})
    with refused("invalid"):
        activate(cast, {**DEMO_POLICY, "rules": [{"name": "x", "tool": "t", "risk": "LOW", "when": '"10" < "9"'}]})
    rule = {"name": "x", "tool": "send_email", "risk": "HIGH", "stages": [{"role": "reviewer", "count": 3}]}
    with refused("invalid"):
        activate(cast, {**DEMO_POLICY, "rules": [rule]})
    cast.person("third", "reviewer")
    activate(cast, {**DEMO_POLICY, "rules": [rule]})


def test_people_who_are_switched_off_do_not_make_a_policy_answerable(cast, refused):
    log.commit(change_person.apply, change_person.Command(cast.people["rosa"], active=False, by=cast.ada))
    with refused("invalid"):
        activate(cast, {**DEMO_POLICY, "name": "Newer"})


def test_invariant_3_one_person_alone_does_not_switch_single_human_on_once_there_are_two(cast, refused):
    with refused("not-allowed"):
        activate(cast, {**DEMO_POLICY, "single_human": True})


def test_a_pause_stands_until_it_is_lifted_and_the_widest_is_named(cast, refused):
    robo, ada = cast.robo.id, cast.ada

    def pause(scope: str, target: str = "") -> set_pause.Result:
        return log.commit(set_pause.apply, set_pause.Command(scope, target, "looking", ada))

    assert pauses.standing(robo, "read_file") is None
    pause(Pause.TOOL, "read_file")
    assert pauses.standing(robo, "write_file") is None
    pause(Pause.AGENT, robo)
    assert (pauses.standing(robo, "read_file") or Pause()).scope == Pause.AGENT
    assert pause(Pause.EVERYTHING).entry is not None
    assert pause(Pause.EVERYTHING).entry is None
    assert (pauses.standing("ag_other", "other") or Pause()).scope == Pause.EVERYTHING
    log.commit(lift_pause.apply, lift_pause.Command(Pause.EVERYTHING, "", "done", ada))
    assert pauses.standing("ag_other", "other") is None
    with refused("not-found"):
        log.commit(lift_pause.apply, lift_pause.Command(Pause.EVERYTHING, "", "done", ada))
    for scope, target in (("world", ""), (Pause.EVERYTHING, "x"), (Pause.AGENT, "")):
        with refused("invalid"):
            pause(scope, target)
