"""Run by the race tests in a process of its own: real processes and real threads against one database.

``python -m tests.races.scenario NAME`` with the installation's environment set. Prints one JSON document. Every
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
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "server.settings")
django.setup(set_prefix=False)

from django.core.management import call_command
from django.db import connections

from approvals import submission
from approvals.actions import cast_vote, redeem_approval, submit_request
from approvals.models import ActionRequest
from audit import writer
from audit.log import commit
from audit.models import Entry, LogHead
from governance.actions import revoke_delegation
from governance.errors import Refused
from governance.models import Agent, Delegation, Person
from imprimatur.formats import commitments, httpsig
from imprimatur.formats.entries import attempt_digest
from imprimatur.formats.keys import KeyPair
from tests.conftest import World, build_world

WORKERS = 6


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
    call_command("migrate", verbosity=0)
    world = build_world()
    world.agents = {agent.name: agent for agent in Agent.objects.all()}
    found = globals()[name](world, together)
    print(json.dumps({**found, **audit_of_it()}))


if __name__ == "__main__":
    main()
