"""Random agents and people against the server; after every step the notary reads what was written.

The server may refuse whatever it likes. What it writes, the verifier's own rules must accept: otherwise somebody could
stop the log for everybody with requests that are each in order.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from approvals import grants
from approvals.actions import (
    cancel_request,
    cast_vote,
    expire_requests,
    issue_grant,
    look_over,
    recall_vote,
    revoke_grant,
)
from approvals.models import ActionRequest, Grant
from audit import fsck, keyring, retention, signer
from audit.actions import (
    add_log_key,
    change_decision_key,
    erase_openings,
    lift_hold,
    note_shipped,
    place_hold,
    retire_log_key,
    take_export,
)
from audit.admins import Admin
from audit.errors import Declined, KeyRefused
from audit.log import commit, utc_now
from audit.models import Checkpoint, Entry, Hold, LogHead
from governance import ceremonies
from governance.actions import (
    activate_policy,
    change_person,
    correct_spend,
    issue_delegation,
    lift_pause,
    register_tool,
    resume_agent,
    retire_tool,
    revoke_delegation,
    revoke_key,
    rotate_key,
    set_pause,
    suspend_agent,
)
from governance.errors import Refused
from governance.models import Agent, AgentKey, Delegation, Pause, Person
from imprimatur.formats import delegation as formats
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import states
from imprimatur.rules.policy import DEMO_POLICY
from imprimatur.rules.tools import DEFAULT_TOOLS
from imprimatur.verify.grant_history import GrantHistory
from imprimatur.verify.history import History
from tests.conftest import World
from tests.door.agent import AgentUnderTest, new_attempt, through_django

STEPS = 200
SEEDS = int(os.environ.get("IMPRIMATUR_TEST_SEEDS", "3"))
AGENTS = ("robo", "twin", "trip")
TOOLS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "read_file": lambda pick: {"path": pick.choice(["/project/a", "/project/src/b", "/etc/c", "/project/../d"])},
    "write_file": lambda pick: {
        "path": pick.choice(["/project/src/a", "/project/x"]),
        "content": "x",
        "destructive": pick.random() < 0.3,
    },
    "delete_file": lambda pick: {"path": "/project/src/a"},
    "make_payment": lambda pick: {
        "payee": "vendor",
        "amount": pick.choice(["1.00", "40.00", "99999.00", "0.00", "0"]),
        "currency": pick.choice(["USD", "USD", "EUR"]),
        "reference": "r",
    },
    "never_heard_of": lambda pick: {"anything": [1, {"é": None}]},
}


class Nothing(Exception):
    """There is nothing to do this with at the moment."""


@dataclass
class Play:
    """One random run."""

    world: World
    pick: random.Random
    monkeypatch: pytest.MonkeyPatch
    ahead: timedelta = timedelta()
    delegations: list[str] = field(default_factory=list)
    actions: list[dict[str, Any]] = field(default_factory=list)
    policies: int = 0

    def agent(self, name: str) -> AgentUnderTest:
        held = Delegation.objects.filter(subject=self.world.agents[name])
        live = held.filter(revoked_at=None, not_after__gt=self.now())
        own = [row.id for row in (live if self.pick.random() < 0.9 else held)] or self.delegations
        return AgentUnderTest(through_django, self.world.keys[name], self.pick.choice(own))

    def someone(self) -> str:
        return self.pick.choice(AGENTS)

    def request(self) -> ActionRequest:
        rows = list(ActionRequest.objects.order_by("-created_at")[:12])
        if not rows:
            raise Nothing
        return self.pick.choice(rows)

    def person(self) -> Person:
        return Person.objects.get(pk=self.pick.choice(list(self.world.people.values())).pk)

    def owner_of(self, action: dict[str, Any]) -> AgentUnderTest:
        asked = ActionRequest.objects.get(pk=action["id"]).agent_id
        name = next((name for name, agent in self.world.agents.items() if agent.id == asked), "")
        if not name:
            raise Nothing
        return (
            AgentUnderTest(through_django, self.world.keys[name], "") if self.pick.random() < 0.9 else self.agent(name)
        )

    def settle_down(self) -> None:
        """Bring back what was stopped, so that there is something to go on with."""
        self.resume()
        self.lift()
        for who in (self.world.rui, self.world.rosa):
            change = change_person.Command(who, roles=("reviewer",), active=True, by=self.world.ada)
            with contextlib.suppress(Refused):
                commit(change_person.apply, change)
        if not Delegation.objects.filter(not_after__gt=self.now(), revoked_at=None).exists():
            self.grant()

    # --- what may happen ---

    def ask(self) -> None:
        name = self.pick.choice([*TOOLS, "make_payment", "delete_file"])
        more: dict[str, Any] = {}
        if self.pick.random() < 0.3:
            more["attempt"] = new_attempt()
        if self.pick.random() < 0.3:
            more["risk"] = self.pick.choice(["LOW", "HIGH", "CRITICAL"])
        if self.pick.random() < 0.3:
            more["ttl"] = self.pick.choice([60, 300, 14_400])
        if self.pick.random() < 0.3:
            more["justification"] = "because \u202e"
        if self.actions and self.pick.random() < 0.2:
            more["supersedes"] = self.pick.choice(self.actions)["id"]
        if name == "never_heard_of" or self.pick.random() < 0.1:
            more["effects"] = [{"action": "file:write", "resource": "/project/src/q"}]
        answer = self.agent(self.someone()).submit(name, TOOLS[name](self.pick), **more)
        assert answer.status != 503, answer.raw
        if "id" in answer.json:
            self.actions.append(answer.json)

    def pass_on(self) -> None:
        who, to = self.someone(), self.someone()
        parent = Delegation.objects.get(pk=self.agent(who).delegation)
        if parent.not_after <= self.now():
            raise Nothing
        ends = self.pick.choice([format_time(parent.not_after), format_time(self.now() + timedelta(seconds=70))])
        document = self.world.document(
            to,
            issuer=self.world.agents[who].id,
            parent=parent.id,
            not_before=format_time(self.now()),
            not_after=ends,
            max_depth=self.pick.choice([0, 1, 2]),
            spend={"unit": "USD", "limit": self.pick.choice(["50.00", "100.00"])},
            on_behalf_of=parent_says(parent).get("on_behalf_of"),
        )
        command = issue_delegation.Command(document, self.world.sign_as_agent(document, who), self.world.agents[who])
        self.delegations.append(self.world.issue(command).id)

    def grant(self) -> None:
        ends = self.now() + timedelta(seconds=self.pick.choice([70, 400, 7200]))
        document = self.world.document(
            self.someone(),
            max_depth=3,
            not_before=format_time(self.now()),
            not_after=format_time(ends),
            on_behalf_of=self.pick.choice([None, self.world.rui.id]),
        )
        command = issue_delegation.Command(document, self.world.sign_as_person(document), self.world.ada)
        self.delegations.append(self.world.issue(command).id)

    def vote(self) -> None:
        rows = list(ActionRequest.objects.filter(state__in=states.PENDING_STATES))
        if not rows:
            raise Nothing
        request = self.pick.choice(rows)
        likely = "approve" if request.state == "PENDING" else "confirm"
        decision = self.pick.choice([likely, likely, likely, "confirm", "deny"])
        cast_vote.answer(
            self.pick.choice([self.world.rui, self.world.rosa, self.person()]),
            request.id,
            version=request.version,
            decision=decision,
            reason="no" if decision == "deny" else self.pick.choice(["", "yes"]),
            typed=request.target,
        )

    def approve_ahead(self) -> None:
        rows = list(ActionRequest.objects.filter(state="PENDING", risk="HIGH", tool="write_file"))
        if not rows:
            raise Nothing
        request = self.pick.choice(rows)
        person = self.pick.choice([self.world.rui, self.world.rosa, self.person()])
        chosen = {
            "effects": ["file:write:/project/src"],
            "parameters": {
                "path": {"op": "any"},
                "content": {"op": "any"},
                "destructive": self.pick.choice([{"op": "any"}, {"op": "equals", "value": True}]),
            },
            "max_uses": self.pick.choice([1, 2, 100]),
            "not_after": format_time(self.now() + timedelta(seconds=self.pick.choice([30, 600, 3500]))),
        }
        signed = ceremonies.session(person, grants.document(person, request, chosen, None))
        commit(issue_grant.apply, issue_grant.command(person.id, request, signed))
        self.world.publish()

    def take_back(self) -> None:
        rows = list(Grant.objects.all())
        if not rows:
            raise Nothing
        commit(revoke_grant.apply, revoke_grant.Command(self.pick.choice(rows).id, self.person(), "enough"))

    def recall(self) -> None:
        commit(recall_vote.apply, recall_vote.command(self.person(), self.request().id))

    def look(self) -> None:
        look_over.look_over(self.person(), self.request().id, self.pick.choice(["acknowledged", "flagged"]), reason="r")

    def cancel(self) -> None:
        commit(cancel_request.apply, cancel_request.Command(self.request().id, person=self.world.ada.id))

    def redeem(self) -> None:
        if self.actions:
            action = self.pick.choice(self.actions[-8:])
            assert self.owner_of(action).redeem(action).status != 503

    def report(self) -> None:
        if self.actions:
            more: dict[str, Any] = {}
            if self.pick.random() < 0.5:
                more["cost"] = {"amount": self.pick.choice(["0.00", "3.00", "9007199254.740991"]), "unit": "USD"}
            outcome = self.pick.choice(["SUCCEEDED", "FAILED"])
            action = self.pick.choice(self.actions[-8:])
            assert self.owner_of(action).report(action, outcome, **more).status != 503

    def comment(self) -> None:
        if self.actions:
            self.agent(self.someone()).post(f"/actions/{self.pick.choice(self.actions)['id']}/comments", {"text": "so"})

    def time_passes(self) -> None:
        self.ahead += timedelta(seconds=self.pick.choice([1, 61, 301, 700]))
        commit(expire_requests.apply, expire_requests.Command())

    def rotate(self) -> None:
        name, new = self.someone(), KeyPair.generate()
        agent, old = self.world.agents[name], self.world.keys[name]
        message = rotate_key.preimage(
            realm=self.world.realm, agent=agent.id, old=old.thumbprint, public_key=new.public_key
        )
        commit(rotate_key.apply, rotate_key.Command(agent, old.thumbprint, new.public_key, b64u(old.sign(message))))
        self.world.keys[name] = new

    def revoke(self) -> None:
        commit(revoke_delegation.apply, revoke_delegation.Command(self.pick.choice(self.delegations), self.world.ada))

    def give_up(self) -> None:
        name = self.someone()
        by = self.world.agents[name]
        commit(revoke_delegation.apply, revoke_delegation.Command(self.agent(name).delegation, by, " "))

    def lose_key(self) -> None:
        name = self.pick.choice(AGENTS)
        key = self.pick.choice(list(AgentKey.objects.filter(agent=self.world.agents[name]).order_by("added_at")))
        since = self.now() - timedelta(seconds=self.pick.choice([0, 30, 3600]))
        commit(revoke_key.apply, revoke_key.Command(key.thumbprint, "lost", since, self.world.ada))
        self.world.enrol(f"{name}-{secrets.token_hex(4)}")
        self.world.agents[name], self.world.keys[name] = (
            kept.popitem()[1] for kept in (self.world.agents, self.world.keys)
        )

    def suspend(self) -> None:
        agent = self.world.agents[self.someone()]
        commit(suspend_agent.apply, suspend_agent.Command(agent, "why", self.world.ada))

    def resume(self) -> None:
        for agent in Agent.objects.filter(state=Agent.SUSPENDED):
            commit(resume_agent.apply, resume_agent.Command(agent, "why", self.world.ada))

    def pause(self) -> None:
        scope, target = self.pick.choice([("everything", ""), ("tool", "delete_file"), ("agent", self.world.robo.id)])
        commit(set_pause.apply, set_pause.Command(scope, target, "why", self.world.rui))

    def lift(self) -> None:
        for row in Pause.objects.filter(lifted_at=None):
            commit(lift_pause.apply, lift_pause.Command(row.scope, row.target, "why", self.world.ada))

    def change_tool(self) -> None:
        changes = {"settle": self.pick.choice(["spent", "reported"]), "title": secrets.token_hex(4)}
        commit(register_tool.apply, register_tool.Command({**DEFAULT_TOOLS["make_payment"], **changes}, self.world.ada))

    def forget_tool(self) -> None:
        commit(retire_tool.apply, retire_tool.Command("never_heard_of", "why", self.world.ada))

    def change_policy(self) -> None:
        self.policies += 1
        document: dict[str, Any] = {
            **DEMO_POLICY,
            "name": f"Another {self.policies}",
            "single_human": self.pick.random() < 0.3,
            "default_risk": self.pick.choice(["HIGH", "CRITICAL"]),
            "floors": {name: self.pick.choice(["HIGH", "CRITICAL"]) for name in ("destructive", "freeze")},
        }
        stages = [{"role": "reviewer", "count": self.pick.choice([1, 2])}]
        more = [
            {"name": "staged", "tool": self.pick.choice(list(DEFAULT_TOOLS)), "risk": "HIGH", "stages": stages},
            {"name": "wide", "action": self.pick.choice(["file:*", "file:write", "*"]), "risk": "MEDIUM"},
            {"name": "odd", "action": "*", "risk": "HIGH", "when": 'parameters.path == "/project/x"'},
        ]
        kept = [rule for rule in more if self.pick.random() < 0.4]
        document["rules"] = [*kept, *document["rules"]] if self.pick.random() < 0.7 else [*document["rules"], *kept]
        if self.pick.random() < 0.3:
            document["freeze"] = [{"name": "now", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
                                   "from": "00:00", "until": self.pick.choice(["06:00", "18:00", "23:59"])}]  # fmt: skip
        commit(activate_policy.apply, activate_policy.Command(document, self.world.ada))

    def change_roles(self) -> None:
        roles = self.pick.choice([(), ("reviewer",), ("reviewer", "auditor")])
        who = self.pick.choice([self.world.rui, self.world.rosa, self.world.people["audra"]])
        commit(change_person.apply, change_person.Command(who, roles=roles, by=self.world.ada))

    def switch(self) -> None:
        who = self.pick.choice([self.world.rui, self.world.rosa])
        active = Person.objects.get(pk=who.pk).user.is_active
        commit(change_person.apply, change_person.Command(who, active=not active, by=self.world.ada))

    def correct(self) -> None:
        amount = self.pick.choice(["1.00", "40.00"])
        row = self.pick.choice(self.delegations)
        commit(correct_spend.apply, correct_spend.Command(row, amount, "USD", "why", self.world.ada))

    # --- what becomes of the log itself ---

    def somebody_at_the_desk(self) -> Admin:
        """Mostly the admin; else somebody who may not, or who was switched off."""
        person = self.world.ada if self.pick.random() < 0.8 else self.person()
        return Admin(person.user.pk, person.id)

    def hold(self) -> None:
        agent = self.world.agents[self.someone()].id
        targets = {
            "request": self.request().id,
            "agent": self.pick.choice([agent, self.request().id]),
            "everything": "",
        }
        scope = self.pick.choice(["request", "request", "agent", "agent", "everything", "tool"])
        commit(place_hold.apply, place_hold.Command(self.somebody_at_the_desk(), scope, targets.get(scope, ""), "case"))

    def lift_hold(self) -> None:
        rows = list(Hold.objects.all())
        if not rows:
            raise Nothing
        commit(lift_hold.apply, lift_hold.Command(self.somebody_at_the_desk(), self.pick.choice(rows).id, "closed"))

    def erase(self) -> None:
        command = erase_openings.Command((self.request().id,), "asked", by=self.somebody_at_the_desk())
        commit(erase_openings.apply, command)

    def grow_old(self) -> None:
        before = self.now() - timedelta(seconds=self.pick.choice([0, 60, 700]))
        found = retention.due(before)
        if not found:
            raise Nothing
        commit(erase_openings.apply, erase_openings.Command(tuple(found), "old", before=before))

    def take_away(self) -> None:
        person, size = self.pick.choice(list(Person.objects.all())), LogHead.objects.get().size
        command = take_export.Command(person.user.pk, person.id, "entries", "csv", "", size, size)
        commit(take_export.apply, command)

    def copy(self) -> None:
        row = self.pick.choice(list(Checkpoint.objects.all()))
        size = self.pick.choice([row.size, row.size, row.size + 1])
        commit(note_shipped.apply, note_shipped.Command(self.pick.choice(["vault", "siem"]), size, row.root))

    def change_key(self) -> None:
        new = signer.load(self.pick.choice([signer.make_later(signer.DECISION), *signer.names(signer.DECISION)]))
        commit(change_decision_key.apply, change_decision_key.Command(new, "yearly"))

    def add_log_key(self) -> None:
        new = signer.load(self.pick.choice([signer.make_later(signer.LOG), *signer.names(signer.LOG)]))
        commit(add_log_key.apply, add_log_key.Command(new, "yearly"))

    def retire_log_key(self) -> None:
        vkey = self.pick.choice([key.vkey.format() for key in keyring.ring().log])
        commit(retire_log_key.apply, retire_log_key.Command(vkey, "yearly"))

    def show_what_they_hold(self) -> None:
        row = self.pick.choice(list(Entry.objects.order_by("-index")[:40]))
        answer = self.agent(self.someone()).post("/log/seen", {"envelope": bytes(row.envelope).decode()})
        assert answer.status == 200 or answer.code in ("suspended", "key-revoked"), answer.raw

    def now(self) -> Any:
        from audit import log

        return log.utc_now()


def parent_says(row: Delegation) -> dict[str, Any]:
    return formats.parse(bytes(row.document))


OFTEN = ("ask", "ask", "ask", "vote", "vote", "vote", "vote", "redeem", "redeem", "report", "pass_on", "grant",
         "approve_ahead", "approve_ahead")  # fmt: skip
SELDOM = (
    "recall", "look", "cancel", "comment", "time_passes", "rotate", "revoke", "give_up", "lose_key", "suspend", "resume",
    "resume", "pause", "lift", "lift", "change_tool", "forget_tool", "change_policy", "change_policy", "change_roles", "switch",
    "take_back", "correct", "hold", "hold", "lift_hold", "lift_hold", "erase", "erase", "grow_old", "grow_old", "take_away",
    "copy", "change_key", "add_log_key", "retire_log_key", "show_what_they_hold",
)  # fmt: skip


@pytest.mark.usefixtures("fresh_door")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_agents_and_people_do_the_notary_accepts_every_entry(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    world.enrol("trip")
    play = Play(world, random.Random(seed), monkeypatch)
    for module in (
        "audit.log",
        "governance.ceremonies",
        "approvals.submission",
        "approvals.door.authenticate",
        "approvals.door.answer",
    ):
        monkeypatch.setattr(f"{module}.utc_now", lambda: utc_now() + play.ahead)

    def seconds() -> float:
        return (utc_now() + play.ahead).timestamp()

    monkeypatch.setattr("tests.door.agent.time.time", seconds)
    for _ in range(4):
        play.grant()
    history, done = History(world.realm), 0
    happened: dict[str, int] = {}
    for _ in range(STEPS):
        what = play.pick.choice(OFTEN if play.pick.random() < 0.75 else SELDOM)
        if play.pick.random() < 0.25:
            play.settle_down()
        try:
            getattr(play, what)()
            happened[what] = happened.get(what, 0) + 1
        except (Refused, Declined, KeyRefused, Nothing):
            pass
        for entry in Entry.objects.filter(index__gte=done).order_by("index"):
            history.feed(entry.index, bytes(entry.envelope))
            done += 1
        history = History.restore(history.snapshot(), world.realm)
    assert done > STEPS // 2
    for name, known in history.facts.delegations.items():
        row = Delegation.objects.get(pk=name)
        assert (known.reserved, known.spent) == (row.reserved, row.spent)
    # And every row that repeats an entry still agrees with the whole log.
    assert fsck.run().findings == []
    # The scan of all grants, which knows none of the rules, finds none that traces to nobody.
    scan = GrantHistory()
    for entry in Entry.objects.order_by("index"):
        scan.read(entry.index, bytes(entry.envelope))
    assert scan.findings() == []
    assert {row.person for row in scan.delegations.values()} <= {person.id for person in world.people.values()}
    assert set(scan.delegations) == set(Delegation.objects.values_list("pk", flat=True))
    assert {name: row.uses for name, row in scan.in_advance.items()} == dict(Grant.objects.values_list("pk", "uses"))
    # The publisher, which holds the keys as well, takes all of it.
    assert world.publish() == done
