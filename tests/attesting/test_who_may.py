"""Who may call what: services their own calls, agents theirs, nobody after the end, and nobody twice with one nonce."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from approvals.door import limits, rejections
from audit.log import commit, utc_now
from audit.models import Entry
from governance.actions import enrol_agent, invite_agent
from governance.errors import Refused
from governance.runtime.actions import register_service, retire_service
from governance.runtime.models import Service
from imprimatur.formats import attestation, canonical, ids, note
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from tests.attesting.service import ServiceUnderTest
from tests.conftest import World
from tests.door.agent import PREFIX, AgentUnderTest, through_django

CALLS: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("GET", "/service", {}, ("orchestrator", "monitor", "canary")),
    ("GET", "/launches/terms?agent=x", {}, ("orchestrator",)),
    ("POST", "/launches", {"statement": "{}"}, ("orchestrator",)),
    ("GET", "/launches?live=1", {}, ("orchestrator", "monitor")),
    ("POST", "/launches/lau_x/ended", {"how": "exited"}, ("orchestrator",)),
    ("POST", "/observations", {"statements": ["{}"]}, ("monitor",)),
    ("POST", "/canaries", {"statement": "{}"}, ("canary",)),
]


def call(agent: AgentUnderTest, method: str, path: str, body: dict[str, Any]) -> Any:
    return agent.get(path) if method == "GET" else agent.post(path, body)


@pytest.mark.parametrize(("method", "path", "body", "roles"), CALLS, ids=[f"{c[0]} {c[1]}" for c in CALLS])
def test_every_call_is_for_its_roles_and_never_for_agents(
    robo: AgentUnderTest,
    orchestrator: ServiceUnderTest,
    monitor: ServiceUnderTest,
    canary: ServiceUnderTest,
    method: str,
    path: str,
    body: dict[str, Any],
    roles: tuple[str, ...],
) -> None:
    assert (call(robo, method, path, body).status, call(robo, method, path, body).code) == (403, "not-allowed")
    for one in (orchestrator, monitor, canary):
        answer = call(one.door, method, path, body)
        if one.row.role in roles:
            assert answer.status in (200, 404, 422), answer.raw
        else:
            assert (answer.status, answer.code) == (403, "not-allowed")
    stranger = AgentUnderTest(through_django, KeyPair.generate(), "")
    assert (call(stranger, method, path, body).status, call(stranger, method, path, body).code) == (401, "key-unknown")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/me", {}),
        ("GET", "/actions/act_x", {}),
        ("POST", "/outcomes", {"outcomes": []}),
        ("POST", "/delegations", {"document": {}, "signature": {}}),
        ("POST", "/keys/rotate", {"public_key": "A" * 43, "signature": "A" * 86}),
        ("POST", "/log/seen", {"envelope": "{}"}),
        ("GET", "/proofs/0", {}),
    ],
)
def test_on_agents_calls_a_services_key_is_unknown(
    orchestrator: ServiceUnderTest, method: str, path: str, body: dict[str, Any]
) -> None:
    answer = call(orchestrator.door, method, path, body)
    assert (answer.status, answer.code) == (401, "key-unknown")


def test_a_service_submits_nothing(orchestrator: ServiceUnderTest, world: World) -> None:
    assert world.delegation is not None
    asking = AgentUnderTest(through_django, orchestrator.key, world.delegation.id)
    assert (asking.read().status, asking.read().code) == (401, "key-unknown")


def test_a_service_that_says_who_it_is_is_told_what_it_signed(orchestrator: ServiceUnderTest, world: World) -> None:
    before = orchestrator.get("/service").json
    assert before == {
        "service": orchestrator.row.pk,
        "name": "the orchestrator",
        "role": "orchestrator",
        "key": orchestrator.key.thumbprint,
        "realm": world.realm,
        "registered_at": before["registered_at"],
        "own": {"size": 0, "root": f"sha256:{'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'}"},
    }
    index = orchestrator.attest().json["index"]
    after = orchestrator.get("/service").json
    assert after["own"] == orchestrator.own
    assert after["newest"]["index"] == index


def test_a_retired_service_is_finished(orchestrator: ServiceUnderTest, world: World) -> None:
    text = orchestrator.launch()
    commit(retire_service.apply, retire_service.Command(orchestrator.row.pk, "replaced", world.ada))

    answer = orchestrator.post("/launches", {"statement": text})
    assert (answer.status, answer.code) == (401, "key-revoked")
    assert orchestrator.get("/service").code == "key-revoked"


def test_a_service_that_is_retired_on_the_way_writes_nothing(
    orchestrator: ServiceUnderTest, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check of its signature and the lock."""
    from governance.runtime.actions import attest_launch

    prepare = attest_launch.prepare

    def retired_meanwhile(*arguments: Any) -> Any:
        made = prepare(*arguments)
        commit(retire_service.apply, retire_service.Command(orchestrator.row.pk, "replaced", world.ada))
        return made

    monkeypatch.setattr(attest_launch, "prepare", retired_meanwhile)
    answer = orchestrator.attest()
    assert (answer.status, answer.code) == (401, "key-revoked")


