"""Addresses of the desk."""

from __future__ import annotations

from django.urls import path

from approvals import views

urlpatterns = [
    path("", views.desk, name="desk"),
    path("desk/queue/", views.queue_fragment, name="queue"),
    path("requests/<str:request_id>/", views.request_page, name="request"),
    path("requests/<str:request_id>/<slug:act>/", views.sheet, name="sheet"),
]
