"""Run by the race tests in a process of its own: real processes and real threads against one database.

``python -m tests.races.scenario NAME`` with the environment of a migrated installation. Prints one JSON document. Every
scenario ends by replaying the whole log through the rules that an auditor uses.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "server.settings")
django.setup(set_prefix=False)

from django.conf import settings
from django.db import connections

from approvals import grants, statements, submission
from approvals.actions import cast_vote, issue_grant, redeem_approval, revoke_grant, submit_request
from approvals.models import ActionRequest, Grant, Vote
from audit import retention_clock, writer
from audit.actions import erase_openings, place_hold
from audit.admins import Admin
from audit.errors import Declined
from audit.log import commit, utc_now
from audit.models import Entry, LogHead, Opening
from governance import ceremonies
from governance.actions import revoke_delegation, revoke_person_key
from governance.errors import Refused
from governance.models import Agent, Delegation, Person
from governance.runtime import trees
from governance.runtime.actions import attest_launch, record_observation, retire_service
from governance.runtime.models import Launch, Observation, Service
from imprimatur.formats import commitments, httpsig
from imprimatur.formats.attestation import MONITOR, ORCHESTRATOR
from imprimatur.formats.entries import attempt_digest
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from tests.attesting.service import service
from tests.conftest import World, build_world
from tests.door.agent import through_django

WORKERS = 6
PAYMENT = ("make_payment", {"payee": "vendor/acme", "amount": "20.00", "currency": "USD", "reference": "invoice 7"})


def wish(world: World, tool: str, parameters: dict[str, Any], idempotency_key: str | None = None) -> submission.Wish:
    """A wish of robo, as the door hands it over after it checked the signature."""
    key: KeyPair = world.keys["robo"]
    name = idempotency_key or secrets.token_hex(12)
    salt = commitments.salt_for(key.sign, name)
    committed = {n: commitments.commit(salt, n, value)[0] for n, value in parameters.items()}
    target = "http://localhost:8000/api/v1/actions"
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": name,
        "Imprimatur-Commitments": commitments.commitments_digest(committed, None),
    }
    signature = httpsig.sign_request(
        method="POST",
        target_uri=target,
        headers=headers,
        body=b"{}",
        key=key,
        created=int(time.time()),
        nonce=secrets.token_urlsafe(24),
    )
    signed = {
        "content_digest": signature["Content-Digest"],
        "signature_input": signature["Signature-Input"],
        "signature": signature["Signature"],
        "method": "POST",
        "target_uri": target,
        "idempotency_key": name,
        "commitments": headers["Imprimatur-Commitments"],
    }
    assert world.delegation is not None
    return submission.Wish(
        agent=world.robo,
        key=key.thumbprint,
        delegation=world.delegation.id,
        tool=tool,
        parameters=parameters,
        salt=salt,
        signed=signed,
        idempotency_key=name,
    )


def ask(world: World, tool: str, parameters: dict[str, Any], idempotency_key: str | None = None) -> ActionRequest:
    """Submit, in this process."""
    command = submission.prepare(wish(world, tool, parameters, idempotency_key))
    return commit(submit_request.apply, command).request


def outcome(work: Callable[[], Any]) -> str:
    """What came of it, in one word."""
    try:
        result = work()
    except Refused as refused:
        return refused.code
    return result.request.state if hasattr(result, "request") else str(result)


def in_processes(tasks: list[Callable[[], Any]]) -> list[str]:
    """Run each task in a process of its own, all let go at the same moment."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(len(tasks)), context.Queue()

    def run(number: int, task: Callable[[], Any]) -> None:
        barrier.wait(30)
        results.put((number, outcome(task)))

    connections.close_all()
    children = [context.Process(target=run, args=(number, task)) for number, task in enumerate(tasks)]
    for child in children:
        child.start()
    found = dict(results.get(timeout=60) for _ in tasks)
    for child in children:
        child.join(30)
    return [found[number] for number in range(len(tasks))]


