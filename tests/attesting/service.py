"""A service under test: it signs its own requests and its own statements, and knows its tree by what it is told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from audit.log import commit, utc_now
from audit.models import Entry
from governance import policies
from governance.runtime import terms
from governance.runtime.actions import register_service
from governance.runtime.models import Service
from imprimatur.formats import attestation, canonical, digests, ids, merkle, sshsig
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import bubblewrap, canaries, configuration, launches
from tests.conftest import World
from tests.door.agent import AgentUnderTest, Answer, Send
from tests.verify.builder import CONFIGURATION as LAYER

NODE = {"name": "host-7", "kernel": "6.1.0"}
HOST = {name: 100 + number for number, name in enumerate(attestation.NAMESPACES)}
INSIDE = {name: 200 + number for number, name in enumerate(attestation.NAMESPACES)}
MIB = 1024 * 1024

GOT_THROUGH: dict[str, Any] = {"out_of_scope": (200, "")}
"""For `ServiceUnderTest.run`: one attack that was not refused."""


@dataclass
class ServiceUnderTest:
    """``tree`` is what it signed and the server took: it follows the answers, as a service does."""

    world: World
    door: AgentUnderTest
    row: Service
    tree: merkle.CompactRange = field(default_factory=merkle.CompactRange)

    @property
    def key(self) -> KeyPair:
        return self.door.key

    @property
    def own(self) -> dict[str, Any]:
        """The tree as the next statement says it."""
        return {"size": self.tree.size, "root": f"sha256:{self.tree.root().hex()}"}

    def get(self, path: str) -> Answer:
        return self.door.get(path)

    def post(self, path: str, body: Any, **signing: Any) -> Answer:
        return self.door.post(path, body, **signing)

    def seal(self, typ: str, subjects: dict[str, str], fields: dict[str, Any], **changes: Any) -> str:
        """The text of a statement that follows what the service has signed; ``key`` signs it instead of its own."""
        key = changes.pop("key", self.key)
        predicate = {
            "realm": self.world.realm,
            "service": self.row.pk,
            "own": self.own,
            "at": format_time(utc_now()),
            **fields,
            **changes,
        }
        return attestation.seal(typ, subjects, predicate, key).decode()

    def took(self, *texts: str) -> None:
        """The server has these."""
        for text in texts:
            self.tree.append(merkle.leaf_hash(text.encode()))

    # --- launches ------------------------------------------------------------------------------------------------

    def layer(self, agent: str, who: str | None = "ada", text: str = "") -> dict[str, Any]:
        """A file of configuration for this agent, signed by this person, or by nobody."""
        text = text or LAYER.format(realm=self.world.realm, agent=agent)
        layer = {"name": "robo.toml", "digest": digests.sha256(text.encode()), "text": text}
        if who is not None:
            layer["signature"] = sshsig.sign(self.world.ssh[who], text.encode(), launches.SSH_NAMESPACE)
        return layer

    def launch(self, name: str = "robo", **changes: Any) -> str:
        """The statement of a launch of this agent, from a layer that Ada signed."""
        agent = self.world.agents[name].id
        layers = changes.pop("layers", None) or [self.layer(agent)]
        effective = changes.pop("effective", None)
        if effective is None:
            effective = configuration.merge([configuration.parse_layer(layer["text"]) for layer in layers])
        now = utc_now()
        fields = {
            "launch": ids.new_id("lau", now),
            "agent": agent,
            "runtime": {"kind": "bwrap", "version": "0.8.0", "launched": True},
            "command": ["/usr/bin/robo"],
            "flags": bubblewrap.arguments(effective) if effective else [],
            "executable": {"path": "/usr/bin/robo", "digest": digests.sha256(b"robo")},
            "node": NODE,
            "layers": layers,
            "merge": {"program": configuration.MERGE_PROGRAM, "digest": configuration.merge_digest()},
            "effective": effective,
            "delegations": sorted(terms.granted(agent, now)),
            "policy": policies.active().digest,
        }
        subjects = {launches.SUBJECT: hashlib.sha256(canonical.dumps(effective)).hexdigest()}
        return self.seal(attestation.LAUNCH, subjects, fields, **changes)

    def attest(self, name: str = "robo", **changes: Any) -> Answer:
        """Attest a launch of this agent."""
        text = self.launch(name, **changes)
        answer = self.post("/launches", {"statement": text})
        if answer.status == 201 or (answer.status == 403 and answer.code == "launch-refused"):
            self.took(text)
        return answer

    # --- observations --------------------------------------------------------------------------------------------

    def observation(self, launch: dict[str, Any] | None, claimed: str = "", **changes: Any) -> str:
        """What a monitor sees of a launch that runs as it was attested; of ``None`` something that claims this."""
        fields: dict[str, Any] = {
            "node": NODE,
            "host": HOST,
            "log": {"size": 1, "root": digests.sha256(b"a checkpoint")},
            "processes": [],
        }
        if launch is not None:
            fields |= {"launch": launch["launch"], "processes": [process_of(launch)]}
        if claimed:
            fields["launch"] = claimed
        return self.seal(attestation.OBSERVATION, {"processes": "ab" * 32}, fields, **changes)

    def observe(self, *texts: str) -> Answer:
        """Send observations; those that follow one another were sealed one after the other (`took`)."""
        return self.post("/observations", {"statements": list(texts)})

    def see(self, launch: dict[str, Any] | None, **changes: Any) -> Answer:
        """Make one observation and send it."""
        text = self.observation(launch, **changes)
        answer = self.observe(text)
        if answer.status == 201:
            self.took(text)
        return answer

    # --- canaries ------------------------------------------------------------------------------------------------

    def run(self, at: datetime | None = None, every: int = 300, **answers: tuple[int, str]) -> str:
        """A run of all canaries that ended ``at`` this time; ``answers`` (status, code) differ by attempt."""
        at = at or utc_now()
        given = {name.replace("_", "-"): answer for name, answer in answers.items()}
        attempts = []
        for name, attempt in canaries.ATTEMPTS.items():
            status, code = given.get(name) or sorted(attempt.expected)[0]
            attempts.append({"name": name, "status": status, "code": code, "at": format_time(at)})
        sorted_ = canaries.sort_out(attempts)
        fields = {
            "result": canaries.result(attempts),
            "configuration": [{"name": "canaries", "digest": {"sha256": "cd" * 32}}],
            "passedTests": list(sorted_.passed),
            "warnedTests": list(sorted_.warned),
            "failedTests": list(sorted_.failed),
            "from": format_time(at - timedelta(milliseconds=1)),
            "at": format_time(at),
            "every": every,
            "attempts": attempts,
        }
        return self.seal(attestation.CANARY, {"realm": "ab" * 32}, fields)

    def report(self, at: datetime | None = None, every: int = 300, **answers: tuple[int, str]) -> Answer:
        """Report a run."""
        text = self.run(at, every, **answers)
        answer = self.post("/canaries", {"statement": text})
        if answer.status == 201:
            self.took(text)
        return answer


def process_of(launch: dict[str, Any]) -> dict[str, Any]:
    """The one process of a launch, as /proc tells of it when all is well."""
    effective = launch["effective"]
    return {
        "pid": 4711,
        "parent": 4710,
        "started": 12345,
        "uid": 1000,
        "command": launch["command"],
        "executable": launch["executable"],
        "seccomp": 2,
        "no_new_privileges": True,
        "capabilities": dict.fromkeys(attestation.CAPABILITY_SETS, "0" * 16),
        "namespaces": INSIDE,
        "cgroup": "/imprimatur/robo",
        "limits": bubblewrap.limits(effective),
        "configuration": configuration.digest(effective),
    }


def without_seccomp(launch: dict[str, Any]) -> dict[str, Any]:
    """The process of this launch, whose filter of system calls is gone."""
    return {**process_of(launch), "seccomp": 0}


def entry(index: int) -> dict[str, Any]:
    """An entry as every answer about it has it."""
    return {"index": index, "envelope": bytes(Entry.objects.get(pk=index).envelope).decode()}


def predicate_of(text: str) -> dict[str, Any]:
    """What a statement says."""
    return dict(attestation.open_statement(text.encode()).predicate)


def service(world: World, send: Send, role: str, name: str = "") -> ServiceUnderTest:
    """Register a service of this role and hand it its key."""
    key = KeyPair.generate()
    command = register_service.Command(name or f"the {role}", role, key.public_key, world.ada)
    row = commit(register_service.apply, command).service
    return ServiceUnderTest(world, AgentUnderTest(send, key, ""), row)
