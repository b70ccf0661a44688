"""Drift: what runs as it was launched gives no finding, and everything that changes gives exactly its own."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.formats import attestation, digests, shapes
from imprimatur.inert import CLOSE, OPEN
from imprimatur.rules import drift
from tests.rules import sandboxes

LAUNCH = sandboxes.launch()
DECLARED = sandboxes.declared()
Process = dict[str, Any]
Change = Callable[[Process], object]


def codes(observation: dict[str, Any], launch: dict[str, Any] = LAUNCH) -> set[str]:
    shapes.check(observation, attestation.OBSERVATION_SHAPE)
    found = drift.findings(launch, observation)
    shapes.check(found, shapes.ListOf(attestation.FINDING, max=64))
    return {finding["code"] for finding in found}


def test_a_launch_that_nobody_touched_has_no_finding() -> None:
    assert drift.findings(LAUNCH, sandboxes.observation(LAUNCH)) == []


OUTSIDE, INSIDE, MAIN, CHILD = range(4)
OTHER = digests.sha256(b"other")


def put(table: str, name: str, value: Any) -> Change:
    return lambda process: process[table].update({name: value})


def raised(limit: str) -> Change:
    return lambda process: process["limits"].update({limit: process["limits"][limit] + 1})


def without(limit: str) -> Change:
    return lambda process: process["limits"].pop(limit)


CHANGES: dict[str, tuple[str, Change, tuple[int, ...]]] = {
    "another argument": ("flag-changed", lambda p: p["command"].append("--more"), (MAIN,)),
    "an argument less": ("flag-changed", lambda p: p["command"].pop(), (MAIN,)),
    "another program": ("file-changed", lambda p: p["executable"].update(path="/usr/bin/git"), (MAIN,)),
    "a program that was replaced": ("file-changed", lambda p: p["executable"].update(digest=OTHER), (MAIN,)),
    "a program nobody could read": ("file-changed", lambda p: p["executable"].pop("digest"), (MAIN,)),
    "another configuration": ("file-changed", lambda p: p.update(configuration=OTHER), (INSIDE, MAIN, CHILD)),
    "no configuration": ("file-changed", lambda p: p.pop("configuration"), (MAIN, CHILD)),
    "no filter": ("seccomp-missing", lambda p: p.update(seccomp=0), (INSIDE, MAIN, CHILD)),
    "strict mode": ("seccomp-missing", lambda p: p.update(seccomp=1), (MAIN,)),
    "privileges": ("privileges", lambda p: p.update(no_new_privileges=False), (INSIDE, MAIN, CHILD)),
    **{
        f"{name} capabilities": (
            "capability",
            put("capabilities", name, "0000000000000400"),
            (INSIDE, MAIN, CHILD),
        )
        for name in attestation.CAPABILITY_SETS
    },
    "a set of capabilities unseen": ("capability", lambda p: p["capabilities"].pop("effective"), (MAIN,)),
    **{
        f"the host's {name}": (
            "namespace",
            put("namespaces", name, sandboxes.HOST[name]),
            (MAIN, CHILD),
        )
        for name in attestation.NAMESPACES
        if name != "time"
    },
    "a namespace unseen": ("namespace", lambda p: p["namespaces"].pop("net"), (MAIN, CHILD)),
    "a namespace of its own": ("namespace", lambda p: p["namespaces"].update(user=7), (CHILD,)),
    **{
        f"a higher limit of {name}": (
            "limit",
            raised(name),
            (INSIDE, MAIN, CHILD),
        )
        for name in attestation.LIMITS
    },
    **{f"no limit of {name}": ("limit", without(name), (INSIDE, MAIN, CHILD)) for name in attestation.LIMITS},
    "a shell": ("unknown-process", lambda p: p["executable"].update(path="/usr/bin/bash"), (CHILD,)),
    "another user": ("other-user", lambda p: p.update(uid=1001), (OUTSIDE, INSIDE, CHILD)),
    "root": ("other-user", lambda p: p.update(uid=0), (OUTSIDE, INSIDE, MAIN, CHILD)),
}
CASES = [(name, place) for name, (_, _, places) in CHANGES.items() for place in places]


@pytest.mark.parametrize(("name", "place"), CASES)
def test_a_single_thing_that_changed_gives_exactly_its_code(name: str, place: int) -> None:
    expected, change, _ = CHANGES[name]
    observation = sandboxes.observation(LAUNCH)
    change(observation["processes"][place])
    assert codes(observation) == {expected}


def test_lower_limits_than_configured_are_no_drift() -> None:
    observation = sandboxes.observation(LAUNCH)
    for process in observation["processes"]:
        process["limits"] = dict.fromkeys(attestation.LIMITS, 1)
    assert codes(observation) == set()


@pytest.mark.parametrize("left", [[], [OUTSIDE], [OUTSIDE, INSIDE]])
def test_a_launch_of_which_only_the_sandbox_is_left_does_not_run(left: list[int]) -> None:
    observation = sandboxes.observation(LAUNCH)
    observation["processes"] = [observation["processes"][place] for place in left]
    assert codes(observation) == {"not-running"}


def test_orphans_of_the_command_are_not_taken_for_it_even_with_a_lower_number() -> None:
    observation = sandboxes.observation(LAUNCH)
    observation["processes"][CHILD].update(pid=5, parent=11)
    assert codes(observation) == set()


def test_nobody_hides_behind_the_command_line_of_bubblewrap() -> None:
    observation = sandboxes.observation(LAUNCH)
    inside = observation["processes"][INSIDE]
    observation["processes"].append({**copy.deepcopy(inside), "pid": 20, "started": 2000, "parent": 12})
    assert codes(observation) == {"unknown-process"}
    stranger = {**copy.deepcopy(observation["processes"][OUTSIDE]), "pid": 30, "started": 3000}
    observation["processes"][-1] = stranger
    assert {"unknown-process", "namespace", "seccomp-missing"} <= codes(observation)


def test_a_stranger_that_claims_the_launch_from_outside_is_found_and_not_taken_for_the_command() -> None:
    observation = sandboxes.observation(LAUNCH)
    stranger = sandboxes.process(LAUNCH, 2, 1, started=1, namespaces=dict(sandboxes.HOST))
    observation["processes"].append(stranger)
    found = drift.findings(LAUNCH, observation)
    assert {(finding["code"], finding["pid"]) for finding in found} == {("namespace", 2)}


def test_more_than_one_thing_gives_more_than_one_code() -> None:
    observation = sandboxes.observation(LAUNCH)
    observation["processes"][MAIN].update(seccomp=0, no_new_privileges=False, uid=0)
    assert {"seccomp-missing", "privileges", "other-user"} == codes(observation)


@given(st.lists(st.sampled_from(CASES), max_size=6, unique=True), st.integers(0, 1000))
def test_findings_do_not_depend_on_the_order_in_which_processes_were_read(
    cases: list[tuple[str, int]], seed: int
) -> None:
    observation = sandboxes.observation(LAUNCH)
    for name, place in cases:
        if (
            "limit" not in name
            and "unseen" not in name
            and name not in {"no configuration", "a program nobody could read"}
        ):
            CHANGES[name][1](observation["processes"][place])
    shuffled = copy.deepcopy(observation)
    random.Random(seed).shuffle(shuffled["processes"])
    found = drift.findings(LAUNCH, observation)
    assert found == drift.findings(LAUNCH, shuffled)
    order = [(finding.get("pid", 0), finding["code"]) for finding in found]
    assert order == sorted(order)


def test_many_findings_are_cut_so_that_every_code_is_still_there() -> None:
    observation = sandboxes.observation(LAUNCH)
    bad = {"seccomp": 0, "no_new_privileges": False}
    observation["processes"] += [sandboxes.process(LAUNCH, pid, 12, **bad) for pid in range(100, 159)]
    observation["processes"].append(sandboxes.process(LAUNCH, 900, 12, uid=0))
    found = drift.findings(LAUNCH, observation)
    assert len(found) == drift.MAX_FINDINGS
    assert {finding["code"] for finding in found} == {"seccomp-missing", "privileges", "other-user"}


@given(st.text(max_size=60), st.integers(1, 40))
def test_values_are_short_not_empty_and_never_end_within_an_escape(text: str, times: int) -> None:
    shown = drift.cut(text * times)
    assert 1 <= len(shown) <= drift.MAX_VALUE
    assert shown.count(OPEN) == shown.count(CLOSE)
    assert shown.isprintable()


def declared() -> dict[str, Any]:
    """What /proc shows of a container: the command behind an init, and no file of it."""
    one = sandboxes.process(DECLARED, 40, 1, command=["tini", "--", *DECLARED["command"]], uid=0)
    one.update(executable={"path": "/usr/bin/tini"}, limits={})
    one["namespaces"].update(user=sandboxes.HOST["user"], cgroup=sandboxes.HOST["cgroup"])
    del one["configuration"]
    return {**sandboxes.observation(LAUNCH), "processes": [one]}


def test_of_a_declared_runtime_only_what_the_host_can_see_is_compared() -> None:
    assert codes(declared(), DECLARED) == set()


@pytest.mark.parametrize(
    ("expected", "change"),
    [
        ("flag-changed", lambda p: p["command"].append("--more")),
        ("seccomp-missing", lambda p: p.update(seccomp=0)),
        ("privileges", lambda p: p.update(no_new_privileges=False)),
        ("capability", lambda p: p["capabilities"].update(bounding="00000000a80425fb")),
        ("namespace", lambda p: p["namespaces"].update(net=sandboxes.HOST["net"])),
        ("limit", lambda p: p["limits"].update(processes=33)),
    ],
)
def test_a_declared_runtime_drifts_like_another(expected: str, change: Change) -> None:
    observation = declared()
    change(observation["processes"][0])
    assert codes(observation, DECLARED) == {expected}
    observation["processes"] = []
    assert codes(observation, DECLARED) == {"not-running"}
