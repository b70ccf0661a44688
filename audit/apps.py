from __future__ import annotations

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "audit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the handlers of outbox and inbox, and the sentences of the log's own kinds."""
        from audit import kinds  # noqa: F401  # importing registers
        from audit.evidence import jobs  # noqa: F401  # importing registers
