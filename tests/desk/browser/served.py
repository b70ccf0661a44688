"""A desk on a free port with the cast of the tests, steered through standard input: one JSON command per line.

Everything runs in one process, as in production on SQLite: the web process is the only writer, and what a command
changes reaches open pages through the hub. Commands: ``{"ask": [tool, parameters]}`` and
``{"vote": [login, request, decision, reason]}``, ``{"recall": [login, request]}``, ``{"vouch": login}`` (an operator puts
the newest key of this person in force, at the console), ``{"evidence": request}`` (what proves the newest decision about it),
``{"login": login}`` (this person signs in with their password: the cookie of the new session),
``{"published": true}`` (wait until everything that was said so far is published, and so counts).
Each answers with one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

PASSWORD = "a quiet green lamp"
LONGEST = 15  # times that a root can be passed on: sixteen links


def main(folder: Path, port: int, *, strict: bool = False, chained: bool = False, runs: bool = False) -> None:
    """Seed a migrated database, serve it, obey until standard input ends.

    ``strict`` is an installation as it comes, whose approvals need a signing key; otherwise it is the demo's. With
    ``chained`` robo has one more root, which is passed on from agent to agent as often as that can be. With ``runs``
    services have attested and observed launches.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = "server.settings"
    os.environ |= {
        "IMPRIMATUR_DATA": str(folder),
        "IMPRIMATUR_REALM": "test.imprimatur",
        "IMPRIMATUR_ORIGINS": f"http://localhost:{port}",
        "IMPRIMATUR_REDIS_URL": f"unix://{folder}/no-redis",
        "IMPRIMATUR_DEMO": "" if strict else "yes",
    }
    import django

    django.setup()
    import uvicorn
    from django.conf import settings

    from imprimatur.rules.policy import DEFAULT_POLICY, DEMO_POLICY
    from tests.conftest import build_world

    # Every test signs somebody in: on a fast machine that is more often in a minute than people may.
    settings.ACCOUNT_RATE_LIMITS = {"login": "1000/m/ip"}
    # Slow hashing protects real passwords; whether these can be guessed is nobody's question.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    world = build_world(DEFAULT_POLICY if strict else DEMO_POLICY)
    for person in world.people.values():
        person.user.set_password(PASSWORD)
        person.user.save()
    if chained:
        chain(world, LONGEST)
    if runs:
        from tests.attesting import seed

        seed.runs(world)
    server = uvicorn.Server(uvicorn.Config("server.asgi:application", port=port, log_level="warning"))

    def obey() -> None:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(do(world, json.loads(line))) + "\n")
            sys.stdout.flush()
        server.should_exit = True

    threading.Thread(target=obey, daemon=True).start()
    server.run()


def do(world: Any, command: dict[str, Any]) -> str:
    """Carry out one command; what is asked for is named by its id."""
    from approvals.actions import cast_vote, recall_vote
    from approvals.models import ActionRequest
    from audit.log import commit
    from governance.actions import vouch_key
    from tests.desk.requests import ask

    if "ask" in command:
        return ask(world, *command["ask"]).id
    if "published" in command:
        return str(everything_published())
    if "evidence" in command:
        return json.dumps(evidence(command["evidence"]))
    if "login" in command:
        return session_of(command["login"])
    if "vouch" in command:
        newest = world.people[command["vouch"]].keys.filter(vouched_at=None).latest("added_at").fingerprint
        commit(vouch_key.apply, vouch_key.Command(newest, None))
        return newest
    if "recall" in command:
        login, request = command["recall"]
        commit(recall_vote.apply, recall_vote.command(world.people[login], request))
        return request
    login, request, decision, reason = command["vote"]
    version = ActionRequest.objects.get(pk=request).version
    cast_vote.answer(world.people[login], request, version=version, decision=decision, reason=reason)
    return request


def session_of(login: str) -> str:
    """The cookie of a new session of this person, who signs in as a browser would."""
    from django.conf import settings
    from django.test import Client

    browser = Client(SERVER_NAME="localhost")
    reply = browser.post("/accounts/login/", {"login": login, "password": PASSWORD})
    assert reply.status_code == 302, reply.content.decode()
    return browser.cookies[settings.SESSION_COOKIE_NAME].value


def everything_published() -> int:
    """Wait until a checkpoint covers every entry of this moment; its size."""
    from audit import published
    from audit.models import LogHead
    from tests.installation import eventually

    size = LogHead.objects.get().size
    return eventually(lambda: published.covers(size - 1) and size)


def chain(world: Any, depth: int) -> str:
    """A root for robo, passed on from agent to agent so many times, each part narrower; the id of the last."""
    from imprimatur.formats import canonical

    link, holder = world.delegate("robo", max_depth=depth), "robo"
    document = canonical.loads(bytes(link.document))
    times = {name: document[name] for name in ("not_before", "not_after")}
    for level in range(depth):
        name = f"link {level + 1}"
        if name not in world.agents:
            world.enrol(name)
        fields = {"max_depth": depth - level - 1, "scope": ["file:read:/project"], "spend": None, **times}
        link, holder = world.pass_on(link, holder, name, **fields), name
    return str(link.id)


def evidence(request: str) -> dict[str, Any]:
    """The receipt of a request, its entry's envelope, its proof once it is published, and the trust anchors."""
    from approvals.door import answer
    from approvals.models import ActionRequest
    from audit import proofs, trust
    from audit.errors import NotPublished
    from audit.models import Entry
    from tests.installation import eventually

    receipt = answer.receipt(ActionRequest.objects.get(pk=request))
    assert receipt is not None

    def proof() -> str:
        try:
            return proofs.proof_for(receipt["index"])
        except NotPublished:
            return ""

    envelope = bytes(Entry.objects.get(index=receipt["index"]).envelope).decode("utf-8")
    return {"receipt": receipt, "entry": envelope, "proof": eventually(proof), "trust": trust.document()}


if __name__ == "__main__":
    options = sys.argv[3:]
    strict, chained, runs = (name in options for name in ("strict", "chain", "runs"))
    main(Path(sys.argv[1]), int(sys.argv[2]), strict=strict, chained=chained, runs=runs)
