"""Websocket addresses."""

from __future__ import annotations

from typing import Any

from django.urls import path

from approvals.consumers import LiveConsumer

# Channels routes ASGI applications with Django's path(), whose types only know views.
websocket_urlpatterns: list[Any] = [path("ws/live/", LiveConsumer.as_asgi())]  # type: ignore[arg-type]
