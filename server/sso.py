"""Single sign-on with OpenID Connect, through allauth; configured by the environment alone (``docs/settings.md``).

A person is recognised by issuer and subject. The first time, a verified address that exactly one active person has
makes the link; nobody is ever made. Groups take roles away at once, and give them only while one admin may do so alone.

Source: OpenID Connect Core 1.0, sections 3.1.3.7 (ID token validation) and 5.7 (issuer and subject); RFC 7636 (PKCE).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import jwt
from allauth.account.signals import user_logged_in
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthError, AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render, resolve_url
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from requests import RequestException

from audit.errors import LogError
from audit.log import commit
from audit.views.recent import SIGNED_ON_AT
from governance.actions import map_roles
from governance.actors import roles_of
from governance.errors import Refused
from governance.logins import Claim
from governance.models import Person

logger = logging.getLogger("imprimatur.sso")

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
LEEWAY = 60
"""Seconds by which the provider's clock may differ from ours."""
ASK_ADMIN = "Ask an admin of this desk: they add you first, with the address you sign in with."


def provider_id() -> str:
    """Names the issuer in the table of links, so that the subjects of one issuer never pass for another's."""
    return "oidc-" + hashlib.sha256(settings.OIDC_ISSUER.encode()).hexdigest()[:32]


# --- what allauth asks of us -------------------------------------------------------------------------------------


