from __future__ import annotations

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Hook into revocations, policy activations, outbox, inbox and retention; tell the log how entries read."""
        from approvals import grants, jobs, mirrors, retention, sentences
        from approvals.actions import invalidate_requests
        from approvals.notifications import alarms, mail, webhook

        sentences.hook()
        invalidate_requests.hook()
        mail.hook()
        alarms.hook()
        webhook.hook()
        mirrors.register()
        retention.hook()
        grants.hook()
        assert jobs.UNDELIVERED  # importing it registers its inbox handler
