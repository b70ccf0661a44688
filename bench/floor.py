"""The floor: a Django view that inserts one row by raw SQL, on the same server and database settings as the product."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "server.settings")

import django

django.setup(set_prefix=False)

import json

from django.conf import settings
from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from server.django_pool import PooledDjango


def insert(request: HttpRequest) -> JsonResponse:
    """Parse a body, insert one row, commit, answer."""
    document = json.loads(request.body)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO bench_floor (body) VALUES (%s)", [json.dumps(document)])
    return JsonResponse({"ok": True})


def prepare() -> None:
    """Make the table."""
    kind = "INTEGER PRIMARY KEY" if connection.vendor == "sqlite" else "BIGSERIAL PRIMARY KEY"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE IF NOT EXISTS bench_floor (id {kind}, body TEXT NOT NULL)")
    connection.close()


urlpatterns = [path("insert", insert)]
settings.ROOT_URLCONF = "bench.floor"
settings.MIDDLEWARE = []
prepare()
application = PooledDjango()
