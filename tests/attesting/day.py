"""A day of 24 hours on a desk, made by real actions while the test moves the clock; published, and bundled at its end.

Two admins with keys, two reviewers, an auditor; three agents; an orchestrator, a monitor and canaries that speak every
half hour. Something goes wrong in every way that services are there for: the server is down for two hours, a run of
the canaries has no positive control, an agent drifts, something runs that nobody attested, a launch is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.test import override_settings

from approvals.actions import cast_vote, expire_requests, issue_grant, look_over
from approvals.door import limits
from approvals.grants import document as grant_document
from approvals.models import ActionRequest
from audit import proofs, publisher, signer
from audit import trust as anchors
from audit.actions import change_decision_key, note_started
from audit.evidence import bundle
from audit.log import commit, utc_now
from audit.models import Entry, LogHead
from governance.actions import (
    add_person_key,
    resume_agent,
    retire_tool,
    revoke_delegation,
    rotate_key,
)
from governance.begin import Newcomer, begin_installation
from governance.models import Delegation, Person
from governance.runtime.actions import end_launch
from imprimatur.formats import attestation, digests
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from imprimatur.rules.policy import DEFAULT_POLICY
from imprimatur.rules.tools import DEFAULT_TOOLS
from tests import conftest
from tests.approvals.signing import Browser
from tests.attesting.service import predicate_of, service, without_seccomp
from tests.conftest import REALM, World, ssh_line
from tests.door.agent import AgentUnderTest, Answer, new_attempt, through_django
from tests.governance import proposals

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
ROUNDS = 48
DOWN = range(26, 29)
"""Rounds in which the server is down: none from 13:00 to 14:00, so that nothing is entered from 12:30 to 14:30."""
WITHOUT_CONTROL, DRIFT, STRANGER = 34, 20, 31

CAST = {
    "ada": ("Ada Brandt", ("admin",)),
    "ben": ("Ben Okoro", ("admin",)),
    "rui": ("Rui Falk", ("reviewer",)),
    "rosa": ("Rosa Imhof", ("reviewer",)),
    "audra": ("Audra Lind", ("auditor",)),
}
BASE = """realm = "{realm}"
[runtime]
kind = "bwrap"
[limits]
memory_mb = 512
cpu_seconds = 600
wall_seconds = 172800
processes = 16
open_files = 64
file_size_mb = 10
[network]
mode = "none"
[security]
seccomp = "strict"
no_new_privileges = true
capabilities = []
"""
OWN = """realm = "{realm}"
[agent]
id = "{agent}"
[command]
allowed = ["/usr/bin/robo"]
[limits]
memory_mb = 256
[files]
read = ["/srv/robo"]
"""


@dataclass
class Clock:
    """The time that the server, its agents and its people read. It moves when it is told to."""

    now: datetime = BEGIN

    def at(self, when: datetime) -> None:
        """Move on to this time; never back."""
        self.now = max(self.now, when)

    def seconds(self) -> float:
        """The time as `time.time` gives it."""
        return self.now.timestamp()

    def after(self, **span: float) -> None:
        """Let so much time pass."""
        self.now += timedelta(**span)


@dataclass
class Day:
    """What is left of the day. Bundles are files; ``noon`` is the bundle of what there was at 12:00, and ``keys`` are
    the private keys of the server's operator: one of the log, and those that signed entries, by key id. ``chosen`` is
    the request that the selective bundle shows, ``entries`` how many there are."""

    whole: Path
    selective: Path
    noon: Path
    trust: dict[str, Any]
    log_key: KeyPair
    decision_keys: dict[str, KeyPair]
    chosen: str
    entries: int


@contextmanager
def moved(clock: Clock, patch: Callable[[str, Any], None]) -> Iterator[None]:
    """Everything reads this clock."""

    class Moved(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return clock.now

    patch("audit.log.datetime", Moved)
    patch("tests.door.agent.time.time", clock.seconds)
    yield


@contextmanager
def rolled_back() -> Iterator[None]:
    """A database in which everything can be done, and of which nothing stays: as each test has it, for longer."""
    atomic = transaction.atomic()
    atomic._from_testcase = True  # type: ignore[attr-defined]  # as Django's TestCase has it: durable blocks may begin
    with atomic:
        yield
        transaction.set_rollback(True)


def lived(folder: Path, clock: Clock) -> Day:
    """Live the day, in a database and folders in which nothing has begun."""
    places = {"LOG_DIR": "log", "KEYS_DIR": "keys", "INBOX_DIR": "inbox", "BUNDLES_DIR": "bundles"}
    plain = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    with override_settings(
        DATA_DIR=folder,
        **{name: folder / place for name, place in places.items()},
        MIDDLEWARE=plain,
        ROOT_URLCONF="server.urls",
    ):
        conftest._forget()
        try:
            return Desk(folder, clock).live()
        finally:
            conftest._forget()


class Desk:
    """The desk on that day: what happens in each half hour."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock = folder, clock
        self.marks: dict[str, Any] = {}
        self.live_launches: dict[str, dict[str, Any]] = {}
        self._found()

    # --- before the first round ---------------------------------------------------------------------------------

    def _found(self) -> None:
        newcomers = [Newcomer(login, roles, name) for login, (name, roles) in CAST.items()]
        policy = {**copy.deepcopy(DEFAULT_POLICY), "name": "The first"}
        begun = begin_installation(newcomers, REALM, policy, list(DEFAULT_TOOLS.values()))
        self.world = world = World(REALM, {person.user.username: person for person in begun.people})
        Person.objects.update(must_change_password=False)
        for person in world.people.values():
            person.must_change_password = False
        for name in ("ada", "ben"):
            self.soon()
            world.ssh[name] = KeyPair.generate()
            person = world.people[name]
            commit(add_person_key.apply, add_person_key.Command(person, ssh_line(world.ssh[name]), person))
        for name in ("ada", "ben", "rui", "rosa"):
            self.publish()
            world.signing(name)
        self.started()
        for name in ("robo", "twin", "trip"):
            self.publish()
            world.enrol(name)
        self.publish()
        self.services()
        self.publish()

    def services(self) -> None:
        """One of each role, registered by an admin."""
        roles = (attestation.ORCHESTRATOR, attestation.MONITOR, attestation.CANARIES)
        self.orchestrator, self.monitor, self.canary = (service(self.world, through_django, role) for role in roles)

    def started(self) -> None:
        """The server begins, and says what it is made of."""
        made = {name: digests.sha256(name.encode()) for name in ("lock", "settings", "tree")}
        body = {"software": "imprimatur", "process": "web", "packages": {"checked": 40, "wrong": []}, "options": []}
        commit(note_started.apply, note_started.Command({**body, **made}))

    # --- the course of the day ----------------------------------------------------------------------------------

    def live(self) -> Day:
        """Every round, and what happens in it; then the bundles."""
        for number in range(ROUNDS):
            if number in DOWN:
                continue
            self.clock.at(BEGIN + HALF_HOUR * number + timedelta(minutes=5))
            for limiter in (limits.addresses, limits.keys, limits.services, limits.rejected):
                limiter.clear()
            event = getattr(self, f"round_{number}", None)
            if event is not None:
                event()
                self.publish()
            self.routine(number)
            self.clock.at(BEGIN + HALF_HOUR * number + timedelta(minutes=20))
            self.look(number)
            self.publish()
        return self.evening()

    def soon(self) -> None:
        """A second later."""
        self.clock.after(seconds=1)

    def publish(self) -> None:
        """What the publisher does within seconds: the notary reads all of it, and it must follow the rules."""
        self.soon()
        self.world.publish()
        head = LogHead.objects.get()
        assert head.state == LogHead.OPEN, head.frozen_reason
        assert publisher.published_size() == head.size

    def head(self) -> dict[str, Any]:
        """The newest checkpoint, as a monitor reads it."""
        newest = proofs.latest_checkpoint()
        return {"size": newest.size, "root": f"sha256:{newest.root}"}

    def agent(self, name: str, delegation: str = "") -> AgentUnderTest:
        """An agent under this delegation, or under its own."""
        return AgentUnderTest(through_django, self.world.keys[name], delegation or self.marks[f"of {name}"])

    def routine(self, number: int) -> None:
        """What agents do all day: LOW and MEDIUM, redeemed at once and reported."""
        for name in ("robo", "twin"):
            if f"of {name}" not in self.marks:
                continue
            self.soon()
            agent = self.agent(name)
            asked = agent.read(f"/project/src/{number}.py", attempt=new_attempt())
            if asked.status == 200:
                self.soon()
                self.took(agent.report(asked.json))
        if number % 4 == 3 and "of robo" in self.marks:
            self.soon()
            changed = self.agent("robo").write(f"/project/src/{number}.py", attempt=new_attempt())
            self.took(changed)
            look_over.look_over(self.world.rui, changed.json["id"], "acknowledged")
        commit(expire_requests.apply, expire_requests.Command())

    def look(self, number: int) -> None:
        """The monitor looks at every launch, and the canaries run."""
        texts = []
        for name, launch in self.live_launches.items():
            drifts = number == DRIFT and name == "twin"
            seen: dict[str, Any] = {"processes": [without_seccomp(launch)]} if drifts else {}
            texts.append(self.monitor.observation(launch, log=self.head(), **seen))
            self.monitor.took(texts[-1])
        if number == STRANGER:
            texts.append(self.monitor.observation(None, claimed="lau_unheard_of", log=self.head()))
            self.monitor.took(texts[-1])
        if texts:
            self.took(self.monitor.observe(*texts), 201)
        self.soon()
        answers: dict[str, Any] = {"positive_control": (503, "busy")} if number == WITHOUT_CONTROL else {}
        self.took(self.canary.report(every=1800, **answers), 201)

    def took(self, answer: Answer, status: int = 200) -> Any:
        """It was taken; what it says."""
        assert answer.status == status, answer.raw
        return answer.json

    # --- rounds in which something happens ----------------------------------------------------------------------

    def round_1(self) -> None:
        """Authority: robo may pass on what it gets; twin gets its own; trip's ends at 06:00."""
        world, end = self.world, format_time(BEGIN + timedelta(days=2))
        long = {"not_after": end}
        root = world.delegate("robo", max_depth=2, **long)
        self.marks["of robo"] = root.id
        self.soon()
        self.marks["of twin"] = world.delegate("twin", **long).id
        self.soon()
        brief = world.delegate("trip", not_after=format_time(BEGIN + timedelta(hours=6)), spend=None)
        self.marks["of trip"] = brief.id

    def round_2(self) -> None:
        """The policy that suspends over drift, by two people; a tool that is changed by two."""
        world = self.world
        policy = {**copy.deepcopy(DEFAULT_POLICY), "name": "Suspends", "respond": {"drift": "suspend"}}
        change = proposals.propose(world, "ada", proposals.policy(policy))
        self.soon()
        proposals.second(world, "ben", change)
        self.soon()
        self.agreed_tool({**DEFAULT_TOOLS["read_file"], "name": "list_folder", "title": "List a folder"})

    def agreed_tool(self, document: dict[str, Any]) -> None:
        change = proposals.propose(self.world, "ben", proposals.tool(document))
        self.soon()
        proposals.second(self.world, "ada", change)

    def round_3(self) -> None:
        """Two launches from two signed layers each, and one that is refused for a flag."""
        for name in ("robo", "twin"):
            self.start(name)
        text = self.orchestrator.launch(
            "trip", layers=self.layers("trip"), command=["/usr/bin/robo", "--dangerously-skip-permissions"]
        )
        refused = self.orchestrator.post("/launches", {"statement": text})
        assert (refused.status, refused.code) == (403, "launch-refused")
        self.orchestrator.took(text)

    def layers(self, name: str) -> list[dict[str, Any]]:
        """The installation's own layer, signed by Ben, and the agent's, signed by Ada."""
        agent = self.world.agents[name].id
        base = self.orchestrator.layer(agent, "ben", BASE.format(realm=REALM))
        own = self.orchestrator.layer(agent, "ada", OWN.format(realm=REALM, agent=agent))
        return [{**base, "name": "base.toml"}, {**own, "name": f"{name}.toml"}]

    def start(self, name: str) -> None:
        text = self.orchestrator.launch(name, layers=self.layers(name))
        self.took(self.orchestrator.post("/launches", {"statement": text}), 201)
        self.orchestrator.took(text)
        self.live_launches[name] = predicate_of(text)
        self.soon()

    def round_5(self) -> None:
        """HIGH, approved by Rui, redeemed and reported; and one that is denied."""
        robo = self.agent("robo")
        asked = self.took(robo.delete(), 202)
        self.approve("rui", asked["id"])
        self.took(robo.redeem(asked))
        self.took(robo.report(asked))
        denied = self.took(robo.delete("/project/src/b.py"), 202)
        request = ActionRequest.objects.get(pk=denied["id"])
        cast_vote.answer(self.world.rosa, request.id, version=request.version, decision="deny", reason="Not today.")
        self.marks["deleted"] = asked["id"]

    def approve(self, who: str, request: str, act: str = "approve", **said: Any) -> None:
        """This person signs an answer with a passkey."""
        self.soon()
        row = ActionRequest.objects.get(pk=request)
        reply = Browser(self.world, who).sign(row, act, **said)
        assert reply.status_code == 302, reply.content.decode()
        self.soon()

    def round_7(self) -> None:
        """CRITICAL, approved by one and confirmed by another."""
        robo = self.agent("robo")
        paid = self.took(robo.pay("40.00"), 202)
        self.approve("rui", paid["id"])
        target = ActionRequest.objects.get(pk=paid["id"]).target
        self.approve("rosa", paid["id"], "confirm", typed=target)
        self.took(robo.redeem(paid))
        self.took(robo.report(paid))
        self.marks["paid"] = paid["id"]

    def round_9(self) -> None:
        """A vote in advance, made from a request, and used twice."""
        robo, world = self.agent("robo"), self.world
        parameters = {"path": "/project/src/x.py", "content": "x", "destructive": True}
        model = self.took(robo.submit("write_file", parameters), 202)
        request = ActionRequest.objects.get(pk=model["id"])
        chosen = {
            "effects": ["file:write:/project/src"],
            "parameters": {
                "path": {"op": "starts_with", "value": "/project/src/"},
                "content": {"op": "any"},
                "destructive": {"op": "equals", "value": True},
            },
            "max_uses": 3,
            "not_after": format_time(utc_now() + timedelta(minutes=15)),
        }
        stated = grant_document(world.rosa, request, chosen, world.key_of("rosa").fingerprint)
        signed = world.signed("rosa", stated)
        commit(issue_grant.apply, issue_grant.command(world.rosa.id, request, signed))
        self.publish()
        self.approve("rui", model["id"])
        for content in ("y", "z"):
            self.soon()
            used = self.took(robo.submit("write_file", {**parameters, "content": content}))
            self.took(robo.redeem(used))
            self.took(robo.report(used))

    def round_11(self) -> None:
        """Robo passes part of what it has on to trip, and trip uses it."""
        parent = Delegation.objects.get(pk=self.marks["of robo"])
        end = {"not_after": format_time(parent.not_after), "not_before": format_time(parent.not_before)}
        part = self.world.pass_on(
            parent, "robo", "trip", scope=["file:read:/project/src"], spend=None, max_depth=1, **end
        )
        self.marks["passed on"] = part.id
        self.soon()
        self.took(self.agent("trip", part.id).read("/project/src/a.py", attempt=new_attempt()))
        self.soon()
        second = self.world.pass_on(
            parent, "robo", "trip", scope=["file:read:/project/tests"], spend=None, max_depth=0, **end
        )
        self.marks["passed on too"] = second.id

    def round_13(self) -> None:
        """Trip's own time is over since 06:00; twin asks for what it never had, and nobody answers one request."""
        assert self.agent("trip").read().code == "delegation-expired"
        self.soon()
        assert self.agent("twin").read("/etc/passwd").code == "out-of-scope"
        self.soon()
        assert self.agent("twin").pay("9999.00").code == "over-budget"
        self.took(self.agent("robo").delete("/project/src/nobody.py"), 202)

    def round_15(self) -> None:
        """The tool changes, by two people."""
        self.agreed_tool({**DEFAULT_TOOLS["read_file"], "name": "list_folder", "title": "List the files of a folder"})

    def round_17(self) -> None:
        """What was passed on is taken back."""
        for name in ("passed on", "passed on too"):
            commit(revoke_delegation.apply, revoke_delegation.Command(self.marks[name], self.world.ada, "done"))
            self.soon()
        self.publish()
        assert self.agent("trip", self.marks["passed on"]).read().code == "delegation-revoked"

    def round_19(self) -> None:
        """Robo takes a new key."""
        agent, old, new = self.world.robo, self.world.keys["robo"], KeyPair.generate()
        said = rotate_key.preimage(realm=REALM, agent=agent.id, old=old.thumbprint, public_key=new.public_key)
        command = rotate_key.Command(agent, old.thumbprint, new.public_key, b64u(old.sign(said)))
        commit(rotate_key.apply, command)
        self.world.keys["robo"] = new

    def round_22(self) -> None:
        """Ada looked into the drift: its launch is ended, and twin goes on in a new one."""
        assert self.agent("twin").read().code == "suspended"
        self.end("twin")
        commit(resume_agent.apply, resume_agent.Command(self.world.agents["twin"], "looked into it", self.world.ada))
        self.publish()
        self.start("twin")

    def end(self, name: str, how: str = "exited") -> None:
        launch = self.live_launches.pop(name)["launch"]
        commit(end_launch.apply, end_launch.Command(launch, self.orchestrator.row.pk, how))
        self.soon()

    def round_24(self) -> None:
        """At noon somebody takes a bundle."""
        self.marks["noon"] = bundle.build(self.folder / "noon.zip").path

    def round_29(self) -> None:
        """The server is back."""
        self.started()

    def round_36(self) -> None:
        """The yearly change of the decision key."""
        key = signer.load(signer.make_later(signer.DECISION))
        commit(change_decision_key.apply, change_decision_key.Command(key, "yearly"))

    def round_38(self) -> None:
        """A tool that nobody needs any more."""
        commit(retire_tool.apply, retire_tool.Command("list_folder", "nobody uses it", self.world.ada))

    def round_40(self) -> None:
        """HIGH by Rosa, under the new decision key."""
        robo = self.agent("robo")
        asked = self.took(robo.delete("/project/src/c.py"), 202)
        self.approve("rosa", asked["id"])
        self.took(robo.redeem(asked))
        self.took(robo.report(asked, "FAILED"))

    def round_44(self) -> None:
        """Robo's launch ends."""
        self.end("robo", "killed")

    # --- after the last round -----------------------------------------------------------------------------------

    def evening(self) -> Day:
        """After the last observation an agent reads once more, and what twin holds is taken back. Then bundles of
        everything, and of one request."""
        self.soon()
        robo = self.agent("robo")
        asked = self.took(robo.read("/project/src/last.py", attempt=new_attempt()))
        self.soon()
        self.took(robo.report(asked))
        self.soon()
        commit(
            revoke_delegation.apply, revoke_delegation.Command(self.marks["of twin"], self.world.ada, "for the night")
        )
        self.publish()
        made = self.folder / "made"
        chosen = self.marks["paid"]
        whole = bundle.build(made / "day.zip")
        selective = bundle.build(made / "one.zip", filters={"requests": [chosen]})
        keys = [signer.load(name) for name in signer.names(signer.DECISION)]
        log_key = signer.log_key()
        assert isinstance(log_key, KeyPair)
        return Day(
            whole.path,
            selective.path,
            self.marks["noon"],
            anchors.document(),
            log_key,
            {key.keyid: key for key in keys if isinstance(key, KeyPair)},
            chosen,
            Entry.objects.count(),
        )
