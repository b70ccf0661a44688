"""The addresses of this server with those of single sign-on, which are there only when it is configured."""

from __future__ import annotations

from django.test import override_settings

from server import sso
from server.urls import handler400, handler403, handler404, handler500
from server.urls import urlpatterns as configured

# Nobody listens there: what is tried here ends before the provider is asked for anything.
ISSUER = "http://127.0.0.1:1"

with override_settings(OIDC_ISSUER=ISSUER):
    _single_sign_on = [] if any("sso" in str(one.pattern) for one in configured) else sso.routes()

urlpatterns = [*configured, *_single_sign_on]

__all__ = ["ISSUER", "handler400", "handler403", "handler404", "handler500", "urlpatterns"]
