"""Addresses of the log explorer and of evidence."""

from __future__ import annotations

from django.urls import path

from audit.views import (
    charts,
    check,
    claims,
    compare,
    entry,
    evidence,
    grant_history,
    log,
    mirror,
    retention,
    sample,
    saved,
)

urlpatterns = [
    path("log/", log.index, name="log"),
    path("log/integrity", log.integrity, name="log_integrity"),
    path("log/checkpoint", log.checkpoint, name="log_checkpoint"),
    path("log/tile/<path:path>", mirror.tile, name="log_tile"),
    path("log/export.<str:form>", log.export, name="log_export"),
    path("log/views", saved.save, name="view_save"),
    path("log/views/<int:view>/rename", saved.rename, name="view_rename"),
    path("log/views/<int:view>/delete", saved.delete, name="view_delete"),
    path("log/charts", charts.index, name="log_charts"),
    path("log/sample", sample.index, name="log_sample"),
    path("log/sample.<str:form>", sample.export, name="log_sample_export"),
    path("log/<int:index>", entry.entry, name="entry"),
    path("log/<int:index>/envelope", entry.envelope, name="entry_envelope"),
    path("log/<int:index>/proof", entry.proof, name="entry_proof"),
    path("check/", check.index, name="check"),
    path("grant-history/", grant_history.index, name="grant_history"),
    path("claims/", claims.index, name="claims"),
    path("controls/", claims.controls, name="controls"),
    path("controls/<str:control_id>/", claims.control, name="control"),
    path("evidence/", evidence.index, name="evidence"),
    path("evidence/ask", evidence.ask, name="bundle_ask"),
    path("evidence/summary", evidence.summary, name="evidence_summary"),
    path("evidence/compare", compare.index, name="evidence_compare"),
    path("evidence/compare/export", compare.export, name="evidence_compare_export"),
    path("evidence/trust.json", evidence.trust, name="trust"),
    path("evidence/bundles/<str:bundle_id>", evidence.progress, name="bundle_progress"),
    path("evidence/bundles/<str:bundle_id>/download", evidence.download, name="bundle_download"),
    path("evidence/bundles/<str:bundle_id>/proof", evidence.proof, name="bundle_proof"),
    path("evidence/bundles/<str:bundle_id>/entry", evidence.issued, name="bundle_entry"),
    path("retention/", retention.index, name="retention"),
    path("retention/holds", retention.place, name="hold_place"),
    path("retention/holds/<str:hold_id>/lift", retention.lift, name="hold_lift"),
    path("retention/erase", retention.erase, name="retention_erase"),
]
