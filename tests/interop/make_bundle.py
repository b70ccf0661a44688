"""Makes a bundle through the real build, for tools that are not ours. Run in a process of its own, with real commits.

``python -m tests.interop.make_bundle FOLDER`` with the installation's environment set. Ada signs with a passkey and an
SSH key, Rui votes with an SSH key, and people talk about requests until the tree has tiles of two levels. Published in
uneven steps, so that there are many checkpoints. Writes ``bundle.zip`` and ``trust.json`` into FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The first import sets Django up.
from tests.races import scenario  # isort: skip

from django.core.management import call_command

from approvals import statements
from approvals.actions import add_comment, cast_vote
from approvals.models import ActionRequest
from audit import log, trust
from audit.evidence import bundle
from audit.publisher import Publisher
from imprimatur.formats import canonical
from tests.conftest import World, build_world

COMMENTS = (1, 70, 129, 7, 180, 199)  # on one request each, with a checkpoint after them


def answered_by_ssh(world: World) -> ActionRequest:
    """A request that waits for a person, and Rui's answer from a terminal."""
    request = scenario.ask(world, "delete_file", {"path": "/project/reports/q3.csv"})
    draft = statements.draft(request, world.rui, "approve", credential=world.key_of("rui").fingerprint)
    ceremony = statements.open_ceremony(world.rui, draft)
    said = statements.by_ssh(world.rui, ceremony.id, world.sign_ssh("rui", ceremony))
    log.commit(cast_vote.apply, cast_vote.Command(world.rui.id, request.id, "approve", said, typed=request.target))
    return request


def main(folder: Path) -> None:
    """Build the world, let it live a little, and take a bundle."""
    call_command("migrate", verbosity=0)
    world, publisher = build_world(), Publisher()
    world.signing("ada")
    world.ssh_signing("rui")
    publisher.publish_once()
    answered_by_ssh(world)
    for number, count in enumerate(COMMENTS):
        request = scenario.ask(world, "delete_file", {"path": f"/project/reports/{number}.csv"})
        said = [add_comment.command(request.id, f"Comment {at}", person=world.rui) for at in range(count)]
        log.commit_each([(add_comment.apply, command) for command in said])
        publisher.publish_once()
    bundle.build(folder / "bundle.zip")
    (folder / "trust.json").write_bytes(canonical.dumps(trust.document()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
