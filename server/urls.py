"""Every address of the desk door. The agent API stands beside it, so that one process can serve both."""

from __future__ import annotations

from allauth.account import views as account
from allauth.mfa.base import views as factors
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from django.urls import URLPattern, URLResolver, include, path
from django.views.decorators.http import require_http_methods

from approvals.endpoints import api as agent_api
from audit.views.webauthn import signing_page
from server import health, sso

# allauth's class-based views would take PUT for POST, and answer any other method somehow.
form = require_http_methods(["GET", "HEAD", "POST"])

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("approvals.urls")),
    path("", include("governance.urls")),
    path("", include("audit.urls")),
    # Login, logout, one's own password and second factors; accounts are made by admins, so nothing else of allauth.
    path("accounts/login/", form(signing_page()(account.login)), name="account_login"),
    path("accounts/login/passkey/", form(passkeys.login_webauthn), name="mfa_login_webauthn"),
    path("accounts/login/second/", form(signing_page()(factors.authenticate)), name="mfa_authenticate"),
    path("accounts/logout/", form(account.logout), name="account_logout"),
    path("accounts/password/change/", form(account.password_change), name="account_change_password"),
    path("accounts/again/", form(account.reauthenticate), name="account_reauthenticate"),
    path("accounts/again/code/", form(factors.reauthenticate), name="mfa_reauthenticate"),
    path(
        "accounts/again/passkey/",
        form(signing_page()(passkeys.reauthenticate_webauthn)),
        name="mfa_reauthenticate_webauthn",
    ),
    path("accounts/factors/", form(factors.index), name="mfa_index"),
    path("accounts/factors/app/", form(totp.activate_totp), name="mfa_activate_totp"),
    path("accounts/factors/app/remove/", form(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path("accounts/factors/codes/", form(codes.view_recovery_codes), name="mfa_view_recovery_codes"),
    path("accounts/factors/codes/new/", form(codes.generate_recovery_codes), name="mfa_generate_recovery_codes"),
    path("accounts/factors/passkeys/", form(passkeys.list_webauthn), name="mfa_list_webauthn"),
    path(
        "accounts/factors/passkeys/add/",
        form(signing_page(create=True)(passkeys.add_webauthn)),
        name="mfa_add_webauthn",
    ),
    path("accounts/factors/passkeys/<int:pk>/name/", form(passkeys.edit_webauthn), name="mfa_edit_webauthn"),
    path("accounts/factors/passkeys/<int:pk>/remove/", form(passkeys.remove_webauthn), name="mfa_remove_webauthn"),
    *sso.routes(),
    path("api/v1/", agent_api.api.urls),
    path(".well-known/imprimatur", agent_api.well_known),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.prometheus, name="metrics"),
]

handler400 = "approvals.views.errors.bad_request"
handler403 = "approvals.views.errors.forbidden"
handler404 = "approvals.views.errors.not_found"
handler500 = "server.errors.broken"
