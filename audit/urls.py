"""Addresses of the log explorer and of evidence."""

from __future__ import annotations

from django.urls import path

from audit.views import evidence, log

urlpatterns = [
    path("log/", log.index, name="log"),
    path("log/integrity", log.integrity, name="log_integrity"),
    path("log/checkpoint", log.checkpoint, name="log_checkpoint"),
    path("log/export.<str:form>", log.export, name="log_export"),
    path("log/<int:index>", log.entry, name="entry"),
    path("log/<int:index>/envelope", log.envelope, name="entry_envelope"),
    path("log/<int:index>/proof", log.proof, name="entry_proof"),
    path("evidence/", evidence.index, name="evidence"),
    path("evidence/ask", evidence.ask, name="bundle_ask"),
    path("evidence/summary", evidence.summary, name="evidence_summary"),
    path("evidence/trust.json", evidence.trust, name="trust"),
    path("evidence/bundles/<str:bundle_id>", evidence.progress, name="bundle_progress"),
    path("evidence/bundles/<str:bundle_id>/download", evidence.download, name="bundle_download"),
]
