"""How people log in: accounts are made by admins, never by visitors; second factors are each person's own."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa import signals
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from audit.views.recent import recent_login, recently_authenticated
from governance import logins
from governance.models import Person
from server import sso

__all__ = ["ClosedAccounts", "SecondFactors", "recent_login", "recently_authenticated"]


class ClosedAccounts(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """Login, logout and password change through allauth; no sign-up."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": "User name or password is wrong.",
        "too_many_login_attempts": "Too many attempts. Wait a few minutes, then try again.",
        "incorrect_password": "This is not your password.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def set_password(self, user: AbstractBaseUser, password: str) -> None:
        """Set the password a person chose; the printed one is over with that."""
        super().set_password(user, password)
        Person.objects.filter(user_id=user.pk).update(must_change_password=False)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Back to the desk."""
        return reverse("desk")

    def respond_user_inactive(self, request: HttpRequest, user: AbstractBaseUser) -> HttpResponse:
        """Somebody who was switched off learns that, and nothing else: they proved who they are."""
        return render(request, "account/inactive.html", status=403)

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """One rule for allauth's pages and ours: whoever signed in within five minutes is not asked again."""
        return bool(super().is_reauthentication_required(app=app, **kwargs)) and not recently_authenticated(
            context.request
        )

    def get_reauthentication_methods(self, user: AbstractBaseUser | AnonymousUser) -> list[dict[str, str]]:
        """What a person may prove themselves with. Who comes by single sign-on may not know a password at all."""
        methods = [
            {**method, "description": _WORDS[method["id"]]} for method in super().get_reauthentication_methods(user)
        ]
        if sso.linked(user):
            methods.append(
                {"id": "sso", "description": f"Sign in again with {settings.OIDC_NAME}", "url": reverse("sso_again")}
            )
        return methods


_WORDS = {
    "reauthenticate": "Use your password",
    "mfa_reauthenticate": "Use a code of your app, or a recovery code",
    "mfa_reauthenticate:webauthn": "Use your passkey",
}


class SecondFactors(DefaultMFAAdapter):  # type: ignore[misc]  # allauth ships no types
    """Passkeys, authenticator app and recovery codes, named so that nobody takes them for signing keys."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "That did not match. Try again.",
        "cannot_generate_recovery_codes": "Recovery codes stand in for a passkey or an app. Add one of these first.",
    }

    def get_totp_issuer(self) -> str:
        """The realm: one installation's codes are not taken for another's."""
        return settings.REALM

    def get_totp_label(self, user: User) -> str:
        return user.get_username()

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:
        number = Authenticator.objects.filter(user_id=user.pk, type=type).count() + 1
        return "My passkey" if number == 1 else f"My passkey {number}"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """The host is one of ``ORIGINS``: Django refuses every other before a view runs."""
        return {**super().get_public_key_credential_rp_entity(), "name": settings.REALM}

    def get_public_key_credential_user_entity(self, user: User) -> dict[str, Any]:
        """Say in the key's own list of accounts what it is for: it opens the desk, and never signs a decision."""
        person = getattr(user, "person", None)
        return {
            **super().get_public_key_credential_user_entity(user),
            "name": f"{user.get_username()} (login)",
            "display_name": f"{person.name if person else user.get_username()} (login)",
        }


def forget_second_factors(user: User) -> int:
    """Delete every passkey, app and recovery code of a login. Returns how many there were."""
    _, deleted = Authenticator.objects.filter(user=user).delete()
    return sum(deleted.values())


def end_other_sessions(*, request: HttpRequest, user: User, **_: Any) -> None:
    """Whoever holds another session of somebody who just changed their factors is out."""
    logins.end_sessions(user, but=request.session.session_key)


def register() -> None:
    """Hook in what the lower rooms need of the login. Called once, when the process starts."""
    logins.register_second_factor_reset(forget_second_factors)
    logins.register_claims(sso.claims)
    for signal in (signals.authenticator_added, signals.authenticator_removed, signals.authenticator_reset):
        signal.connect(end_other_sessions, dispatch_uid="imprimatur.end-other-sessions")