class SingleSignOn(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """One provider, from the environment; nobody is made, and nobody is linked but by a verified address."""

    def list_apps(self, request: HttpRequest, provider: str | None = None, client_id: str | None = None) -> list[Any]:
        """The provider of the environment, or none. Rows of the database are never looked at."""
        if not settings.OIDC_ISSUER or provider not in {None, "openid_connect", provider_id()}:
            return []
        app = SocialApp(
            provider="openid_connect",
            provider_id=provider_id(),
            name=settings.OIDC_NAME,
            client_id=settings.OIDC_CLIENT_ID,
            secret=settings.OIDC_CLIENT_SECRET,
            settings={
                "server_url": settings.OIDC_ISSUER.rstrip("/") + "/.well-known/openid-configuration",
                "oauth_pkce_enabled": True,
                "fetch_userinfo": False,
            },
        )
        return [app]

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Recognise the person, then follow their groups. Raises ImmediateHttpResponse: a page that says why not."""
        if sociallogin.state.get("process") != AuthProcess.LOGIN:
            raise ImmediateHttpResponse(refuse(request, "This is not how a login is linked."))
        claims = sociallogin.account.extra_data["id_token"]
        if not sociallogin.is_existing:
            _link(request, sociallogin, claims)
        person = Person.objects.select_related("user").filter(user=sociallogin.user).first()
        if person is None:
            raise ImmediateHttpResponse(refuse(request, ASK_ADMIN))
        if person.user.is_active:  # others are told that they were switched off, by allauth's next step
            _follow_groups(request, person, claims)

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: str | None = None,
        exception: Exception | None = None,
        extra_context: Mapping[str, Any] | None = None,
    ) -> None:
        """Somebody who turned back sees the login again; everything else is a page in words. Always raises."""
        if error == AuthError.CANCELLED:
            messages.info(request, f"You came back from {settings.OIDC_NAME} without signing in.")
            raise ImmediateHttpResponse(redirect("account_login"))
        # The exception's text may hold what the provider sent, so only its kind is written down.
        logger.warning("single sign-on failed: %s", type(exception).__name__ if exception else "no state of ours")
        words = (
            "The answer of the provider could not be used, or came too late or twice. Start again from the login page."
        )
        raise ImmediateHttpResponse(refuse(request, words, title="Signing in did not work", status=401))


class VerifiedTokens(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # allauth ships no types
    """allauth's adapter, but an ID token is always there and always verified, wherever it came from."""

    @property
    def openid_config(self) -> dict[str, Any]:
        """The provider's metadata. Raises OAuth2Error when it speaks for another issuer than the configured one."""
        config: dict[str, Any] = super().openid_config
        if str(config.get("issuer", "")).rstrip("/") != settings.OIDC_ISSUER.rstrip("/"):
            raise OAuth2Error("metadata of another issuer")
        return config

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> SocialLogin:
        if not kwargs["response"].get("id_token"):
            raise OAuth2Error("no ID token")
        return super().complete_login(request, app, token, **kwargs)

    def _decode_id_token(self, app: Any, id_token: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                id_token,
                self._key(id_token),
                algorithms=ALGORITHMS,
                issuer=self.openid_config["issuer"],
                audience=app.client_id,
                leeway=LEEWAY,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise OAuth2Error("ID token refused") from error
        if claims.get("azp", app.client_id) != app.client_id or not isinstance(claims["sub"], str) or not claims["sub"]:
            raise OAuth2Error("ID token for somebody else")
        return dict(claims)

    def _key(self, id_token: str) -> jwt.PyJWK:
        with get_adapter().get_requests_session() as session:
            reply = session.get(self.openid_config["jwks_uri"])
            reply.raise_for_status()
        wanted = jwt.get_unverified_header(id_token).get("kid")
        found = [key for key in jwt.PyJWKSet.from_dict(reply.json()).keys if wanted in (None, key.key_id)]
        if len(found) != 1:
            raise OAuth2Error("no key, or several, for this ID token")
        return found[0]


# --- who it is ---------------------------------------------------------------------------------------------------


def _link(request: HttpRequest, sociallogin: SocialLogin, claims: Mapping[str, Any]) -> None:
    address = claims.get("email")
    # Only the JSON value true: the word "false" in a string would count as true.
    if not isinstance(address, str) or not address or claims.get("email_verified") is not True:
        words = f"{settings.OIDC_NAME} gave no verified address for you. {ASK_ADMIN}"
        raise ImmediateHttpResponse(refuse(request, words))
    people = [
        person
        for person in Person.objects.select_related("user").filter(user__is_active=True, user__email__iexact=address)
        if _same(person.user.email, address)
    ]
    if len(people) != 1:
        raise ImmediateHttpResponse(refuse(request, f"No one person here has the address you came with. {ASK_ADMIN}"))
    user = people[0].user
    if SocialAccount.objects.filter(user=user).exists():
        words = "Another account was linked to this address before. Ask an admin of this desk what became of it."
        raise ImmediateHttpResponse(refuse(request, words))
    sociallogin.connect(request, user)
    logger.info("linked %s to their single sign-on", people[0].id)


def _same(one: str, other: str) -> bool:
    # Outside ASCII, different letters share an upper or lower case (U+212A, the Kelvin sign, is a k), so exactly there.
    return one == other or (one.isascii() and other.isascii() and one.lower() == other.lower())


def linked(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether this login was linked to the provider that is configured now."""
    return bool(settings.OIDC_ISSUER) and (
        SocialAccount.objects.filter(user_id=user.pk, provider=provider_id()).exists()
    )


def remember_when(*, request: HttpRequest, sociallogin: SocialLogin | None = None, **_: Any) -> None:
    """Keep when the provider saw the person, for pages that ask for a recent proof."""
    if sociallogin is not None:
        at = sociallogin.account.extra_data["id_token"].get("auth_time")
        request.session[SIGNED_ON_AT] = at if isinstance(at, int) else 0


user_logged_in.connect(remember_when, dispatch_uid="imprimatur.single-sign-on-at")


# --- roles -------------------------------------------------------------------------------------------------------


def _managed() -> frozenset[str]:
    return frozenset(role for _, role in settings.OIDC_ROLES)


def _claimed(claims: Mapping[str, Any]) -> frozenset[str]:
    groups = claims.get(settings.OIDC_GROUPS_CLAIM, [])
    held = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    return frozenset(role for group, role in settings.OIDC_ROLES if group in held)


def _follow_groups(request: HttpRequest, person: Person, claims: Mapping[str, Any]) -> None:
    command = map_roles.Command(person, _claimed(claims), _managed())
    if command.claimed == roles_of(person) & command.managed:
        return
    try:
        result = commit(map_roles.apply, command)
    except (LogError, Refused) as error:
        # A role that should be gone must not be used, so nobody gets in before it is.
        words = f"Your roles could not be brought in line with your groups: {error} Try again in a minute."
        page = refuse(request, words, title="Signing in did not work", status=503)
        raise ImmediateHttpResponse(page) from error
    if result.last_admin:
        logger.warning("%s is the last admin and stays one, though no group says so", person.id)


def claims() -> Iterator[Claim]:
    """Who had groups, when they last signed in, that name roles they do not have."""
    if not settings.OIDC_ISSUER or not settings.OIDC_ROLES:
        return
    accounts = SocialAccount.objects.filter(provider=provider_id(), user__is_active=True, user__person__isnull=False)
    for account in accounts.select_related("user__person").order_by("user__person__name"):
        person = account.user.person
        missing = _claimed(account.extra_data.get("id_token", {})) - roles_of(person)
        if missing:
            yield Claim(person, tuple(sorted(missing)))


# --- addresses ---------------------------------------------------------------------------------------------------


def refuse(
    request: HttpRequest, words: str, *, title: str = "You are not known here", status: int = 403
) -> HttpResponse:
    """A page that says why signing in ended here, and what to do."""
    return render(request, "socialaccount/refused.html", {"title": title, "words": words}, status=status)


@never_cache
@require_GET
def login(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Off to the provider. Nothing in the address but where to go afterwards: allauth would take orders from it."""
    if set(request.GET) - {"next"}:
        raise Http404
    return _through(OAuth2LoginView, request, provider_id)


@never_cache
@require_GET
def again(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Off to the provider, which has to ask the person anew and to say when it did (``max_age``, ``auth_time``)."""
    if set(request.GET) - {"next"}:
        raise Http404
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path(), resolve_url("account_login"))
    query = request.GET.copy()
    query["auth_params"] = "prompt=login&max_age=0"
    request.GET = query  # type: ignore[assignment]  # where allauth looks for them
    return _through(OAuth2LoginView, request, provider_id)


@never_cache
@require_GET
def callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Back from the provider, with a code that is good once."""
    return _through(OAuth2CallbackView, request, provider_id)


def _through(view: Any, request: HttpRequest, provider_id: str) -> HttpResponseBase:
    try:
        reply: HttpResponseBase = view.adapter_view(VerifiedTokens(request, provider_id))(request)
    except (RequestException, OAuth2Error, KeyError) as error:
        logger.warning("the provider of the single sign-on does not answer as it should: %s", type(error).__name__)
        words = f"{settings.OIDC_NAME} does not answer as it should. Try again in a minute, or use your password."
        return refuse(request, words, title="Signing in did not work", status=503)
    return reply


def routes() -> list[URLPattern]:
    """The addresses of the single sign-on: none, unless a provider is configured."""
    if not settings.OIDC_ISSUER:
        return []
    which = {"provider_id": provider_id()}
    return [
        path("accounts/sso/", login, which, name="openid_connect_login"),
        path("accounts/sso/again/", again, which, name="sso_again"),
        path("accounts/sso/callback/", callback, which, name="openid_connect_callback"),
    ]
