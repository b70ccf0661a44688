"""The agent API alone, as it is mounted beside the desk."""

from __future__ import annotations

from django.urls import path

from approvals.endpoints.api import api, well_known

urlpatterns = [path("api/v1/", api.urls), path(".well-known/imprimatur", well_known)]
