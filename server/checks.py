"""Numbered system checks. A misconfiguration is an error with a hint, not a surprise at night."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.migrations.loader import MigrationLoader

ROOMS = frozenset({"server", "approvals", "governance", "audit"})


@register(Tags.security)
def origins(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Signatures and sockets are checked against the configured origins, so each must be one."""
    problems: list[CheckMessage] = []
    for origin in settings.ORIGINS:
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query:
            problems.append(
                Error(
                    f"{origin!r} is not an origin.",
                    hint="IMPRIMATUR_ORIGINS takes values such as https://desk.example.org, separated by commas.",
                    id="imprimatur.E001",
                )
            )
        elif parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
            problems.append(
                Warning(
                    f"{origin} is not encrypted.",
                    hint="Put a proxy with TLS in front; passkeys and secure cookies need it.",
                    id="imprimatur.W001",
                )
            )
    if "*" in settings.ALLOWED_HOSTS or "" in settings.ALLOWED_HOSTS:
        problems.append(
            Error(
                "A wildcard host would let any page open a socket to the desk.",
                hint="Name the hosts in IMPRIMATUR_ORIGINS.",
                id="imprimatur.E002",
            )
        )
    return problems


@register(Tags.database)
def durability(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """SQLite must commit durably and take its lock at once."""
    options = settings.DATABASES["default"].get("OPTIONS", {})
    if connection.vendor != "sqlite":
        return []
    if options.get("transaction_mode") == "IMMEDIATE" and "synchronous=FULL" in options.get("init_command", ""):
        return []
    return [
        Error(
            "SQLite is not set to commit durably.",
            hint="Keep transaction_mode IMMEDIATE and synchronous=FULL: what was acknowledged must survive power loss.",
            id="imprimatur.E003",
        )
    ]


def assert_known_schema(**_: Any) -> None:
    """Refuse a database that a newer version has been at: what it keeps there we might not respect.

    Raises ImproperlyConfigured. Runs before every migration and at every start of the web process.
    """
    loader = MigrationLoader(connection)
    here = loader.disk_migrations
    unknown = sorted(
        f"{app}.{name}" for app, name in loader.applied_migrations if app in ROOMS and (app, name) not in here
    )
    if unknown:
        raise ImproperlyConfigured(
            f"This database was written by a newer version of Imprimatur ({', '.join(unknown)} is unknown here). "
            "Install that version again, or restore a backup from before it."
        )


def assert_durable() -> None:
    """Ask the database itself, at start: commits reach the disk, the log is guarded, changes of authority are noticed.

    Raises LogUnguarded or ImproperlyConfigured: rather no desk than one that forgets or overlooks.
    """
    from audit import guards
    from governance import triggers

    guards.check_installed()
    missing = triggers.check_installed()
    if missing:
        raise ImproperlyConfigured(" ".join(missing) + " Run `manage.py migrate`.")
