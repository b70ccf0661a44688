"""The launch that must not be: a sandbox whose configuration switches it off, attested by whoever may attest at all."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from imprimatur.canary.agent import Agent
from imprimatur.canary.observed import Observed
from imprimatur.errors import APIError
from imprimatur.formats import attestation, canonical, digests, ids, merkle
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import configuration, launches
from imprimatur.service.machine import node
from imprimatur.service.service import Service

UNSAFE = "--privileged"
_PROGRAM = "/usr/bin/true"
_LAYER = """realm = "{realm}"
[agent]
id = "{agent}"
[runtime]
kind = "docker"
flags = ["{flag}"]
[command]
allowed = ["{program}"]
[limits]
memory_mb = 16
cpu_seconds = 1
wall_seconds = 1
processes = 1
open_files = 16
file_size_mb = 1
[network]
mode = "none"
[security]
seccomp = "default"
no_new_privileges = true
capabilities = []
"""


def made_up(agent: Agent, orchestrator: Service) -> str:
    """The statement of an agent that attests its own launch, under its own key."""
    empty = merkle.CompactRange()
    predicate = {
        **_predicate(agent, [], f"sha256:{'0' * 64}", orchestrator.folder.service),
        "realm": agent.config.realm,
        "service": ids.service_id(agent.key.public_key),
        "own": {"size": 0, "root": f"sha256:{empty.root().hex()}"},
        "at": format_time(agent.now()),
    }
    return attestation.seal(attestation.LAUNCH, _subjects(predicate), predicate, agent.key).decode("utf-8")


def attest_unsafe(orchestrator: Service, agent: Agent) -> Observed:
    """Attest it as a registered orchestrator. What is attested all the same is reported as killed at once.

    Raises ServerError without an answer, and what stops every service (`imprimatur.service.service`).
    """
    with orchestrator.speaking() as voice:
        terms = orchestrator.get(f"/launches/terms?agent={agent.id}")
        predicate = _predicate(agent, list(terms["delegations"]), str(terms["policy"]), orchestrator.folder.service)
        voice.say(attestation.LAUNCH, _subjects(predicate), predicate)
        told = voice.send()[-1]
    if told.kind == "launch.refused":
        codes = sorted({str(reason["code"]) for reason in told.body["reasons"]})
        return Observed(403, "launch-refused", detail=f"Refused for {', '.join(codes)}.")
    with suppress(APIError):
        orchestrator.post(f"/launches/{predicate['launch']}/ended", {"how": "killed"})
    return Observed(201, detail=f"The launch {predicate['launch']} with {UNSAFE} was attested.")


def _predicate(agent: Agent, delegations: list[str], policy: str, service: str) -> dict[str, Any]:
    text = _LAYER.format(realm=agent.config.realm, agent=agent.id, flag=UNSAFE, program=_PROGRAM)
    return {
        "launch": ids.new_id("lau", agent.now()),
        "agent": agent.id,
        "runtime": {"kind": "docker", "version": "none", "launched": False},
        "command": [_PROGRAM],
        "flags": [UNSAFE],
        "executable": {"path": _PROGRAM, "digest": digests.sha256(b"nothing runs")},
        "node": node(f"canary of {service}"),
        "layers": [{"name": "unsafe.toml", "digest": digests.sha256(text.encode("utf-8")), "text": text}],
        "merge": {"program": configuration.MERGE_PROGRAM, "digest": configuration.merge_digest()},
        "effective": configuration.merge([configuration.parse_layer(text)]),
        "delegations": delegations,
        "policy": policy,
    }


def _subjects(predicate: dict[str, Any]) -> dict[str, str]:
    digest = digests.sha256(canonical.dumps(predicate["effective"]))
    return {launches.SUBJECT: digest.removeprefix("sha256:")}
