"""Builds that were weakened on purpose, one check each: exactly the canary that tries it fails.

The weakening is here, in the test's process, and never a switch of the product.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import middleware as auth_middleware
from django.test import Client

from approvals.actions import redeem_approval, use_nonce
from approvals.door import authenticate
from approvals.models import ActionRequest
from audit import seen
from audit.log import utc_now
from audit.models import LogHead
from governance import spend, standing
from governance.actions import issue_delegation
from governance.models import AgentKey, Delegation, Pause
from governance.runtime import canary_page
from governance.runtime.models import Launch
from imprimatur.canary import attempts, folder
from imprimatur.formats import ed25519, httpsig
from imprimatur.formats.encoding import un_b64
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import canaries as rules
from imprimatur.rules import chain, effects, launches, narrowing
from imprimatur.verify import escalation
from tests.canary.desk import Canaries

Patch = pytest.MonkeyPatch


def dropping(function: Callable[..., Any], code: str) -> Callable[..., Any]:
    """The same check, without this refusal."""

    def weaker(*args: Any, **kwargs: Any) -> Any:
        found = function(*args, **kwargs)
        return None if found is not None and found.code == code else found

    return weaker


def without_facet(patch: Patch, facet: str) -> None:
    real = narrowing.link_problems
    patch.setattr(chain, "link_problems", lambda *pair: [each for each in real(*pair) if each.facet != facet])


def no_issuer(patch: Patch, canaries: Canaries) -> None:
    real = issue_delegation._check_passed_on

    def weaker(writer: Any, command: Any, document: dict[str, Any]) -> list[Delegation]:
        return real(writer, command, document) if "parent" in document else []

    patch.setattr(issue_delegation, "_check_issuer", lambda command: None)
    patch.setattr(issue_delegation, "_check_passed_on", weaker)


def no_scope(patch: Patch, canaries: Canaries) -> None:
    without_facet(patch, "scope")


def no_depth(patch: Patch, canaries: Canaries) -> None:
    without_facet(patch, "max_depth")


def no_end(patch: Patch, canaries: Canaries) -> None:
    """What was left to expire has just done so; the window of a delegation is not looked at any more."""
    kept = folder.load(canaries.path)
    root = Delegation.objects.get(subject=canaries.agents[0], parent=None)
    until = utc_now() + timedelta(seconds=1)
    facets: dict[str, Any] = {"scope": [f"file:read:{attempts.ROOM}"], "spend": None, "not_after": format_time(until)}
    short = canaries.world.pass_on(root, "canary one", "canary two", **facets)
    kept.keep(short.pk)
    while utc_now() <= until:
        time.sleep(0.05)
    patch.setattr(attempts, "_SKEW", timedelta())
    patch.setattr(standing, "refusal", dropping(standing.refusal, "delegation-expired"))


def no_nonce(patch: Patch, canaries: Canaries) -> None:
    patch.setattr(use_nonce, "apply", lambda writer, nonce: None)


def no_signature(patch: Patch, canaries: Canaries) -> None:
    patch.setattr(authenticate, "verified_target", lambda raw, key: raw.target_uris()[0])


def any_agents_key(patch: Patch, canaries: Canaries) -> None:
    """A signature counts when any registered key made it."""
    real = authenticate.verified_target

    def weaker(raw: Any, public_key: bytes) -> str:
        try:
            return real(raw, public_key)
        except httpsig.HttpSigError:
            for key in AgentKey.objects.all():
                given = raw.headers["signature-input"]
                try:
                    base = httpsig.signature_base(raw.method, raw.target_uris()[-1], raw.headers, given)
                except httpsig.HttpSigError:
                    continue
                signature = un_b64(raw.headers["signature"][6:-1])
                if ed25519.verify(bytes(key.public_key), base, signature):
                    return str(raw.target_uris()[-1])
            raise

    patch.setattr(authenticate, "verified_target", weaker)


def no_authority(patch: Patch, canaries: Canaries) -> None:
    patch.setattr(standing, "refusal", dropping(standing.refusal, "out-of-scope"))


def dots_stripped(patch: Patch, canaries: Canaries) -> None:
    """What many programs do with two dots: take them out and go on."""
    real = effects.derive

    def weaker(document: Any, parameters: Any) -> Any:
        path = parameters.get("path", "")
        return real(document, {**parameters, "path": path.replace("../", "")} if path else parameters)

    patch.setattr(effects, "derive", weaker)


def no_limit(patch: Patch, canaries: Canaries) -> None:
    patch.setattr(standing, "refusal", dropping(standing.refusal, "over-budget"))
    patch.setattr(spend, "reserve", lambda *args, **kwargs: None)


def signed_in_as(patch: Patch, canaries: Canaries, who: str, path: str) -> None:
    """A request signature counts as somebody's session."""
    user, real = canaries.world.people[who].user, auth_middleware.get_user

    def weaker(request: Any) -> Any:
        return user if "Signature" in request.headers and request.path.endswith(path) else real(request)

    patch.setattr(auth_middleware, "get_user", weaker)


def reviewer_by_signature(patch: Patch, canaries: Canaries) -> None:
    signed_in_as(patch, canaries, "rui", "/approve/")


def admin_by_signature(patch: Patch, canaries: Canaries) -> None:
    signed_in_as(patch, canaries, "ada", "/pauses/lift")


def redeemed_for_ever(patch: Patch, canaries: Canaries) -> None:
    patch.setattr(redeem_approval, "_again", lambda writer, request, command: redeem_approval.Result(request))


