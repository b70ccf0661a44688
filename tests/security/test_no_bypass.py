"""Whatever is set to its most permissive value, agents are checked, and what is decided is signed, logged, published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from audit import signer
from audit.models import Checkpoint, Entry
from governance.errors import Refused
from imprimatur.formats import canonical, dsse
from imprimatur.formats.keys import KeyPair
from imprimatur.rules.policy import DEMO_POLICY
from server import checks
from tests.conftest import World
from tests.door.agent import PREFIX, AgentUnderTest, Send
from tests.separation.conftest import MIDDLEWARE

# Settings that open something, by name: the Django setting behind it, and the value that opens it furthest.
MOST_PERMISSIVE: dict[str, tuple[str, Any]] = {
    "IMPRIMATUR_KEY_SHARE": ("KEY_SHARE", 1_000_000),
    "IMPRIMATUR_ORIGINS": ("ORIGINS", ["http://testserver", "http://localhost:8000", "http://evil.example"]),
    "IMPRIMATUR_ATTESTATION_ROOTS": ("ATTESTATION_ROOTS", ""),
    "IMPRIMATUR_DATABASE_ROLES": ("DATABASE_ROLES", False),
    "IMPRIMATUR_PROVENANCE": ("PROVENANCE", ""),
    "IMPRIMATUR_PROVENANCE_KEY": ("PROVENANCE_KEY", ""),
    "IMPRIMATUR_WITNESSES": ("WITNESSES", ""),
    "IMPRIMATUR_MIRROR_TOKEN": ("MIRROR_TOKEN", "m" * 64),
    "IMPRIMATUR_RETENTION_DAYS": ("RETENTION_DAYS", 1),
    "IMPRIMATUR_SINKS": ("SINKS", []),
    "IMPRIMATUR_CANARY_EVERY": ("CANARY_EVERY", None),
    "IMPRIMATUR_DEMO": ("DEMO", True),
    "IMPRIMATUR_DEBUG": ("DEBUG", True),
}
EVERYTHING_LOW: dict[str, Any] = {
    **DEMO_POLICY,
    "assurance": "H0",
    "grants": True,
    "ttl": {"default": 3600},
    "respond": {"drift": "alert", "canary": "alert"},
    "rules": [
        {"name": f"{tool.replace('_', '-')}-is-low", "tool": tool, "risk": "LOW"}
        for tool in ("read_file", "write_file", "delete_file", "send_email", "execute_code", "make_payment")
    ],
}


def enforcement_holds(world: World, robo: AgentUnderTest, door: Send) -> None:
    """The four things that nothing switches off."""
    path = f"{PREFIX}/actions"
    raw, committed = robo.submit_body("read_file", {"path": "/project/src/a.py"}, "k" * 12)
    good = robo.headers("POST", path, raw, idempotency_key="k" * 12, committed=committed)
    entries = Entry.objects.count()
    unsigned = {name: value for name, value in good.items() if not name.startswith("Signature")}
    assert door("POST", path, unsigned, raw).status == 401
    stranger = AgentUnderTest(door, KeyPair.generate(), robo.delegation)
    assert stranger.read().status == 401
    forged = {**good, "Signature": "sig1=:" + "A" * 86 + "==:"}
    assert door("POST", path, forged, raw).status == 401
    assert Entry.objects.count() == entries

    refused = robo.read("/etc/passwd")
    assert (refused.status, refused.code) == (403, "out-of-scope")
    allowed = robo.read()
    assert allowed.status == 200 and allowed.json["verdict"] == "allow"
    for answer in (refused, allowed):
        envelope = dsse.open_envelope(answer.receipt.envelope)
        assert dsse.verify(envelope, signer.decision_key().public_key)
        assert canonical.loads(envelope.payload)["kind"] == "action.decided"
        assert bytes(Entry.objects.get(index=answer.receipt.index).envelope) == answer.receipt.envelope
    size = world.publish()
    assert size == Entry.objects.count() and Checkpoint.objects.filter(size=size).exists()


@pytest.mark.parametrize("name", MOST_PERMISSIVE)
def test_no_setting_at_its_most_permissive_switches_enforcement_off(
    world: World, robo: AgentUnderTest, door: Send, settings: Any, name: str
) -> None:
    attribute, value = MOST_PERMISSIVE[name]
    assert hasattr(settings, attribute)
    setattr(settings, attribute, value)
    enforcement_holds(world, robo, door)


def test_all_settings_at_their_most_permissive_together_switch_nothing_off(
    world: World, robo: AgentUnderTest, door: Send, settings: Any
) -> None:
    for attribute, value in MOST_PERMISSIVE.values():
        setattr(settings, attribute, value)
    enforcement_holds(world, robo, door)


def test_the_most_permissive_policy_leaves_signatures_scope_and_the_log(
    make_world: Callable[..., World], door: Send
) -> None:
    with pytest.raises(Refused, match="single_human"):
        make_world({**EVERYTHING_LOW, "single_human": True})
    world = make_world(EVERYTHING_LOW)
    assert world.delegation is not None
    robo = AgentUnderTest(door, world.keys["robo"], world.delegation.id)
    enforcement_holds(world, robo, door)
    # What the registry says of a tool stands above every policy.
    assert robo.delete().status == 202


def test_the_clients_own_switches_change_nothing_at_the_server(
    world: World, robo: AgentUnderTest, door: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPRIMATUR_ALLOW_HTTP", "yes")
    monkeypatch.setenv("IMPRIMATUR_SINGLE_HUMAN", "yes")
    enforcement_holds(world, robo, door)


@pytest.fixture
def whole(settings: Any) -> Any:
    settings.MIDDLEWARE = list(MIDDLEWARE)
    return settings


def test_the_pieces_of_enforcement_are_in_place(whole: Any) -> None:
    assert checks.enforcement(None) == []
    checks.assert_enforced()


@pytest.mark.parametrize("name", checks.IN_ORDER)
def test_a_piece_of_middleware_that_is_missing_stops_the_start(whole: Any, name: str) -> None:
    whole.MIDDLEWARE.remove(name)
    assert [found.id for found in checks.enforcement(None)] == ["imprimatur.E008"]
    with pytest.raises(ImproperlyConfigured, match=r"imprimatur\.E008"):
        checks.assert_enforced()


def test_middleware_in_another_order_another_login_or_a_silenced_check_stops_the_start(whole: Any) -> None:
    whole.MIDDLEWARE.reverse()
    assert checks.enforcement(None)
    whole.MIDDLEWARE.reverse()
    whole.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    assert checks.enforcement(None)
    whole.AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
    whole.SILENCED_SYSTEM_CHECKS = ["imprimatur.E008"]
    assert checks.enforcement(None)


def test_a_call_of_the_api_that_checks_no_signature_stops_the_start(
    whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from approvals.door import authenticate, serve
    from approvals.endpoints import api

    operation = next(
        each
        for _, router in api.api._routers
        for view in router.path_operations.values()
        for each in view.operations
        if each.operation_id == "cancel"
    )
    monkeypatch.setattr(operation, "auth_callbacks", [])
    assert "cancel" in checks.enforcement(None)[0].msg
    monkeypatch.undo()
    monkeypatch.setattr(serve, "authenticate", lambda raw: None)
    assert "hot calls" in checks.enforcement(None)[0].msg
    assert serve.authenticate is not authenticate.authenticate
