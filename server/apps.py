from __future__ import annotations

from django.apps import AppConfig


class ServerConfig(AppConfig):
    name = "server"

    def ready(self) -> None:
        from server import accounts, checks, logs

        accounts.register()
        logs.configure()
        assert checks is not None  # importing registers the checks
