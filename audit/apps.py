from __future__ import annotations

from django.apps import AppConfig
from django.db.backends.signals import connection_created


class AuditConfig(AppConfig):
    name = "audit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Bind every connection; register the handlers of outbox and inbox, mirrored rows, sentences."""
        from audit import (
            authorizer,
            holds,
            kinds,  # noqa: F401  # importing registers
        )
        from audit.evidence import grants, jobs  # noqa: F401  # importing registers

        holds.hook()
        connection_created.connect(authorizer.bind, dispatch_uid="audit.authorizer")
