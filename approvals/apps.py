from __future__ import annotations

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Hook into revocations, policy activations, the outbox and the inbox; tell the log how entries read."""
        from approvals import jobs, sentences
        from approvals.actions import invalidate_requests
        from approvals.notifications import mail, webhook

        sentences.hook()
        invalidate_requests.hook()
        mail.hook()
        webhook.hook()
        assert jobs.UNDELIVERED  # importing it registers its inbox handler
