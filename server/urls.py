"""Every address of the desk door. The agent API stands beside it, so that one process can serve both."""

from __future__ import annotations

from allauth.account import views as account
from django.urls import URLPattern, URLResolver, include, path

from approvals.endpoints import api as agent_api
from server import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("approvals.urls")),
    path("", include("governance.urls")),
    path("", include("audit.urls")),
    # Login, logout and the change of one's own password; accounts are made by admins, so nothing else of allauth.
    path("accounts/login/", account.login, name="account_login"),
    path("accounts/logout/", account.logout, name="account_logout"),
    path("accounts/password/change/", account.password_change, name="account_change_password"),
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
