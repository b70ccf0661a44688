"""An installation in which services attest, watch and attack, through its own doors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from audit.actions import note_shipped
from audit.log import commit, utc_now
from audit.models import Checkpoint
from imprimatur.formats.attestation import CANARIES, MONITOR, ORCHESTRATOR
from tests.attesting.service import GOT_THROUGH, ServiceUnderTest, predicate_of, service, without_seccomp
from tests.conftest import World
from tests.door.agent import AgentUnderTest, through_django


@dataclass
class Story:
    """What services did in an installation; each step goes through the agents' door."""

    world: World
    robo: AgentUnderTest
    orchestrator: ServiceUnderTest
    monitor: ServiceUnderTest
    canary: ServiceUnderTest
    runs: int = 0

    def launch(self) -> dict[str, Any]:
        """A launch of the agent robo; its predicate."""
        text = self.orchestrator.launch()
        answer = self.orchestrator.post("/launches", {"statement": text})
        assert answer.status == 201, answer
        self.orchestrator.took(text)
        return predicate_of(text)

    def look(self, launch: dict[str, Any], *, drifting: bool = False, **changes: Any) -> None:
        """The monitor looks at a launch; what it sees may have lost its filter of system calls."""
        checkpoint = Checkpoint.objects.order_by("-size").first()
        assert checkpoint is not None
        changes["log"] = {"size": checkpoint.size, "root": f"sha256:{checkpoint.root}"}
        if drifting:
            changes["processes"] = [without_seccomp(launch)]
        assert self.monitor.see(launch, **changes).status == 201

    def attack(self, *, succeeds: bool = False, **answers: tuple[int, str]) -> None:
        """A run of the canaries, each a second after the one before."""
        self.runs += 1
        at = utc_now() - timedelta(seconds=60 - self.runs)
        given = {**GOT_THROUGH, **answers} if succeeds else answers
        assert self.canary.report(at, **given).status == 201

    def copy(self) -> None:
        """Everything that is published was read back from another system."""
        checkpoint = Checkpoint.objects.order_by("-size").first()
        assert checkpoint is not None
        assert commit(note_shipped.apply, note_shipped.Command("copy", checkpoint.size, checkpoint.root)) is not None


def begin(world: World) -> Story:
    """Services are registered; nothing ran yet."""
    assert world.delegation is not None
    robo = AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)
    roles = (ORCHESTRATOR, MONITOR, CANARIES)
    orchestrator, monitor, canary = (service(world, through_django, role) for role in roles)
    return Story(world, robo, orchestrator, monitor, canary)


def tell(story: Story) -> Story:
    """One launch that was looked at, a round of attacks, a copy elsewhere."""
    story.world.publish()
    story.look(story.launch())
    story.attack()
    story.world.publish()
    story.copy()
    return story
