"""A launch with a secret in it is refused, and the secret is nowhere in the log, the rows or the answer (invariant 11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from audit.models import Entry
from governance.runtime.models import Launch, RefusedLaunch, Service
from imprimatur.formats import attestation, canonical, digests, dsse
from imprimatur.rules import configuration
from tests.attesting.conftest import orchestrator, published
from tests.attesting.service import LAYER, ServiceUnderTest
from tests.conftest import World

__all__ = ["orchestrator", "published"]

pytestmark = pytest.mark.usefixtures("published")

PART = "Zq7Rk2Wm9Tx4Lp8"
SECRET = f"ghp_{PART}{PART}"

Wrong = Callable[[ServiceUnderTest, World], str]


def in_its_environment(orchestrator: ServiceUnderTest, world: World) -> str:
    return with_text(orchestrator, world, f'[env]\nset = {{ PLAIN = "{SECRET}" }}\n')


def beside_what_counts(orchestrator: ServiceUnderTest, world: World) -> str:
    return with_text(orchestrator, world, f"# was {SECRET} until May\n")


def where_the_next_layer_puts_something_else(orchestrator: ServiceUnderTest, world: World) -> str:
    base = LAYER.format(realm=world.realm, agent=world.robo.pk)
    over = f'realm = "{world.realm}"\n[env]\nset = {{ PLAIN = "x" }}\n'
    texts = [f'{base}[env]\nset = {{ PLAIN = "{SECRET}" }}\n', over]
    return orchestrator.launch(layers=[orchestrator.layer(world.robo.pk, text=text) for text in texts])


def in_its_command_among_many_things_that_are_wrong(orchestrator: ServiceUnderTest, world: World) -> str:
    flags = [f"--allow-{number}={SECRET}" for number in range(60)]
    return orchestrator.launch(command=["/usr/bin/robo", *flags])


def in_a_flag_of_bwrap(orchestrator: ServiceUnderTest, world: World) -> str:
    return orchestrator.launch(flags=["--setenv", "PLAIN", SECRET])


def where_nothing_looks_for_it(orchestrator: ServiceUnderTest, world: World) -> str:
    return orchestrator.launch(node={"name": SECRET, "kernel": "6.1.0"})


def with_text(orchestrator: ServiceUnderTest, world: World, more: str) -> str:
    text = LAYER.format(realm=world.realm, agent=world.robo.pk) + more
    return orchestrator.launch(layers=[orchestrator.layer(world.robo.pk, text=text)])


@pytest.mark.parametrize(
    "wrong",
    [
        in_its_environment,
        beside_what_counts,
        where_the_next_layer_puts_something_else,
        in_its_command_among_many_things_that_are_wrong,
        in_a_flag_of_bwrap,
        where_nothing_looks_for_it,
    ],
    ids=lambda wrong: wrong.__name__.replace("_", " "),
)
def test_invariant_11_a_secret_in_a_launch_is_refused_and_kept_nowhere(
    orchestrator: ServiceUnderTest, world: World, wrong: Wrong
) -> None:
    text = wrong(orchestrator, world)
    answer = orchestrator.post("/launches", {"statement": text})

    assert (answer.status, answer.code) == (403, "launch-refused")
    assert answer.json["reasons"][0]["code"] == "secret-in-configuration"
    body = body_of(answer.json["index"])
    assert body == {"reasons": answer.json["reasons"], "digest": digests.sha256(text.encode())}
    kept = [*(row.reasons for row in RefusedLaunch.objects.all()), *(row.document for row in Launch.objects.all())]
    for told in (answer.raw.decode(), repr(kept), *everything_in_the_log()):
        assert PART not in told


def test_the_service_goes_on_as_if_it_had_not_said_it(orchestrator: ServiceUnderTest, world: World) -> None:
    first = orchestrator.launch()
    assert orchestrator.post("/launches", {"statement": first}).status == 201
    orchestrator.took(first)
    for _ in range(2):
        answer = orchestrator.post("/launches", {"statement": in_its_environment(orchestrator, world)})
        assert answer.json["own"] == orchestrator.own
    assert orchestrator.post("/launches", {"statement": first}).status == 200, "its newest statement is found again"
    assert orchestrator.attest().status == 201
    assert Service.objects.get().size == 2


@pytest.mark.parametrize(
    "part",
    ["a.", "eyJaaaaaaaa-", "sk-", "sk-a", "://a:", "a://:", "-----BEGIN ", "basic ", "xoxb-a "],
)
def test_looking_for_secrets_costs_no_more_than_the_length_of_the_text(part: str) -> None:
    """With a pattern that looks again from every place, this would take hours."""
    assert not configuration.holds_a_secret(part * (1_000_000 // len(part)))


@pytest.mark.parametrize(
    "text",
    [
        "postgres://u:pw@host/x",
        "DSN=a://:pw@host",
        f"x {SECRET}",
        "eyJhbGciOiJI.eyJzdWIiOiIx.sig",
        "sk-proj-abc1defghijklmnopq",
    ],
)
def test_what_looks_like_a_secret_is_still_found(text: str) -> None:
    assert configuration.holds_a_secret(text)


def body_of(index: int) -> Any:
    return canonical.loads(dsse.open_envelope(bytes(Entry.objects.get(pk=index).envelope)).payload)["body"]


def everything_in_the_log() -> list[str]:
    """Each entry, and each statement in one, as text."""
    found = []
    for entry in Entry.objects.all():
        found.append(dsse.open_envelope(bytes(entry.envelope)).payload.decode())
        statement = body_of(entry.pk).get("statement")
        if isinstance(statement, str):
            found.append(repr(attestation.open_statement(statement.encode()).predicate))
    return found
