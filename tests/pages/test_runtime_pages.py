"""What runs, and the services that say so: on pages that admins and auditors read and admins act on."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.urls import reverse

from approvals import clock
from approvals.actions import cast_vote
from approvals.models import ActionRequest
from audit import publisher
from audit.log import commit, utc_now
from audit.models import Entry
from governance.actions import add_person_key, change_person
from governance.errors import Refused
from governance.models import Pause, PersonKey, Policy
from governance.runtime import reading
from governance.runtime.actions import retire_service
from governance.runtime.models import Launch, Service
from imprimatur.formats import attestation, ids
from imprimatur.formats.digests import fingerprint, sha256
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.rules import policy as policies
from tests.attesting.service import ServiceUnderTest, predicate_of, service, without_seccomp
from tests.conftest import World, ssh_line
from tests.door.agent import AgentUnderTest, through_django


@pytest.fixture
def orchestrator(world: World) -> ServiceUnderTest:
    return service(world, through_django, attestation.ORCHESTRATOR)


@pytest.fixture
def monitor(world: World) -> ServiceUnderTest:
    return service(world, through_django, attestation.MONITOR)


def started(orchestrator: ServiceUnderTest, name: str = "robo") -> dict[str, Any]:
    """A launch that was attested just now."""
    text = orchestrator.launch(name)
    assert orchestrator.post("/launches", {"statement": text}).status == 201
    orchestrator.took(text)
    return predicate_of(text)


def words(answer: Any) -> str:
    """What a page says, as somebody reads it."""
    assert answer.status_code == 200, answer.status_code
    main = answer.content.decode().partition("<main")[2]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", main)))


def test_an_empty_page_says_how_to_begin(desk: Any) -> None:
    assert "register an orchestrator and a monitor" in words(desk.get("ada", "runtime"))
    assert "an admin registers orchestrators" in words(desk.get("audra", "runtime"))


def test_the_page_says_in_words_how_each_launch_is_doing(
    desk: Any, orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, world: World
) -> None:
    good, bad, fresh = started(orchestrator), started(orchestrator, "twin"), started(orchestrator)
    assert monitor.see(good).status == 201
    assert monitor.see(bad, processes=[without_seccomp(bad)]).status == 201
    orchestrator.attest(delegations=[])
    monitor.see(None, claimed="<b>me</b>")
    told = words(desk.get("audra", "runtime"))

    assert "runs as attested" in told
    assert "drift: seccomp missing" in told
    assert "not seen yet" in told
    assert "grants-changed" in told
    assert "0 launches that nobody saw" in told
    assert "1 observation of no launch" in told and "<b>me</b>" in told
    Launch.objects.filter(pk=fresh["launch"]).update(attested_at=utc_now() - timedelta(minutes=12))
    Launch.objects.filter(pk=good["launch"]).update(observed_at=utc_now() - timedelta(minutes=12, seconds=5))
    told = words(desk.get("audra", "runtime"))
    assert "never seen, for 12 min" in told
    assert "not seen for 12 min" in told
    assert "1 launch that nobody saw" in told


def test_an_old_finding_does_not_hide_that_nobody_looks_any_more(
    desk: Any, orchestrator: ServiceUnderTest, monitor: ServiceUnderTest
) -> None:
    bad = started(orchestrator)
    monitor.see(bad, processes=[without_seccomp(bad)])
    Launch.objects.update(observed_at=utc_now() - timedelta(hours=5, minutes=1))
    assert "drift: seccomp missing; not seen for 5 h" in words(desk.get("ada", "runtime"))


def test_a_launch_shows_all_that_was_attested_and_all_that_was_seen(
    desk: Any, orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, world: World
) -> None:
    launch = started(orchestrator)
    monitor.see(launch)
    monitor.see(launch, processes=[without_seccomp(launch)])
    told = words(desk.get("audra", "launch", launch["launch"]))

    assert "/usr/bin/robo" in told and "--unshare-net" in told
    assert "robo.toml , signed by Ada Brandt" in told
    assert PersonKey.objects.get(person=world.ada).fingerprint in told
    assert '"memory_mb": 256' in told
    assert launch["policy"] in told
    assert "seccomp-missing process 4711 expected seccomp 2 (filter) found seccomp 0" in told
    assert "as attested" in told
    orchestrator.post(f"/launches/{launch['launch']}/ended", {"how": "exited", "code": 2})
    assert "exited with status 2" in words(desk.get("ada", "launch", launch["launch"]))


def test_a_launch_that_does_not_exist_is_not_found(desk: Any) -> None:
    assert desk.get("ada", "launch", "lau_00000000000000000000000000").status_code == 404
    assert desk.get("rui", "launch", "lau_00000000000000000000000000").status_code == 403


def test_more_launches_cost_no_more_queries(
    desk: Any, orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, django_assert_max_num_queries: Any
) -> None:
    monitor.see(started(orchestrator))
    browser = desk.browser("ada")
    browser.get(reverse("runtime"))
    with django_assert_max_num_queries(40) as few:
        browser.get(reverse("runtime"))
    for _ in range(4):
        launch = started(orchestrator)
        monitor.see(launch, processes=[without_seccomp(launch)])
        monitor.see(None, claimed="nobody")
        orchestrator.attest(delegations=[])
        started(orchestrator)
        ended = started(orchestrator)
        orchestrator.post(f"/launches/{ended['launch']}/ended", {"how": "exited"})
    with django_assert_max_num_queries(40) as many:
        browser.get(reverse("runtime"))
    assert len(many) <= len(few) + 1, "one more, for the pause that drift might bring"
    with django_assert_max_num_queries(40):
        browser.get(reverse("launch", args=[Launch.objects.filter(drifted=1)[0].pk]))


def test_a_launch_that_differs_says_first_what_differs_and_leads_to_suspending_the_agent(
    desk: Any, orchestrator: ServiceUnderTest, monitor: ServiceUnderTest
) -> None:
    launch = started(orchestrator)
    monitor.see(launch)
    assert "What differs now" not in desk.get("ada", "launch", launch["launch"]).content.decode()
    monitor.see(launch, processes=[without_seccomp(launch)])
    page = desk.get("ada", "launch", launch["launch"]).content.decode()
    suspend = reverse("agent_suspend", args=[launch["agent"]])

    assert page.index("What differs now") < page.index("seccomp-missing") < page.index("What was started")
    assert suspend in page and suspend not in desk.get("audra", "launch", launch["launch"]).content.decode()
    orchestrator.post(f"/launches/{launch['launch']}/ended", {"how": "exited"})
    assert "What differs now" not in desk.get("ada", "launch", launch["launch"]).content.decode()


def test_spans_are_said_in_what_says_enough() -> None:
    minutes = {0: "0 min", 12: "12 min", 119: "119 min", 120: "2 h", 2879: "47 h", 2880: "2 days"}
    assert {after: reading.span(timedelta(minutes=after)) for after in minutes} == minutes
    assert reading.span(timedelta(seconds=-5)) == "0 min"


# --- services ------------------------------------------------------------------------------------------------------


def test_an_admin_compares_the_fingerprint_and_then_registers(desk: Any, world: World) -> None:
    key = KeyPair.generate().public_key
    form = {"name": "monitor host-9", "role": "monitor", "public_key": f" {b64u(key)}\n"}
    shown = desk.post("ada", "service_register", data={**form, "step": "check"})

    assert fingerprint(sha256(key)) in words(shown)
    assert not Service.objects.exists()
    compared = {"compared": ids.service_id(key), "step": "register"}
    other = {**form, "public_key": b64u(KeyPair.generate().public_key), **compared}
    assert "Compare this" in words(desk.post("ada", "service_register", data=other)), "another key than was compared"
    assert not Service.objects.exists()
    done = desk.post("ada", "service_register", data={**form, **compared})
    assert done.status_code == 302
    row = Service.objects.get()
    assert (row.name, row.role, bytes(row.public_key)) == ("monitor host-9", "monitor", key)
    assert desk.last["kind"] == "service.registered"
    assert desk.last["actor"]["id"] == world.ada.pk
    told = words(desk.get("audra", "services"))
    assert fingerprint(sha256(key)) in told and "Register a service" not in told
    assert "Register a service" in words(desk.get("ada", "services"))


def test_what_cannot_be_registered_is_said_on_the_form(desk: Any, world: World) -> None:
    size = desk.size
    robo = b64u(world.keys["robo"].public_key)
    for changes, said in (
        ({"public_key": "noise"}, "This is not an Ed25519 public key"),
        ({"public_key": robo}, "This key is an agent"),
        ({"name": "", "public_key": b64u(KeyPair.generate().public_key)}, "required"),
        ({"role": "admin", "public_key": b64u(KeyPair.generate().public_key)}, "valid choice"),
        ({"vkey": "noise", "public_key": b64u(KeyPair.generate().public_key)}, "verifier key"),
    ):
        form = {"name": "one", "role": "monitor", **changes, "step": "register"}
        if changes["public_key"] != "noise":
            form["compared"] = ids.service_id(un_b64u(changes["public_key"]))
        answer = desk.post("ada", "service_register", data=form)
        assert answer.status_code == 422, changes
        assert said in answer.content.decode(), changes
    assert desk.size == size


def test_an_admin_retires_a_service_and_says_why(desk: Any, orchestrator: ServiceUnderTest) -> None:
    started(orchestrator)
    sheet = desk.get("ada", "service_retire", orchestrator.row.pk)
    assert "Its live launches are given up for lost" in words(sheet)
    assert desk.post("ada", "service_retire", orchestrator.row.pk, data={"reason": ""}).status_code == 422
    assert desk.post("ada", "service_retire", orchestrator.row.pk, data={"reason": "replaced"}).status_code == 302
    assert desk.last["kind"] == "service.retired"
    assert "Retired" in words(desk.get("ada", "services"))
    assert desk.get("ada", "service_retire", orchestrator.row.pk).status_code == 404


def test_registering_and_retiring_ask_who_it_is_when_that_was_long_ago(
    desk: Any, orchestrator: ServiceUnderTest
) -> None:
    browser = desk.browser("ada")
    session = browser.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 3600
    session.save()
    for name, arguments in (("service_register", []), ("service_retire", [orchestrator.row.pk])):
        assert "/accounts/again/" in browser.get(reverse(name, args=arguments))["Location"]
        assert browser.post(reverse(name, args=arguments), {"reason": "x"}).status_code == 403
    assert Service.objects.get().retired_at is None


def test_the_policy_page_says_what_the_server_does_by_itself(world: World, desk: Any) -> None:
    assert "The server by itself" not in words(desk.get("rui", "policy"))
    row = Policy.objects.get(active=True)
    row.document = {**row.document, "respond": {"drift": "suspend"}}
    row.digest = policies.digest(row.document)
    row.save()
    assert "The server by itself: over drift it suspends the agent." in words(desk.get("rui", "policy"))


def test_a_pause_that_the_server_set_says_so(desk: Any, world: World) -> None:
    Pause.objects.create(scope=Pause.EVERYTHING, reason="over a canary", set_at=utc_now(), set_by="canary")
    assert "by Imprimatur" in words(desk.get("ada", "pauses"))


def test_the_page_shows_a_bounded_number_of_live_launches_and_says_how_many_more(
    desk: Any, orchestrator: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        started(orchestrator)
    monkeypatch.setattr(reading, "MOST_LIVE", 3)
    told = words(desk.get("ada", "runtime"))
    assert len(set(re.findall(r"lau_[a-z0-9]{26}", told))) == 3
    assert "Not shown: 1 older that also run." in told


HOSTILE = '<script>alert(1)</script>\u202e\x1b[2J=HYPERLINK("x")'


def test_invariant_9_no_text_of_a_service_is_anything_but_text(
    desk: Any, orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, world: World
) -> None:
    text = orchestrator.launch(node={"name": HOSTILE, "kernel": HOSTILE, "boot": HOSTILE})
    assert orchestrator.post("/launches", {"statement": text}).status == 201
    orchestrator.took(text)
    launch = predicate_of(text)
    layer = {**orchestrator.layer(world.robo.pk), "name": HOSTILE}
    assert orchestrator.attest(command=["/usr/bin/robo", HOSTILE], layers=[layer]).status == 201
    assert orchestrator.attest(command=[HOSTILE], node={"name": HOSTILE, "kernel": "x"}).code == "launch-refused"
    process = {**without_seccomp(launch), "command": [HOSTILE], "executable": {"path": f"/{HOSTILE}"}}
    assert monitor.see(launch, processes=[{**process, "cgroup": HOSTILE}]).status == 201
    assert monitor.see(None, claimed=HOSTILE[:64], node={"name": HOSTILE, "kernel": "x"}).status == 201
    pages = [desk.get("ada", name) for name in ("runtime", "services", "canaries", "log")]
    pages += [desk.get("ada", "launch", row.pk) for row in Launch.objects.all()]
    kinds = ("launch.attested", "launch.refused", "observation.recorded")
    pages += [desk.get("audra", "entry", entry.index) for entry in Entry.objects.filter(kind__in=kinds)]
    said = "".join(page.content.decode() for page in pages)
    assert {page.status_code for page in pages} == {200}
    assert "<script>alert" not in said and "\u202e" not in said and "\x1b" not in said
    assert said.count("&lt;script&gt;alert") >= 5, "it is shown, as text"
    assert "&amp;lt;script" not in said, "and as it was written"


# --- the card ------------------------------------------------------------------------------------------------------


def test_the_card_shows_the_launch_and_who_signed_it_does_not_answer(
    desk: Any, orchestrator: ServiceUnderTest, world: World
) -> None:
    commit(change_person.apply, change_person.Command(world.rui, roles=("admin", "reviewer"), by=world.ada))
    pair = KeyPair.generate()
    commit(add_person_key.apply, add_person_key.Command(world.rui, ssh_line(pair)))
    world.ssh["rui"] = pair
    layer = orchestrator.layer(world.robo.pk, who="rui")
    text = orchestrator.launch(layers=[layer])
    assert orchestrator.post("/launches", {"statement": text}).status == 201
    assert world.delegation is not None
    robo = AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)
    asked = robo.delete(context={"launch": predicate_of(text)["launch"]})
    assert asked.status == 202
    assert asked.json["can_answer"] == 1, "Rosa alone: Rui signed what runs here"

    told = words(desk.get("rosa", "request", asked.json["id"]))
    assert "Where it runs" in told and "from configuration that Rui Falk signed" in told
    assert "signed the launch of" in told
    told = words(desk.get("rui", "request", asked.json["id"]))
    assert "Not you: You signed the launch of" in told
    row = ActionRequest.objects.get()
    with pytest.raises(Refused) as refused:
        cast_vote.answer(world.rui, row.pk, version=row.version, decision="approve", reason="fine")
    assert refused.value.code == "not-allowed"
    cast_vote.answer(world.rosa, row.pk, version=row.version, decision="approve", reason="fine")
    world.publish()
    assert publisher.published_size() == Entry.objects.count(), "the notary accepts all of it"


def test_a_retired_orchestrators_launch_is_over_on_the_card(
    desk: Any, orchestrator: ServiceUnderTest, world: World
) -> None:
    launch = started(orchestrator)
    assert world.delegation is not None
    robo = AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)
    asked = robo.delete(context={"launch": launch["launch"]})
    commit(retire_service.apply, retire_service.Command(orchestrator.row.pk, "replaced", world.ada))
    clock.lose_launches(utc_now().replace(second=30))
    assert "Lost: nobody told how it ended" in words(desk.get("rosa", "request", asked.json["id"]))
