from __future__ import annotations

from django.apps import AppConfig


class GovernanceConfig(AppConfig):
    name = "governance"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tell the log how this room's entries read, and which rows repeat them."""
        from audit import quiet
        from governance import mirrors, sentences
        from governance.runtime import canary_agents
        from governance.runtime import mirrors as running

        sentences.register()
        mirrors.register()
        running.register()
        quiet.register(canary_agents.listed)
