"""Launches: nothing that an orchestrator writes is believed where it can be worked out again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.formats import attestation, digests, shapes, sshsig
from imprimatur.rules import bubblewrap, configuration, launches
from imprimatur.rules.configuration import Problem
from tests.conftest import ssh_line
from tests.rules import sandboxes

Change = Callable[[dict[str, Any]], object]


def judge(predicate: dict[str, Any], **known: Any) -> list[Problem]:
    subject = configuration.digest(predicate["effective"]).removeprefix("sha256:")
    terms: dict[str, Any] = {
        "realm": sandboxes.REALM,
        "agent_state": "active",
        "delegations": list(reversed(sandboxes.GRANTS)),
        "policy": sandboxes.POLICY,
        "signer_of": sandboxes.signer_of,
        **known,
    }
    found = launches.problems(predicate, terms.pop("subjects", {launches.SUBJECT: subject}), **terms)
    for reason in launches.reasons(found):
        shapes.check(reason, attestation.REASON)
    return found


def codes(predicate: dict[str, Any], **known: Any) -> set[str]:
    return {problem.code for problem in judge(predicate, **known)}


def test_a_lawful_launch_and_a_lawful_declaration_have_no_problem() -> None:
    assert judge(sandboxes.launch()) == []
    assert judge(sandboxes.declared()) == []


def relayer(predicate: dict[str, Any], place: int, text: str) -> None:
    """Another layer, signed and digested as it should be; the rest stays."""
    predicate["layers"][place] = sandboxes.layer("other.toml", text)


def rebuilt(*texts: str) -> Change:
    """Everything redone from other layers, as a consistent orchestrator would."""

    def change(predicate: dict[str, Any]) -> None:
        layers = [sandboxes.layer(f"{place}.toml", text) for place, text in enumerate(texts)]
        merged = configuration.merge([configuration.parse_layer(text) for text in texts])
        predicate.update(layers=layers, effective=merged)
        if not configuration.problems(merged, sandboxes.REALM):
            predicate["flags"] = bubblewrap.arguments(merged)

    return change


def replace(predicate: dict[str, Any], old: str, *new: str) -> None:
    place = predicate["flags"].index(old)
    predicate["flags"][place : place + 1] = list(new)


ADMIN_LINE = ssh_line(sandboxes.ADMIN_KEY)
BASE, PROJECT = sandboxes.BASE, sandboxes.PROJECT
LIES: list[tuple[str, Change, set[str]]] = [
    ("an unsigned layer", lambda p: p["layers"][1].pop("signature"), {"unsigned-layer"}),
    ("another layer's signature", lambda p: p["layers"][1].update(signature=sandboxes.sign(BASE)), {"layer-signature"}),
    ("a wrong digest of a layer", lambda p: p["layers"][0].update(digest=digests.sha256(b"")), {"layer-digest"}),
    (
        "a layer that was changed after it was signed",
        lambda p: p["layers"][1].update(text=PROJECT.replace("256", "255")),
        {"layer-digest", "layer-signature", "merge-mismatch"},
    ),
    ("a layer left out", lambda p: p["layers"].pop(), {"merge-mismatch"}),
    ("layers in another order", lambda p: p["layers"].reverse(), {"merge-mismatch", "widens"}),
    ("a layer of another realm", rebuilt(BASE.replace(sandboxes.REALM, "other.test"), PROJECT), {"wrong-realm"}),
    ("a layer that widens", rebuilt(BASE, PROJECT.replace("256", "1024")), {"widens"}),
    ("a layer that is not TOML", lambda p: relayer(p, 1, "["), {"malformed-configuration"}),
    ("a layer with unknown keys", lambda p: relayer(p, 1, PROJECT + "\n[x]\ny = 1"), {"unknown-key"}),
    ("a merging program of its own", lambda p: p["merge"].update(program="mine"), {"merge-mismatch"}),
    (
        "more memory than the layers give",
        lambda p: p["effective"]["limits"].update(memory_mb=512),
        {"merge-mismatch", "flags-mismatch"},
    ),
    ("true for one", lambda p: p["effective"]["limits"].update(processes=True), {"malformed-configuration", "merge-mismatch"}),
    ("a wildcard", rebuilt(BASE.replace('"json"', '"*"').replace(', "google"', ""), PROJECT.replace("google.cloud", "*")), {"wildcard-import"}),
    ("no memory limit", rebuilt(BASE.replace("memory_mb = 512\n", ""), PROJECT.replace("memory_mb = 256\n", "")), {"unlimited-memory"}),
    ("another runtime", lambda p: p["runtime"].update(kind="docker", launched=False), {"flags-mismatch"}),
    ("a declaration of bubblewrap", lambda p: p["runtime"].update(launched=False), {"flags-mismatch"}),
    ("an image that nobody pinned", lambda p: p.update(image=digests.sha256(b"x")), {"digest-mismatch"}),
    ("a shared network", lambda p: replace(p, "--unshare-net", "--share-net"), {"flags-mismatch"}),
    ("no seccomp filter", lambda p: p["flags"].__delitem__(slice(-3, -1)), {"flags-mismatch"}),
    ("one more bind", lambda p: replace(p, "--", "--bind", "/home", "/home", "--"), {"flags-mismatch"}),
    ("a capability", lambda p: replace(p, "--", "--cap-add", "CAP_NET_RAW", "--"), {"flags-mismatch"}),
    ("a read-only path that is writable", lambda p: replace(p, "--ro-bind", "--bind"), {"flags-mismatch"}),
    ("flags in another order", lambda p: p["flags"].reverse(), {"flags-mismatch"}),
    ("no flags", lambda p: p["flags"].clear(), {"flags-mismatch"}),
    ("a relative command", lambda p: p["command"].__setitem__(0, "python3.11"), {"command-not-allowed"}),
    ("a shell", lambda p: p["command"].__setitem__(0, "/usr/bin/bash"), {"command-not-allowed"}),
    ("a link to a shell", lambda p: p["executable"].update(path="/usr/bin/bash"), {"command-not-allowed"}),
    ("no digest of the executable", lambda p: p["executable"].pop("digest"), {"digest-mismatch"}),
    ("an unsafe flag of the command", lambda p: p["command"].append("--dangerously-skip-permissions"), {"unsafe-flag"}),
    ("a secret in the command", lambda p: p["command"].append("ghp_0123456789abcdefghij"), {"secret-in-configuration"}),
    ("a delegation that is not in force", lambda p: p["delegations"].append(digests.sha256(b"three")), {"grants-changed"}),
    ("a delegation left out", lambda p: p["delegations"].pop(), {"grants-changed"}),
    ("another policy", lambda p: p.update(policy=digests.sha256(b"old")), {"policy-changed"}),
    ("another agent than the configuration's", lambda p: p.update(agent="ag_" + "c" * 32), {"agent-unknown"}),
    ("another realm", lambda p: p.update(realm="other.test"), {"wrong-realm"}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_a_launch_that_lies_is_refused_for_exactly_that(change: Change, expected: set[str]) -> None:
    predicate = copy.deepcopy(sandboxes.launch())
    change(predicate)
    shapes.check(predicate, attestation.LAUNCH_SHAPE)
    assert codes(predicate) == expected


def test_what_only_the_server_knows_is_held_against_the_launch() -> None:
    given_ = sandboxes.launch()
    assert codes(given_, agent_state=None) == {"agent-unknown"}
    assert codes(given_, agent_state="suspended") == {"agent-suspended"}
    assert codes(given_, agent_state="anything else") == {"agent-suspended"}
    assert codes(given_, delegations=[]) == {"grants-changed"}
    assert codes(given_, policy=digests.sha256(b"new")) == {"policy-changed"}
    assert codes(given_, realm="other.test") == {"wrong-realm"}
    assert codes(given_, signer_of=lambda raw, signature: None) == {"layer-signature"}
    assert codes(given_, subjects={}) == {"digest-mismatch"}
    assert codes(given_, subjects={launches.SUBJECT: "0" * 64}) == {"digest-mismatch"}
    assert codes(given_, subjects={"other": configuration.digest(given_["effective"])[7:]}) == {"digest-mismatch"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda p: p["flags"].append("--privileged"), {"unsafe-flag"}),
        (lambda p: p["flags"].extend(["--network", "host"]), {"unsafe-flag"}),
        (lambda p: p["flags"].remove("--cap-drop=ALL"), {"flags-mismatch"}),
        (lambda p: p["flags"].append("TOKEN=ghp_0123456789abcdefghij"), {"secret-in-configuration"}),
        (lambda p: p["runtime"].update(launched=True), {"flags-mismatch"}),
        (lambda p: p["runtime"].update(kind="gvisor"), {"flags-mismatch"}),
    ],
)
def test_a_declared_runtime_has_the_flags_of_its_configuration_and_none_that_is_unsafe(
    change: Change, expected: set[str]
) -> None:
    predicate = copy.deepcopy(sandboxes.declared())
    change(predicate)
    assert codes(predicate) == expected


def test_signers_are_the_people_of_all_layers_once() -> None:
    given_ = sandboxes.launch()
    assert launches.signers(given_, sandboxes.signer_of) == ["pe_ada"]
    del given_["layers"][0]["signature"]
    given_["layers"][1]["signature"] = "forged"
    assert launches.signers(given_, sandboxes.signer_of) == []


def test_a_layer_is_signed_as_ssh_keygen_does_it_and_for_this_purpose_only() -> None:
    raw = BASE.encode()

    def signer_of(text: bytes, signature: str) -> str | None:
        try:
            key = sshsig.parse_public_key(ADMIN_LINE)
            held = sshsig.verify(signature, text, launches.SSH_NAMESPACE, key)
        except sshsig.SshSigError:
            return None
        return "pe_ada" if held else None

    given_ = sandboxes.launch()
    for each in given_["layers"]:
        each["signature"] = sshsig.sign(sandboxes.ADMIN_KEY, each["text"].encode(), launches.SSH_NAMESPACE)
    assert codes(given_, signer_of=signer_of) == set()
    given_["layers"][0]["signature"] = sshsig.sign(sandboxes.ADMIN_KEY, raw, "imprimatur-delegation-v1")
    assert codes(given_, signer_of=signer_of) == {"layer-signature"}


def test_more_reasons_than_an_entry_holds_are_counted() -> None:
    rows = launches.reasons([Problem("widens", "x" * 900)] * 40)
    assert len(rows) == launches.MAX_REASONS and rows[-1]["code"] == "more" and "9 more" in rows[-1]["message"]
    shapes.check(rows, shapes.ListOf(attestation.REASON, max=32, min=1))


JSON = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)


@given(st.data())
def test_whatever_is_changed_in_the_effective_configuration_is_refused(data: st.DataObject) -> None:
    predicate = copy.deepcopy(sandboxes.launch())
    table = data.draw(st.sampled_from(sorted(predicate["effective"])))
    before = copy.deepcopy(predicate["effective"])
    if data.draw(st.booleans()) or table == "realm":
        predicate["effective"][table] = data.draw(JSON)
    else:
        predicate["effective"][table][data.draw(st.sampled_from(sorted(before[table])))] = data.draw(JSON)
    found = codes(predicate)
    if configuration.digest(predicate["effective"]) != configuration.digest(before):
        assert "merge-mismatch" in found
    else:
        assert found == set()


@given(st.data())
def test_whatever_is_changed_in_the_flags_is_refused(data: st.DataObject) -> None:
    predicate = copy.deepcopy(sandboxes.launch())
    flags = predicate["flags"]
    place = data.draw(st.integers(0, len(flags) - 1))
    act = data.draw(st.sampled_from(["drop", "double", "change"]))
    new = {"drop": [], "double": [flags[place]] * 2, "change": [flags[place] + "x"]}[act]
    predicate["flags"] = [*flags[:place], *new, *flags[place + 1 :]]
    assert (predicate["flags"] == flags) == (codes(predicate) == set())
    assert codes(predicate) <= {"flags-mismatch"}
