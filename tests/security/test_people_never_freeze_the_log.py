"""Random people with keys of their own against the server; after every step the notary reads what was written.

They enrol, vouch, lose keys (some of them long ago), reset logins, propose and second, leave and come back, sign answers
and grants, while the clock is put back now and then. Whatever the server takes, the verifier has to take as well: an
entry it refuses would stop the log for everybody.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from approvals import grants, statements
from approvals.actions import cast_vote, claim_request, issue_grant, recall_vote
from approvals.models import ActionRequest
from audit.errors import ClockBehind
from audit.log import commit, utc_now
from audit.models import Entry
from governance import ceremonies
from governance.actions import (
    add_person,
    change_person,
    issue_delegation,
    login_reset,
    map_roles,
    propose_change,
    put_in_force,
    revoke_person_key,
    second_change,
    set_away,
    vouch_key,
    withdraw_change,
)
from governance.errors import Refused
from governance.models import Change, Delegation, Person, PersonKey
from imprimatur.formats import delegation as formats
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import states
from imprimatur.rules.policy import DEMO_POLICY
from imprimatur.verify.history import History
from tests.conftest import World
from tests.governance import proposals
from tests.security.test_random_histories_stay_lawful import Nothing, Play

TWO: dict[str, Any] = {
    "name": "two-for-deleting",
    "tool": "delete_file",
    "risk": "HIGH",
    "stages": [{"role": "reviewer", "count": 2}],
}
STEPS = 220
SEEDS = int(os.environ.get("IMPRIMATUR_TEST_SEEDS", "3"))


class Signing(Play):
    """The same people and programs, and what people do with keys."""

    begun: datetime | None = None

    def login(self) -> str:
        return self.pick.choice(list(self.world.people))

    def whose(self, person: Person) -> str:
        return next(name for name, known in self.world.people.items() if known.pk == person.pk)

    def holder(self) -> str:
        held = [key.person for key in PersonKey.objects.select_related("person__user") if key.signs_decisions]
        known = [person for person in held if person.user.username in self.world.people]
        able = [person for person in known if person.user.is_active and person.user.groups.exists()]
        found = able if able and self.pick.random() < 0.9 else known
        if not found:
            raise Nothing
        return self.whose(self.pick.choice(found))

    def key(self, *, pending: bool) -> PersonKey:
        rows = PersonKey.objects.order_by("added_at", "pk")
        if pending:
            rows = rows.filter(purpose=PersonKey.SIGNING, vouched_at=None, revoked_at=None)
        found = list(rows)
        if not found:
            raise Nothing
        return self.pick.choice(found)

    def change(self) -> Change:
        rows = list(Change.objects.order_by("-proposed_at")[:6])
        if not rows:
            raise Nothing
        return self.pick.choice(rows)

    def credential(self, who: str) -> str:
        keys = [key for key in self.world.people[who].keys.order_by("added_at") if key.signs_decisions]
        if not keys:
            raise Nothing
        return self.pick.choice(keys).fingerprint

    def a_moment_passes(self) -> None:
        """Between signing and counting the clock runs on, or is put back by its synchronisation."""
        if self.pick.random() < 0.15:
            self.ahead += timedelta(seconds=self.pick.choice([-20, -7, -1, 3, 30, 118]))

    def settle_down(self) -> None:
        self.resume()
        self.lift()
        for who in ("ada", "rui", "rosa", "rob", "ann"):
            if not any(key.signs_decisions for key in self.world.people[who].keys.all()):
                with contextlib.suppress(Refused):
                    commit(vouch_key.apply, vouch_key.Command(self.world.enrolled(who).fingerprint, None))
        for who in ("rui", "rosa", "rob", "ann"):
            roles = ("admin", "reviewer") if who == "ann" else ("reviewer",)
            author, second = self.pick.choice(["ada", "ann"]), self.pick.choice(["rosa", "rui", "rob"])
            with contextlib.suppress(Refused, IndexError):
                draft = proposals.person(self.world.people[who], roles=roles, active=True)
                proposals.second(self.world, second, proposals.propose(self.world, author, draft))
        if not Delegation.objects.filter(not_after__gt=self.now(), revoked_at=None).exists():
            with contextlib.suppress(Refused):
                self.grant()

    # --- what may happen ---

    def enrol_one(self) -> None:
        who = self.login()
        self.world.enrolled_ssh(who) if self.pick.random() < 0.4 else self.world.enrolled(
            who, device_bound=self.pick.random() < 0.5
        )

    def vouch_one(self) -> None:
        key = self.key(pending=True)
        if self.pick.random() < 0.1:
            commit(vouch_key.apply, vouch_key.Command(key.fingerprint, None))
            return
        who = self.whose(key.person) if self.pick.random() < 0.1 else self.holder()
        by = self.world.people[who]
        signed = None if by.pk == key.person_id else self.signed(who, {**self.world.voucher(by, key)})
        self.a_moment_passes()
        commit(vouch_key.apply, vouch_key.Command(key.fingerprint, by, signed))

    def signed(self, who: str, document: dict[str, Any]) -> Any:
        return self.world.signed(who, {**document, "credential": self.credential(who)})

    def lose_own_key(self) -> None:
        key = self.key(pending=False)
        since = self.pick.choice(
            [
                None,
                key.vouched_at,
                key.added_at,
                self.begun,
                self.now() - timedelta(seconds=self.pick.choice([1, 60, 600])),
            ]
        )
        by = self.pick.choice([None, key.person, self.world.ada])
        self.revoke_key_of(key, since, by)

    def revoke_key_of(self, key: PersonKey, since: Any, by: Person | None) -> None:
        command = revoke_person_key.Command(key.fingerprint, "lost", since, by, stolen=self.pick.random() < 0.5)
        commit(revoke_person_key.apply, command)

    def reset_login(self) -> None:
        person, by = self.person(), self.pick.choice([None, self.world.ada, self.person()])
        if self.pick.random() < 0.5:
            command, _ = login_reset.new_password(person, by)
        else:
            command = login_reset.Command(person, login_reset.SECOND_FACTOR, by=by)
        commit(login_reset.apply, command)

    def propose(self) -> None:
        who, hold = self.pick.choice(["ada", self.holder()]), self.pick.random() < 0.4
        self.credential(who)
        kind = self.pick.choice(["policy", "newcomer", "newcomer", "person", "person"])
        if kind == "policy":
            self.policies += 1
            draft = proposals.policy(self.policy(), hold=hold)
        elif kind == "newcomer":
            name = f"n{secrets.token_hex(3)}"
            draft = proposals.newcomer(name, *self.pick.choice([("reviewer",), ("admin",)]), hold=hold)
        else:
            choices: list[dict[str, Any]] = [
                {"roles": ("admin", "reviewer")},
                {"name": secrets.token_hex(4)},
                {"active": True},
            ]
            draft = proposals.person(self.person(), **self.pick.choice(choices))
        signed = proposals.signed(self.world, who, draft, "propose", credential=self.credential(who))
        self.a_moment_passes()
        commit(propose_change.apply, propose_change.Command(draft, signed, self.world.people[who]))

    def second(self) -> None:
        change, who = self.change(), self.holder()
        signed = proposals.signed(self.world, who, change, "second", credential=self.credential(who))
        self.a_moment_passes()
        commit(second_change.apply, second_change.Command(change.pk, signed, self.world.people[who]))
        self.meet()

    def force(self) -> None:
        commit(put_in_force.apply, put_in_force.Command(self.change().pk, self.person()))
        self.meet()

    def meet(self) -> None:
        """Whoever came in takes part from now on."""
        for person in Person.objects.select_related("user"):
            self.world.people.setdefault(person.user.username, person)

    def withdraw(self) -> None:
        if self.pick.random() < 0.5:
            withdraw_change.expire(self.now() + timedelta(days=self.pick.choice([0, 8])))
        else:
            commit(withdraw_change.apply, withdraw_change.Command(self.change().pk, "no", self.person()))

    def groups(self) -> None:
        claimed = frozenset(self.pick.sample(["admin", "reviewer", "auditor"], self.pick.choice([0, 1, 2])))
        managed = self.pick.choice([frozenset({"reviewer"}), frozenset({"reviewer", "auditor"})])
        commit(map_roles.apply, map_roles.Command(self.person(), claimed, managed))

    def vote_signed(self) -> None:
        rows = list(ActionRequest.objects.filter(state__in=states.PENDING_STATES))
        if not rows:
            raise Nothing
        request, who = self.pick.choice(rows), self.holder()
        likely = "approve" if request.state == "PENDING" else "confirm"
        decision = self.pick.choice([likely, likely, likely, "deny"])
        said = self.stated(request, who, decision)
        self.a_moment_passes()
        person = self.world.people[who]
        commit(cast_vote.apply, cast_vote.Command(person.pk, request.pk, decision, said, request.target))

    def stated(self, request: ActionRequest, who: str, decision: str) -> statements.Said:
        person = Person.objects.get(pk=self.world.people[who].pk)
        draft = statements.draft(request, person, decision, reason="so", credential=self.credential(who))
        ceremony = statements.open_ceremony(person, draft)
        if draft.document["credential"].startswith("SHA256:"):
            return statements.by_ssh(person, ceremony.id, self.world.sign_ssh(who, ceremony))
        return statements.by_passkey(person, ceremony.id, json.dumps(self.world.sign(who, ceremony)))

    def recall_signed(self) -> None:
        request, who = self.request(), self.holder()
        said = self.stated(request, who, "recall")
        commit(recall_vote.apply, recall_vote.Command(self.world.people[who].pk, request.pk, said))

    def claim(self) -> None:
        commit(claim_request.apply, claim_request.Command(self.person().pk, self.request().pk))

    def grant_signed(self) -> None:
        rows = list(ActionRequest.objects.filter(state="PENDING", risk="HIGH", tool="write_file"))
        if not rows:
            raise Nothing
        request, who = self.pick.choice(rows), self.holder()
        chosen = {
            "effects": ["file:write:/project/src"],
            "parameters": {name: {"op": "any"} for name in ("path", "content", "destructive")},
            "max_uses": self.pick.choice([1, 2, 100]),
            "not_after": format_time(self.now() + timedelta(seconds=self.pick.choice([30, 600, 3500]))),
        }
        person = self.world.people[who]
        signed = self.world.signed(who, grants.document(person, request, chosen, self.credential(who)))
        self.a_moment_passes()
        commit(issue_grant.apply, issue_grant.command(person.pk, request, signed))
        self.world.publish()

    def delegate_signed(self) -> None:
        who = self.holder()
        document = self.world.document(
            self.someone(),
            issuer=self.world.people[who].pk,
            max_depth=2,
            not_before=format_time(self.now()),
            not_after=format_time(self.now() + timedelta(seconds=7200)),
        )
        person, key = self.world.people[who], PersonKey.objects.get(pk=self.credential(who))
        ceremony = ceremonies.open(person, document, kept={"key": key.pk})
        if key.kind == PersonKey.SSH:
            raise Nothing
        signed = ceremonies.finish(person, ceremony.id, self.world.sign(who, ceremony), typ=formats.TYP)
        self.delegations.append(self.world.issue(issue_delegation.signed_at_desk(signed, person)).id)

    def policy(self) -> dict[str, Any]:
        return {
            **DEMO_POLICY,
            "name": f"Another {self.policies}",
            "assurance": self.pick.choice(["H0", "H0", "H2"]),
            "device_bound": self.pick.choice([[], ["CRITICAL"]]),
            "grants": self.pick.random() < 0.8,
            "single_human": self.pick.random() < 0.2,
            **self.pick.choice([{}, {}, self.frozen(), {"ask": [{"after": 0, "roles": ["admin"]}, {"after": 40}]}]),
            "rules": [*self.pick.choice([[], [TWO]]), *DEMO_POLICY["rules"]],
        }

    def frozen(self) -> dict[str, Any]:
        begins, ends = self.now() - timedelta(seconds=60), self.now() + timedelta(seconds=self.pick.choice([5, 900]))
        return {"freeze": [{"name": "release", "from": format_time(begins), "until": format_time(ends)}]}

    def away(self) -> None:
        who, by = self.person(), self.person()
        ends = self.now() + timedelta(seconds=self.pick.choice([1, 3600]))
        delegate = self.pick.choice([None, self.person().pk])
        commit(set_away.apply, set_away.Command(who.pk, None, ends, delegate, by))

    def switch_off(self) -> None:
        who = self.pick.choice([self.world.rui, self.world.rosa, self.person()])
        commit(change_person.apply, change_person.Command(who, active=False, by=self.world.ada))


OFTEN = (
    "enrol_one", "vouch_one", "vouch_one", "vouch_one", "vote_signed", "vote_signed", "vote_signed", "vote", "ask", "ask", "ask",
    "redeem", "redeem", "grant_signed", "second", "second", "propose", "delegate_signed",
)  # fmt: skip
SELDOM = (
    "lose_own_key", "lose_own_key", "reset_login", "force", "force", "withdraw", "groups", "recall_signed", "recall",
    "claim", "time_passes", "switch_off", "pass_on", "suspend", "rotate", "lose_key", "pause", "cancel", "away", "change_roles", "change_policy", "take_back", "report", "revoke", "grant",
)  # fmt: skip


@pytest.mark.usefixtures("fresh_door")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_people_do_with_their_keys_the_notary_accepts_every_entry(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.enrol("trip")
    play = Signing(world, random.Random(seed), monkeypatch)
    for module in (
        "audit.log",
        "governance.ceremonies",
        "governance.enrolment",
        "approvals.submission",
        "approvals.door.authenticate",
        "approvals.door.answer",
        "tests.governance.proposals",
    ):
        monkeypatch.setattr(f"{module}.utc_now", lambda: utc_now() + play.ahead)

    def seconds() -> float:
        return (utc_now() + play.ahead).timestamp()

    monkeypatch.setattr("tests.door.agent.time.time", seconds)
    for _ in range(3):
        play.grant()
    play.begun = play.now()
    for name, role in (("rob", "reviewer"), ("ann", "admin")):
        world.people[name] = commit(add_person.apply, add_person.new(name, (role,), by=world.ada)[0]).person
    play.settle_down()
    history, done = History(world.realm), 0
    happened: dict[str, int] = {}
    for _ in range(STEPS):
        what = play.pick.choice(OFTEN if play.pick.random() < 0.75 else SELDOM)
        if play.pick.random() < 0.15:
            play.settle_down()
        deed: Callable[[], None] = getattr(play, what)
        try:
            deed()
            happened[what] = happened.get(what, 0) + 1
        except (Refused, Nothing, IndexError):
            pass
        except ClockBehind:
            play.ahead += timedelta(seconds=60)
        for entry in Entry.objects.filter(index__gte=done).order_by("index"):
            history.feed(entry.index, bytes(entry.envelope))
            done += 1
        history = History.restore(history.snapshot(), world.realm)
    assert {"vote_signed", "propose"} & set(happened), happened