def in_threads(tasks: list[Callable[[], Any]]) -> list[str]:
    """Run each task in a thread; all go through this process's one writer."""
    barrier = threading.Barrier(len(tasks))
    found: list[str] = [""] * len(tasks)

    def run(number: int, task: Callable[[], Any]) -> None:
        barrier.wait(30)
        found[number] = outcome(task)
        connections.close_all()

    writer.start()
    threads = [threading.Thread(target=run, args=(number, task)) for number, task in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    writer.stop()
    return found


def spend(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """Twelve payments of 20.00 at once against 150.00."""

    def pay(number: int) -> Callable[[], Any]:
        parameters = {"payee": "vendor/acme", "amount": "20.00", "currency": "USD", "reference": f"invoice {number}"}
        return lambda: commit(submit_request.apply, submission.prepare(wish(world, "make_payment", parameters)))

    states = together([pay(number) for number in range(12)])
    row = Delegation.objects.get(pk=world.delegation.id)  # type: ignore[union-attr]
    return {"states": states, "reserved": row.reserved, "limit": row.limit}


def votes(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """Two reviewers answer one request at the same moment, one yes, one no."""
    request = ask(world, "delete_file", {"path": "/project/reports/q3.csv"})

    def answer(person: Person, decision: str) -> Callable[[], Any]:
        return lambda: cast_vote.answer(
            person, request.id, version=request.version, decision=decision, reason="because"
        )

    states = together([answer(world.rui, "approve"), answer(world.rosa, "deny")])
    row = ActionRequest.objects.get(pk=request.pk)
    return {"states": states, "state": row.state, "decisions": Entry.objects.filter(kind="action.decided").count()}


def _signed(world: World, who: str, request: ActionRequest, decision: str) -> cast_vote.Command:
    """This person's answer, signed with their passkey and ready to be sent, once or several times."""
    person = world.people[who]
    row = ActionRequest.objects.get(pk=request.pk)
    draft = statements.draft(row, person, decision, credential=world.key_of(who).fingerprint)
    ceremony = statements.open_ceremony(person, draft)
    said = statements.by_passkey(person, ceremony.id, json.dumps(world.sign(who, ceremony)))
    return cast_vote.Command(person.id, row.id, decision, said, typed=row.target)


def _outcome_of(request: ActionRequest, states: list[str]) -> dict[str, Any]:
    row = ActionRequest.objects.get(pk=request.pk)
    kinds = [row.kind for row in Entry.objects.filter(subject=request.pk).order_by("index")]
    return {
        "states": states,
        "state": row.state,
        "votes": Vote.objects.filter(request=row).count(),
        "people": Vote.objects.filter(request=row).values("person").distinct().count(),
        "decisions": kinds.count("action.decided"),
    }


def _send(command: cast_vote.Command) -> Callable[[], Any]:
    return lambda: commit(cast_vote.apply, command)


def same_ceremony(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """One signature under a critical approval, sent many times at once."""
    world.signing("rui")
    request = ask(world, *PAYMENT)
    command = _signed(world, "rui", request, "approve")
    return _outcome_of(request, together([_send(command)] * WORKERS))


def two_ceremonies_of_one(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """One person signs the same approval in two windows, and as a second person as well."""
    world.signing("rui")
    request = ask(world, *PAYMENT)
    commands = [_signed(world, "rui", request, "approve"), _signed(world, "rui", request, "approve")]
    return _outcome_of(request, together([_send(command) for command in commands * 2]))


def two_approve(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """Two people approve at once where one approval is needed, and a confirmation after it."""
    world.signing("rui")
    world.signing("rosa", "EdDSA", False)
    request = ask(world, *PAYMENT)
    commands = [_signed(world, who, request, "approve") for who in ("rui", "rosa")]
    return _outcome_of(request, together([_send(command) for command in commands]))


def confirmations(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """A confirmation sent twice, while whoever approved tries to confirm as well."""
    world.signing("rui")
    world.signing("rosa", "EdDSA", False)
    request = ask(world, *PAYMENT)
    _send(_signed(world, "rui", request, "approve"))()
    own, other = _signed(world, "rui", request, "confirm"), _signed(world, "rosa", request, "confirm")
    return _outcome_of(request, together([_send(command) for command in (own, other, own, other)]))


def revoked_meanwhile(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """A key is revoked at the moment it confirms."""
    world.signing("rui")
    world.signing("rosa")
    request = ask(world, *PAYMENT)
    _send(_signed(world, "rui", request, "approve"))()
    confirm = _signed(world, "rosa", request, "confirm")
    since = utc_now() - timedelta(seconds=1)

    def revoke() -> Any:
        command = revoke_person_key.Command(confirm.said.signed.key or "", "stolen", since=since, by=world.ada)
        commit(revoke_person_key.apply, command)
        return "revoked"

    return _outcome_of(request, together([_send(confirm), revoke]))


def redeem(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """Many executions of one approval at the same moment."""
    request = ask(world, "delete_file", {"path": "/project/reports/q3.csv"})
    cast_vote.answer(world.rui, request.id, version=request.version, decision="approve")

    def run() -> Any:
        attempt = attempt_digest(secrets.token_urlsafe(16))
        return commit(
            redeem_approval.apply,
            redeem_approval.Command(
                request.id, world.robo.id, world.keys["robo"].thumbprint, request.action_digest, attempt
            ),
        )

    return {"states": together([run] * WORKERS), "redeemed": Entry.objects.filter(kind="action.redeemed").count()}


def granted(world: World, max_uses: int) -> Grant:
    """What Rui approves in advance: overwriting files in one folder, so many times."""
    first = ask(world, "write_file", {"path": "/project/src/a.py", "content": "", "destructive": True})
    chosen = {
        "effects": ["file:write:/project/src"],
        "parameters": {"path": {"op": "any"}, "content": {"op": "any"}, "destructive": {"op": "equals", "value": True}},
        "max_uses": max_uses,
        "not_after": format_time(utc_now() + timedelta(minutes=10)),
    }
    signed = ceremonies.session(world.rui, grants.document(world.rui, first, chosen, None))
    grant = commit(issue_grant.apply, issue_grant.command(world.rui.id, first, signed))
    world.publish()
    return grant


def overwrite(world: World, number: int) -> Callable[[], Any]:
    """A request that the grant covers."""
    parameters = {"path": f"/project/src/{number}.py", "content": "x", "destructive": True}
    return lambda: commit(submit_request.apply, submission.prepare(wish(world, "write_file", parameters)))


def grant(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """Many requests at once for the last use of what was approved in advance."""
    given = granted(world, 1)
    states = together([overwrite(world, number) for number in range(WORKERS)])
    given.refresh_from_db()
    return {"states": states, "uses": given.uses, "decided": ActionRequest.objects.filter(grant=given).count()}


def revoked_grant(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """A grant is revoked while requests use it."""
    given = granted(world, 100)

    def revoke() -> Any:
        commit(revoke_grant.apply, revoke_grant.Command(given.id, world.rosa, "enough"))
        return "revoked"

    states = together([revoke, *(overwrite(world, number) for number in range(WORKERS - 1))])
    end = Entry.objects.get(kind="grant.revoked").index
    given.refresh_from_db()
    late = ActionRequest.objects.filter(grant=given, decided_index__gt=end).count()
    return {"states": states, "late": late, "uses": given.uses}


def idempotency(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """The same request from many copies of an agent at once."""
    parameters = {"path": "/project/reports/q3.csv"}

    def again() -> Any:
        return commit(submit_request.apply, submission.prepare(wish(world, "delete_file", parameters, "the-same")))

    return {"states": together([again] * WORKERS), "requests": ActionRequest.objects.count()}


def revocation(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """A delegation is revoked while approvals under it are redeemed and new wishes come in."""
    approved = []
    for number in range(4):
        request = ask(world, "delete_file", {"path": f"/project/reports/{number}.csv"})
        cast_vote.answer(world.rui, request.id, version=request.version, decision="approve")
        approved.append(request)

    def claim(request: ActionRequest) -> Callable[[], Any]:
        command = redeem_approval.Command(
            request.id,
            world.robo.id,
            world.keys["robo"].thumbprint,
            request.action_digest,
            attempt_digest(secrets.token_urlsafe(16)),
        )
        return lambda: commit(redeem_approval.apply, command)

    def revoke() -> Any:
        assert world.delegation is not None
        commit(
            revoke_delegation.apply, revoke_delegation.Command(world.delegation.id, by=world.ada, reason="lost trust")
        )
        return "revoked"

    states = together([revoke, *(claim(request) for request in approved)])
    after = outcome(
        lambda: commit(
            submit_request.apply, submission.prepare(wish(world, "read_file", {"path": "/project/src/a.py"}))
        )
    )
    left = ActionRequest.objects.filter(state__in=["PENDING", "AWAITING_CONFIRMATION", "APPROVED"]).count()
    return {"states": states, "after": after, "still_usable": left}


def statements_of_one(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """Copies of one orchestrator that all attest a launch as its next one: each names the same tree."""
    orchestrator = service(world, through_django, ORCHESTRATOR)
    texts = [orchestrator.launch() for _ in range(WORKERS)]

    def attest(text: str) -> Callable[[], Any]:
        def work() -> str:
            done = commit(attest_launch.apply, attest_launch.prepare(orchestrator.row, text, utc_now()))
            return "attested" if done.launch is not None else "refused"

        return work

    states = together([attest(text) for text in texts])
    row = Service.objects.get(pk=orchestrator.row.pk)
    orchestrator.took(*(text for text, state in zip(texts, states, strict=True) if state == "attested"))
    return {
        "states": states,
        "launches": Launch.objects.count(),
        "statements": row.size,
        "same_tree": trees.own_of(row) == orchestrator.own,
    }


def same_statement(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """One observation that a monitor sends again and again because it hears no answer."""
    monitor = service(world, through_django, MONITOR)
    text = monitor.observation(None)

    def observe() -> str:
        command = record_observation.prepare(monitor.row, [text], utc_now())
        return str(commit(record_observation.apply, command).observations[0].index)

    states = together([observe] * WORKERS)
    return {"states": states, "observations": Observation.objects.count()}


def retired_meanwhile(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """An admin retires an orchestrator at the moment in which it attests."""
    orchestrator = service(world, through_django, ORCHESTRATOR)
    text = orchestrator.launch()

    def attest() -> str:
        done = commit(attest_launch.apply, attest_launch.prepare(orchestrator.row, text, utc_now()))
        return "attested" if done.launch is not None else "refused"

    def retire() -> str:
        commit(retire_service.apply, retire_service.Command(orchestrator.row.pk, "replaced", world.ada))
        return "retired"

    return {"states": together([retire, attest]), "launches": Launch.objects.count()}


def holds(world: World, together: Callable[..., list[str]]) -> dict[str, Any]:
    """A legal hold is placed on an agent while its requests are erased, by the rule and by wishes."""
    rows = []
    for number in range(WORKERS):
        words = {"payee": "vendor/acme", "amount": "1.00", "currency": "USD", "reference": f"sesame-{number}-{number}"}
        request = ask(world, "make_payment", words)
        cast_vote.answer(world.rui, request.id, version=request.version, decision="deny", reason="no")
        rows.append(request.id)
    admin = Admin(world.ada.user.pk, world.ada.id)
    before = utc_now() + timedelta(milliseconds=1)
    time.sleep(0.01)  # so that everything said so far is older than `before`

    def by_rule(request: str) -> Callable[[], Any]:
        command = erase_openings.Command((request,), "old", before=before)
        return lambda: "erased" if commit(erase_openings.apply, command) else "passed by"

    def by_wish(request: str) -> Callable[[], Any]:
        def run() -> str:
            try:
                commit(erase_openings.apply, erase_openings.Command((request,), "asked", by=admin))
            except Declined:
                return "declined"
            return "erased"

        return run

    def hold() -> str:
        commit(place_hold.apply, place_hold.Command(admin, "agent", world.robo.id, "case 12"))
        return "held"

    tasks = [(by_rule if number % 2 else by_wish)(request) for number, request in enumerate(rows)]
    states = together([*tasks[:3], hold, *tasks[3:]])
    states.pop(3)
    held = Entry.objects.get(kind="hold.placed").index
    erased = [row.index for row in Entry.objects.filter(kind="openings.erased")]
    kept = set(Opening.objects.filter(value__isnull=False).values_list("subject", flat=True))
    gone = [number for number, request in enumerate(rows) if request not in kept]
    retention_clock.scrub()
    files = b"".join(path.read_bytes() for path in Path(settings.DATA_DIR).glob("imprimatur.sqlite3*"))
    return {
        "states": states,
        "after_the_hold": [index for index in erased if index > held],
        "erased": len(erased),
        "gone": len(gone),
        "still_in_files": [number for number in gone if f"sesame-{number}-{number}".encode() in files],
    }


def audit_of_it() -> dict[str, Any]:
    """The log is contiguous and no rule is broken."""
    from audit.publisher import Publisher

    head = LogHead.objects.get()
    indexes = list(Entry.objects.order_by("index").values_list("index", flat=True))
    published = Publisher().publish_once()
    return {"contiguous": indexes == list(range(head.size)), "published": published, "size": head.size}


def main() -> None:
    """Build the world, run one scenario, say what happened."""
    name, together = sys.argv[1], {"processes": in_processes, "threads": in_threads}[sys.argv[2]]
    world = build_world()
    world.agents = {agent.name: agent for agent in Agent.objects.all()}
    found = globals()[name](world, together)
    print(json.dumps({**found, **audit_of_it()}))


if __name__ == "__main__":
    main()
