"""An orchestrator says what it is about to start, and it is written down either way: attested, or refused and why.

The rules of the verifier decide, here under the lock with the facts as they are then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from audit.log import Writer
from governance.errors import Refused
from governance.runtime import statements, terms, trees
from governance.runtime.models import Launch, RefusedLaunch, Service
from governance.runtime.statements import Said
from imprimatur.formats import attestation, canonical
from imprimatur.rules import launches
from imprimatur.rules.configuration import Problem

LARGEST_BODY = 43_500  # bytes of canonical JSON: what an entry holds, less everything around a body

UNTOLD = "This is told once no secret stands in the launch."

SHORTER = (200, 80, 20)
"""Characters of every reason, when a long statement leaves no room for all of them."""

Signers = dict[terms.Layer, str | None]


@dataclass(frozen=True)
class Judged:
    """What the rules say of a launch under these terms, with layers signed by these admins."""

    terms: terms.Terms
    signers: Signers
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Command:
    """``keys`` is, for every signed layer, the fingerprint of the key that signed it.

    Crypto, parsing and merging happen before the lock. Under it what they rested on is compared with what stands then,
    and the launch is judged again when that has changed.
    """

    said: Said
    keys: Mapping[terms.Layer, str]
    judged: Judged


@dataclass(frozen=True)
class Result:
    """Exactly one of ``launch`` and ``refused`` is there. ``own`` is the service's tree now."""

    launch: Launch | None
    refused: RefusedLaunch | None
    own: dict[str, object]
    fresh: bool = True


def prepare(service: Service, text: str, now: datetime) -> Command:
    """Read the statement, check every signature in it and judge it. Raises Refused: malformed, policy-error."""
    said = statements.read(service, text, attestation.LAUNCH, now)
    signed = [each for each in said.predicate["layers"] if "signature" in each]
    keys = {layer: terms.key_that_signed(layer) for layer in ((x["text"].encode(), x["signature"]) for x in signed)}
    return Command(said, keys, _judge(said, keys, now))


def apply(writer: Writer, command: Command) -> Result:
    """Write it down. The same statement again answers the same and writes nothing, unless it was kept out of the log
    for a secret in it: then each time counts.

    Raises Refused: key-revoked (the service was retired), wrong-state (it does not follow), conflict (another launch
    has this id), policy-error (no policy is active, so nothing can be started).
    """
    said, predicate = command.said, command.said.predicate
    service = statements.signer_of(writer, said)
    before = statements.written_before(service, said)
    if before is not None:
        return Result(
            Launch.objects.filter(index=before).first(),
            RefusedLaunch.objects.filter(pk=before).first(),
            trees.own_of(service),
            fresh=False,
        )
    trees.must_follow(service, predicate["own"])
    if Launch.objects.filter(pk=predicate["launch"]).exists():
        raise Refused("conflict", "Another launch has this id. A launch is attested once; make a new id.")
    judged = _judge(said, command.keys, writer.now, command.judged)
    if judged.problems:
        refused = _refuse(writer, service, said, judged.problems)
        return Result(None, refused, trees.own_of(service))
    launch = _attest(writer, service, said, launches.signers(predicate, _asked(judged.signers)))
    return Result(launch, None, trees.own_of(service))


def _judge(said: Said, keys: Mapping[terms.Layer, str], at: datetime, before: Judged | None = None) -> Judged:
    """The verifier's own rules, with the facts of now; ``before`` when those are the same still."""
    found = terms.of(said.predicate["agent"], at)
    signers = {layer: terms.signer_of(key) for layer, key in keys.items()}
    if before is not None and (before.terms, before.signers) == (found, signers):
        return before
    problems = launches.problems(
        said.predicate,
        said.subjects,
        realm=settings.REALM,
        agent_state=found.state,
        delegations=found.delegations,
        policy=found.policy,
        signer_of=_asked(signers),
    )
    return Judged(found, signers, tuple(problems))


def _asked(signers: Signers) -> launches.SignerOf:
    return lambda raw, signature: signers.get((raw, signature))


def _attest(writer: Writer, service: Service, said: Said, signers: list[str]) -> Launch:
    predicate = said.predicate
    entry = writer.append(
        "launch.attested",
        subject=predicate["launch"],
        agent=predicate["agent"],
        actor=statements.actor_of(service),
        body={"launch": predicate["launch"], "agent": predicate["agent"], "statement": said.text},
    )
    trees.grow(service, said.text, entry.index)
    return Launch.objects.create(
        id=predicate["launch"],
        agent_id=predicate["agent"],
        service=service,
        runtime=predicate["runtime"]["kind"],
        launched=predicate["runtime"]["launched"],
        configuration=f"sha256:{said.subjects[launches.SUBJECT]}",
        document=dict(predicate),
        signers=signers,
        index=entry.index,
        attested_at=writer.now,
    )


def _refuse(writer: Writer, service: Service, said: Said, problems: tuple[Problem, ...]) -> RefusedLaunch:
    predicate = said.predicate
    secrets = [problem for problem in problems if problem.code == launches.HELD_BACK]
    if secrets:
        # Nothing takes a secret out of the log again: there is the fact, and neither the statement nor words that
        # quote it. So it is not in the tree of the service either, which signs its next one in its place.
        others = [Problem(problem.code, UNTOLD) for problem in problems if problem.code != launches.HELD_BACK]
        problems = (*secrets, *others)
    reasons = launches.reasons(problems)
    body: dict[str, Any] = {"reasons": reasons, "digest": said.digest}
    if not secrets:
        body["statement"] = said.text
    for most in SHORTER:  # every code stays: verifiers work them out again, and not the words
        if len(canonical.dumps(body)) <= LARGEST_BODY:
            break
        for reason in reasons:
            reason["message"] = reason["message"][:most]
    entry = writer.append("launch.refused", subject=predicate["launch"], actor=statements.actor_of(service), body=body)
    if not secrets:
        trees.grow(service, said.text, entry.index)
    return RefusedLaunch.objects.create(
        index=entry.index,
        service=service,
        launch=predicate["launch"],
        agent=predicate["agent"],
        reasons=reasons,
        at=writer.now,
    )
