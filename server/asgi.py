"""The embedded default: the agent door and the desk door on one port, in one process that also is the writer."""

from __future__ import annotations

import gc
import os

# What is imported stays: looking for garbage in it takes a quarter of the start, and again and again afterwards.
gc.disable()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "server.settings")

import django

django.setup(set_prefix=False)

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import get_resolver

from server.agent_door import AgentDoor
from server.django_pool import PooledDjango
from server.lifespan import Lifespan
from server.routing import websocket_urlpatterns

desk_door = ProtocolTypeRouter(
    {
        "http": PooledDjango(),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)

application = Lifespan(AgentDoor(desk_door))

get_resolver().url_patterns  # noqa: B018  # every page is imported now, and not while the first person waits
gc.freeze()
gc.enable()