def test_the_same_signed_request_counts_once(orchestrator: ServiceUnderTest) -> None:
    body = canonical.dumps_json({"statement": orchestrator.launch()})
    headers = orchestrator.door.headers("POST", f"{PREFIX}/launches", body)

    assert through_django("POST", f"{PREFIX}/launches", headers, body).status == 201
    answer = through_django("POST", f"{PREFIX}/launches", headers, body)
    assert (answer.status, answer.code) == (401, "replayed")


def test_a_forged_signature_tells_nobody_whose_the_key_is(orchestrator: ServiceUnderTest, robo: AgentUnderTest) -> None:
    for known in (orchestrator.key, robo.key):
        forger = AgentUnderTest(through_django, KeyPair.generate(), "")
        headers = forger.headers("GET", f"{PREFIX}/service", None)
        headers["Signature-Input"] = headers["Signature-Input"].replace(forger.key.thumbprint, known.thumbprint)
        answer = through_django("GET", f"{PREFIX}/service", headers, b"")
        assert (answer.status, answer.code) == (401, "signature")


def test_what_services_are_refused_is_limited_and_counted_like_agents(
    orchestrator: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert orchestrator.post("/observations", {"statements": ["{}"]}).code == "not-allowed"
    assert orchestrator.post("/launches", {"statment": ""}).code == "malformed"
    counted: dict[str, int] = {}
    for _, key, codes in rejections.take_finished(utc_now().replace(year=2999)):
        assert key == orchestrator.key.thumbprint
        for code, times in codes.items():
            counted[code] = counted.get(code, 0) + times
    assert counted == {"not-allowed": 1, "malformed": 1}
    monkeypatch.setattr(limits, "keys", limits.Limiter(limits.Rate(0.001, 1)))
    assert orchestrator.get("/service").status == 200
    assert orchestrator.get("/service").code == "rate-limited"


def test_a_service_fills_the_log_no_faster_than_it_may(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "services", limits.Limiter(limits.Rate(0.001, 2)))
    assert [orchestrator.attest(policy="sha256:" + "0" * 64).code for _ in range(3)] == [
        "launch-refused",
        "launch-refused",
        "rate-limited",
    ]
    assert Entry.objects.filter(kind="launch.refused").count() == 2
    assert orchestrator.get("/service").status == 200, "it may still ask"
    assert monitor.see(None, claimed="x").status == 201, "and another one is not held up"


# --- registering --------------------------------------------------------------------------------------------------


def register(
    world: World, key: bytes, name: str = "one", role: str = "monitor", vkey: str = "", by: str = "ada"
) -> Any:
    command = register_service.Command(name, role, key, world.people[by], vkey)
    return commit(register_service.apply, command)


def test_only_an_admin_registers_and_retires(world: World) -> None:
    for who in ("rui", "audra", "mallory"):
        with pytest.raises(Refused) as refused:
            register(world, KeyPair.generate().public_key, by=who)
        assert refused.value.code == "not-allowed"
    done = register(world, KeyPair.generate().public_key).service
    with pytest.raises(Refused) as refused:
        commit(retire_service.apply, retire_service.Command(done.pk, "no more", world.rui))
    assert refused.value.code == "not-allowed"
    for reason, service, code in (("", done.pk, "invalid"), ("over", "sv_nothing", "not-found")):
        with pytest.raises(Refused) as refused:
            commit(retire_service.apply, retire_service.Command(service, reason, world.ada))
        assert refused.value.code == code
    commit(retire_service.apply, retire_service.Command(done.pk, "over", world.ada))
    with pytest.raises(Refused) as refused:
        commit(retire_service.apply, retire_service.Command(done.pk, "over", world.ada))
    assert refused.value.code == "conflict"


def test_no_key_has_two_owners(world: World, published: Callable[[], int]) -> None:
    from audit.keyring import ring

    taken = register(world, KeyPair.generate().public_key).service
    for key in (
        world.keys["robo"].public_key,
        world.ssh["ada"].public_key,
        bytes(taken.public_key),
        ring().decision[0].public_key,
        ring().log[0].vkey.public_key,
    ):
        with pytest.raises(Refused) as refused:
            register(world, key, "two")
        assert refused.value.code == "conflict"
    pair = KeyPair.generate()
    register(world, pair.public_key, "three")
    command, token = invite_agent.new("thief", world.ada, world.ada)
    commit(invite_agent.apply, command)
    with pytest.raises(Refused) as refused:
        commit(enrol_agent.apply, enrol_agent.Command(token, pair.public_key))
    assert refused.value.code == "conflict"
    rotated = AgentUnderTest(through_django, world.keys["robo"], "").post(
        "/keys/rotate", rotation(world, pair.public_key)
    )
    assert rotated.code == "conflict"


def rotation(world: World, new: bytes) -> dict[str, str]:
    from governance.actions import rotate_key

    old = world.keys["robo"]
    message = rotate_key.preimage(realm=world.realm, agent=world.robo.pk, old=old.thumbprint, public_key=new)
    return {"public_key": b64u(new), "signature": b64u(old.sign(message))}


def test_a_name_a_role_and_a_key_are_checked(world: World) -> None:
    good = KeyPair.generate().public_key
    for changes in ({"name": ""}, {"name": "a\nb"}, {"role": "admin"}, {"key": bytes(32)}, {"vkey": "noise"}):
        with pytest.raises(Refused) as refused:
            register(world, **{"key": good, **changes})  # type: ignore[arg-type]  # what forms could send
        assert refused.value.code == "invalid", changes
    register(world, good)
    with pytest.raises(Refused) as refused:
        register(world, KeyPair.generate().public_key)
    assert refused.value.code == "conflict"
    assert Service.objects.get().pk == ids.service_id(good)


def test_only_a_monitor_cosigns_and_with_a_key_of_its_own(world: World, published: Callable[[], int]) -> None:
    pair, cosigner = KeyPair.generate(), KeyPair.generate()
    vkey = note.Vkey("monitor.example", cosigner.public_key, note.COSIGNATURE).format()
    own = note.Vkey("monitor.example", pair.public_key, note.COSIGNATURE).format()
    plain = note.Vkey("monitor.example", cosigner.public_key).format()
    for changes in ({"vkey": vkey, "role": attestation.ORCHESTRATOR}, {"vkey": own}, {"vkey": plain}):
        with pytest.raises(Refused) as refused:
            register(world, pair.public_key, **changes)
        assert refused.value.code == "invalid", changes
    assert register(world, pair.public_key, vkey=vkey).entry.body["vkey"] == vkey
