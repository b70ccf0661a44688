"""Whether a launch that an orchestrator attests may be: everything it says is worked out again from what is signed.

The orchestrator is not trusted with anything but to say truly what it ran. So the configuration is merged again from
the signed layers, the sandbox's command line is built again from the configuration, and what the agent may do is
compared with what the server knows. Whose layer, agent, delegations and policy are in force is the caller's to know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from imprimatur.formats import digests
from imprimatur.formats.canonical import CanonicalError
from imprimatur.rules import bubblewrap, configuration
from imprimatur.rules.configuration import ConfigurationError, Problem, quote

SUBJECT = "effective-config"
SSH_NAMESPACE = "imprimatur-config-v1"
"""For `ssh-keygen -Y sign -n imprimatur-config-v1 layer.toml`."""

MAX_REASONS, MAX_MESSAGE = 32, 500

HELD_BACK = "secret-in-configuration"
"""The code of what must not even be written down as refused: nothing takes a secret out of the log again."""

SignerOf = Callable[[bytes, str], str | None]
"""From the exact bytes of a layer and its SSHSIG to the id of the active admin whose key in force made it, or None."""


def problems(
    predicate: Mapping[str, Any],
    subjects: Mapping[str, str],
    *,
    realm: str,
    agent_state: str | None,
    delegations: Collection[str],
    policy: str,
    signer_of: SignerOf,
) -> list[Problem]:
    """Every reason to refuse this launch, in a fixed order; empty when there is none.

    ``predicate`` has the shape `attestation.LAUNCH_SHAPE` and ``subjects`` are digests in hex. ``agent_state`` is
    ``active``, any other state, or None for an agent that nobody registered. ``delegations`` are the ids of all live
    delegations of the agent whose whole chain is live, and ``policy`` is the digest of the policy in force.
    """
    effective = predicate["effective"]
    found = list(_layers(predicate, realm, signer_of))
    found += _digest(effective, subjects)
    wrong = configuration.problems(effective, realm)
    known = set(found)
    found += [problem for problem in wrong if problem not in known]
    if predicate["realm"] != realm:
        found.append(Problem("wrong-realm", f"The launch is for the realm {quote(predicate['realm'])}; use {realm}."))
    found += _runtime(predicate, built=not wrong)
    found += _command(predicate)
    found += _authority(predicate, agent_state, delegations, policy)
    if all(problem.code != HELD_BACK for problem in found) and any(
        map(configuration.holds_a_secret, _texts(predicate))
    ):
        found.append(Problem(HELD_BACK, "The launch holds what looks like a secret; take it out of what is attested."))
    return found


def secrets(predicate: Mapping[str, Any]) -> list[Problem]:
    """What looks like a secret in this launch, of which authority and realm need not be known yet. Whoever finds any
    keeps the whole statement to themselves."""
    whole = {**predicate, "realm": "", "delegations": ()}
    found = problems(
        whole, {}, realm="", agent_state="active", delegations=(), policy="", signer_of=lambda raw, signature: ""
    )
    return [problem for problem in found if problem.code == HELD_BACK]


def signers(predicate: Mapping[str, Any], signer_of: SignerOf) -> list[str]:
    """The ids of the people who signed the layers, each once, in the order of the layers."""
    people = (
        signer_of(item["text"].encode(), item["signature"]) for item in predicate["layers"] if "signature" in item
    )
    return list(dict.fromkeys(person for person in people if person is not None))


def reasons(found: Iterable[Problem]) -> list[dict[str, str]]:
    """The problems as `attestation.REASON`, as many as an entry holds; the last one says how many more there are."""
    rows = [{"code": problem.code, "message": problem.message[:MAX_MESSAGE]} for problem in found]
    if len(rows) <= MAX_REASONS:
        return rows
    more = len(rows) - MAX_REASONS + 1
    return [*rows[: MAX_REASONS - 1], {"code": "more", "message": f"There are {more} more; correct these first."}]


def _layers(predicate: Mapping[str, Any], realm: str, signer_of: SignerOf) -> Iterator[Problem]:
    parsed: list[dict[str, Any]] = []
    readable = True
    for layer in predicate["layers"]:
        name, raw = quote(layer["name"], 60), layer["text"].encode()
        if digests.sha256(raw) != layer["digest"]:
            yield Problem("layer-digest", f"The text of {name} has another digest than is given; read the file again.")
        if "signature" not in layer:
            yield Problem("unsigned-layer", f"{name} is not signed: ssh-keygen -Y sign -n {SSH_NAMESPACE} -f KEY FILE.")
        elif signer_of(raw, layer["signature"]) is None:
            yield Problem(
                "layer-signature",
                f"The signature of {name} is not by a key in force of an active admin, over exactly these bytes, "
                f"with namespace {SSH_NAMESPACE}. Have an admin sign the file as it is.",
            )
        if configuration.holds_a_secret(layer["text"]):
            yield Problem(HELD_BACK, f"{name} holds what looks like a secret, if only beside what counts; take it out.")
        try:
            parsed.append(configuration.parse_layer(layer["text"]))
        except ConfigurationError as error:
            readable = False
            for problem in error.problems:
                yield Problem(problem.code, f"{name}: {problem.message}"[:MAX_MESSAGE])
    for layer, document in zip(predicate["layers"], parsed, strict=False) if readable else ():
        if document["realm"] != realm:
            yield Problem("wrong-realm", f"{quote(layer['name'], 60)} is for the realm {quote(document['realm'])}.")
    if predicate["merge"]["program"] != configuration.MERGE_PROGRAM:
        yield Problem(
            "merge-mismatch", f"The layers were merged by another program than {configuration.MERGE_PROGRAM}."
        )
    if readable:
        yield from configuration.widenings(parsed)
        # The digest of the merging program is not compared: a later version of it has another, and the same result.
        if not _equal(configuration.merge(parsed), predicate["effective"]):
            yield Problem("merge-mismatch", "The effective configuration is not what the layers merge to; merge again.")


def _digest(effective: Mapping[str, Any], subjects: Mapping[str, str]) -> Iterator[Problem]:
    try:
        same = subjects.get(SUBJECT) == configuration.digest(effective).removeprefix("sha256:")
    except CanonicalError:
        same = False
    if not same:
        yield Problem("digest-mismatch", f"The subject {SUBJECT} is not the digest of the effective configuration.")


def _runtime(predicate: Mapping[str, Any], *, built: bool) -> Iterator[Problem]:
    effective, runtime = predicate["effective"], predicate["runtime"]
    given = _table(effective, "runtime")
    if runtime["kind"] != given.get("kind"):
        yield Problem("flags-mismatch", f"It runs in {runtime['kind']}, and the configuration names another runtime.")
    if runtime["launched"] != (runtime["kind"] == "bwrap"):
        yield Problem(
            "flags-mismatch", "Only bwrap is launched here; every other runtime is declared (launched: false)."
        )
    if predicate.get("image") != given.get("image"):
        yield Problem("digest-mismatch", "The image is not the one that the configuration names; pin runtime.image.")
    if runtime["kind"] == "bwrap":
        # What cannot be built (a configuration with problems) was refused for that.
        if built and given.get("kind") == "bwrap" and predicate["flags"] != bubblewrap.arguments(effective):
            yield Problem("flags-mismatch", _difference(predicate["flags"], bubblewrap.arguments(effective)))
        return
    for sentence in configuration.unsafe_flags(predicate["flags"]):
        yield Problem("unsafe-flag", f"The runtime's flags have {sentence}")
    demanded = given.get("flags")
    for flag in demanded if isinstance(demanded, list) else []:
        if flag not in predicate["flags"]:
            yield Problem("flags-mismatch", f"The configuration demands the flag {quote(flag)}, and it is missing.")
    if any(configuration.holds_a_secret(flag) for flag in predicate["flags"]):
        yield Problem(HELD_BACK, "A flag of the runtime holds what looks like a secret; pass it by name.")


def _difference(found: list[str], expected: list[str]) -> str:
    pairs = enumerate(zip(found, expected, strict=False), 1)
    place = next((number for number, (one, other) in pairs if one != other), min(len(found), len(expected)) + 1)
    one = quote(found[place - 1]) if place <= len(found) else "nothing"
    other = quote(expected[place - 1]) if place <= len(expected) else "nothing"
    return f"Flag {place} of bwrap is {one} where the configuration makes it {other}; launch with the flags it makes."


def _command(predicate: Mapping[str, Any]) -> Iterator[Problem]:
    command, path = predicate["command"], predicate["executable"]["path"]
    allowed = _table(predicate["effective"], "command").get("allowed")
    allowed = allowed if isinstance(allowed, list) else []
    if not command[0].startswith("/"):
        yield Problem("command-not-allowed", f"The command is {quote(command[0])}; give its path from the root.")
    elif command[0] not in allowed:
        yield Problem("command-not-allowed", f"{quote(command[0])} is not in command.allowed.")
    if path not in allowed and path != command[0]:
        yield Problem(
            "command-not-allowed",
            f"What really runs is {quote(path)}, which is not in command.allowed; a link allows only itself.",
        )
    if predicate["runtime"]["kind"] == "bwrap" and "digest" not in predicate["executable"]:
        yield Problem("digest-mismatch", "The launch does not say the digest of the executable; add executable.digest.")
    for sentence in configuration.unsafe_flags(command[1:]):
        yield Problem("unsafe-flag", f"The command has {sentence}")
    if any(configuration.holds_a_secret(argument) for argument in command):
        yield Problem(HELD_BACK, "The command holds what looks like a secret; pass it by env.pass.")


def _authority(
    predicate: Mapping[str, Any], agent_state: str | None, delegations: Collection[str], policy: str
) -> Iterator[Problem]:
    agent = predicate["agent"]
    if _table(predicate["effective"], "agent").get("id") != agent:
        yield Problem("agent-unknown", f"The configuration is for another agent than {agent}; use the one for it.")
    if agent_state is None:
        yield Problem("agent-unknown", f"There is no agent {agent} in this realm; enrol it first.")
    elif agent_state != "active":
        yield Problem("agent-suspended", f"The agent {agent} is {agent_state}; an admin has to let it act again.")
    if set(predicate["delegations"]) != set(delegations):
        more = len(set(predicate["delegations"]) - set(delegations))
        fewer = len(set(delegations) - set(predicate["delegations"]))
        yield Problem(
            "grants-changed",
            f"The launch names {more} delegations not in force and leaves out {fewer}; ask for the terms again.",
        )
    if predicate["policy"] != policy:
        yield Problem("policy-changed", "Another policy is in force than the launch names; ask for the terms again.")


def _texts(value: Any) -> Iterator[str]:
    """Every text in a predicate, but those of signatures, which look like anything."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield name
            if name != "signature":
                yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    try:
        return configuration.digest(one) == configuration.digest(other)  # True is 1 to Python, and not here
    except CanonicalError:
        return False


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}