def any_arguments(patch: Patch, canaries: Canaries) -> None:
    real = redeem_approval.apply

    def weaker(writer: Any, command: Any) -> Any:
        digest = ActionRequest.objects.get(pk=command.request).action_digest
        return real(writer, replace(command, action_digest=digest))

    patch.setattr(redeem_approval, "apply", weaker)


def any_entry(patch: Patch, canaries: Canaries) -> None:
    patch.setattr(seen, "compare", lambda envelope, holder: seen.Seen(0, published=True))


def any_launch(patch: Patch, canaries: Canaries) -> None:
    patch.setattr(launches, "problems", lambda *args, **kwargs: [])


WEAKENED: list[tuple[Callable[[Patch, Canaries], None], set[str]]] = [
    (no_issuer, {"self-grant"}),
    (no_scope, {"widened-delegation"}),
    (no_depth, {"depth-exceeded"}),
    (no_end, {"expired"}),
    (no_nonce, {"replayed"}),
    (no_signature, {"forged-signature", "another-agents-key"}),
    (any_agents_key, {"another-agents-key"}),
    (no_authority, {"out-of-scope"}),
    (dots_stripped, {"path-traversal"}),
    (no_limit, {"over-budget"}),
    (reviewer_by_signature, {"self-approval"}),
    (redeemed_for_ever, {"redeem-twice"}),
    (any_arguments, {"redeem-changed"}),
    (any_entry, {"forged-entry"}),
    (any_launch, {"malformed-launch"}),
    (admin_by_signature, {"switch-off"}),
]


def test_every_attack_has_a_build_in_which_it_is_not_refused() -> None:
    attacks = {name for name, attempt in rules.ATTEMPTS.items() if not attempt.control}
    assert set().union(*(fails for _, fails in WEAKENED)) == attacks


@pytest.mark.parametrize(("weaken", "fails"), WEAKENED, ids=[weaken.__name__ for weaken, _ in WEAKENED])
def test_a_build_without_one_check_fails_exactly_the_canaries_that_try_it(
    canaries: Canaries, monkeypatch: Patch, weaken: Callable[[Patch, Canaries], None], fails: set[str]
) -> None:
    first = canaries.run()
    assert canaries.wrong(first) == {}, first.attempts
    canaries.desk.publishing = False  # what the notary says of it is tried below
    said: list[str] = []
    with monkeypatch.context() as patch:
        weaken(patch, canaries)
        done = canaries.run(tell=said.append)

    assert set(canaries.wrong(done)) == fails, canaries.wrong(done)
    assert done.result == rules.FAILED and done.index is not None
    assert canaries.newest().index == done.index
    shown = canary_page.shown(utc_now())
    assert shown.colour == rules.RED and shown.days[0].colour == rules.RED
    assert {each.name for each in shown.tried if each.colour == rules.RED} == fails
    assert all(any(name in line for name in done.got_through) for line in said)
    _nothing_is_left(canaries)


def _judged(world: Any) -> Any:
    """What the verifier's own rules say of the log, up to where the notary signed it."""
    history = world.publisher._notary.history
    return next(claim for claim in escalation.claims(history.facts, None) if claim.name == "canaries")


def test_the_claim_of_every_bundle_is_invalid_once_an_attack_got_through(
    canaries: Canaries, monkeypatch: Patch
) -> None:
    canaries.run()
    assert _judged(canaries.world).verdict != "invalid"
    with monkeypatch.context() as patch:
        any_entry(patch, canaries)
        done = canaries.run()
    assert done.got_through == ["forged-entry"]
    claim = _judged(canaries.world)
    assert claim.verdict == "invalid" and "forged-entry" in claim.detail
    assert canaries.run().result == rules.PASSED
    assert _judged(canaries.world).verdict == "invalid", "a later run does not undo it"


def test_a_history_that_no_verifier_would_accept_freezes_the_log_and_the_page_says_so(
    canaries: Canaries, monkeypatch: Patch, client: Client
) -> None:
    with monkeypatch.context() as patch:
        no_authority(patch, canaries)
        done = canaries.run()
    assert LogHead.objects.get().state == LogHead.FROZEN
    assert done.result == rules.FAILED and "out-of-scope" in done.got_through
    assert done.index is None and done.unsent, "a frozen log takes no run; it is kept for later"
    client.force_login(canaries.world.ada.user)
    page = client.get("/canaries/").content.decode()
    assert "The log is frozen" in page and "No run can be entered until an operator has looked at it" in page


def test_an_entry_that_was_made_up_and_stops_the_log_got_through(canaries: Canaries, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(seen, "_index", lambda envelope: 0)
        done = canaries.run()
    assert "forged-entry" in done.got_through
    assert LogHead.objects.get().state == LogHead.FROZEN


def _nothing_is_left(canaries: Canaries) -> None:
    """What an attack got was given back."""
    assert not ActionRequest.objects.filter(state__in=("PENDING", "AWAITING_CONFIRMATION", "REDEEMED")).exists()
    assert not Launch.objects.filter(state=Launch.ATTESTED).exists()
    root = Delegation.objects.get(issuer_person__isnull=False, subject=canaries.agents[0], revoked_at=None)
    for row in Delegation.objects.filter(revoked_at=None, parent=root):
        assert row.subject_id == canaries.agents[1].pk
    assert not Pause.objects.exists()
