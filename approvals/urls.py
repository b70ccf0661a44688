"""Addresses of the desk."""

from __future__ import annotations

from django.urls import path

from approvals import views
from approvals.views import simulation, terminal

urlpatterns = [
    path("", views.desk, name="desk"),
    path("desk/queue/", views.queue_fragment, name="queue"),
    path("desk/deny/", views.deny_many, name="deny-many"),
    path("policy/simulate", simulation.simulate, name="policy_simulate"),
    path("grants/", views.grant_list, name="grants"),
    path("grants/<str:grant_id>/revoke/", views.grant_revoke, name="grant-revoke"),
    path("grants/<str:grant_id>/revoke/sign/", views.grant_revoke_sign, name="grant-revoke-sign"),
    path("terminal/card", terminal.card, name="terminal-card"),
    path("terminal/answer", terminal.answer, name="terminal-answer"),
    path("requests/<str:request_id>/", views.request_page, name="request"),
    path("requests/<str:request_id>/claim/", views.claim, name="claim"),
    path("requests/<str:request_id>/release/", views.release, name="release"),
    path("requests/<str:request_id>/grant/", views.grant_sheet, name="grant"),
    path("requests/<str:request_id>/grant/sign/", views.grant_sign, name="grant-sign"),
    path("requests/<str:request_id>/<slug:act>/", views.sheet, name="sheet"),
    path("requests/<str:request_id>/<slug:act>/sign/", views.sign, name="sign"),
]
