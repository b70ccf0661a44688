"""A desk on a free port with the cast of the tests, steered through standard input: one JSON command per line.

Everything runs in one process, as in production on SQLite: the web process is the only writer, and what a command
changes reaches open pages through the hub. Commands: ``{"ask": [tool, parameters]}`` and
``{"vote": [login, request, decision, reason]}``. Each answers with one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

PASSWORD = "a quiet green lamp"


def main(folder: Path, port: int) -> None:
    """Seed an empty database, serve it, obey until standard input ends."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "server.settings"
    os.environ |= {
        "IMPRIMATUR_DATA": str(folder),
        "IMPRIMATUR_REALM": "test.imprimatur",
        "IMPRIMATUR_ORIGINS": f"http://localhost:{port}",
        "IMPRIMATUR_REDIS_URL": f"unix://{folder}/no-redis",
        "IMPRIMATUR_DEMO": "yes",
    }
    import django

    django.setup()
    import uvicorn
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from tests.conftest import build_world

    world = build_world()
    for person in world.people.values():
        person.user.set_password(PASSWORD)
        person.user.save()
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
    from tests.desk.requests import ask

    if "ask" in command:
        return ask(world, *command["ask"]).id
    if "recall" in command:
        login, request = command["recall"]
        commit(recall_vote.apply, recall_vote.command(world.people[login], request))
        return request
    login, request, decision, reason = command["vote"]
    version = ActionRequest.objects.get(pk=request).version
    cast_vote.answer(world.people[login], request, version=version, decision=decision, reason=reason)
    return request


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
