"""The embedded default: the agent door and the desk door on one port, in one process that also is the writer."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "server.settings")

import django

django.setup(set_prefix=False)

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

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
