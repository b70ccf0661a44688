"""The addresses as they are with a provider configured; tests reload this after they set one."""

from __future__ import annotations

from server import sso, urls

handler400, handler403, handler404, handler500 = urls.handler400, urls.handler403, urls.handler404, urls.handler500
urlpatterns = [*urls.urlpatterns, *sso.routes()]
