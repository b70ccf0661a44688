"""Numbered system checks. A misconfiguration is an error with a hint, not a surprise at night."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from approvals.door import authenticate, serve
from approvals.endpoints import api
from audit import roles as audit_roles
from audit import signer, sinks, witnesses
from audit.views.mirror import LEAST_OF_A_TOKEN
from governance import enrolment
from imprimatur.formats import webauthn

logger = logging.getLogger("imprimatur.checks")

ROLES_HINT = "Run `manage.py audit_roles`, and connect as the role that does not own the tables."
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


@register(Tags.security)
def signing(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """People's keys belong to a site that our pages are of; the makers of keys that count as attested can be read."""
    problems: list[CheckMessage] = []
    if not any(webauthn.origin_fits(origin, settings.RP_ID) for origin in settings.ORIGINS):
        problems.append(
            Warning(
                f"No page of ours belongs to the site {settings.RP_ID!r}, so nobody can sign in a browser.",
                hint="IMPRIMATUR_RP_ID is the host of an https origin in IMPRIMATUR_ORIGINS, or a domain above it; "
                "on one machine use http://localhost, not an IP address.",
                id="imprimatur.W002",
            )
        )
    try:
        readable = not settings.ATTESTATION_ROOTS or bool(x509.load_pem_x509_certificates(_roots()))
    except (OSError, ValueError):
        readable = False
    if not readable:
        problems.append(
            Error(
                f"{settings.ATTESTATION_ROOTS} holds no root certificates that can be read.",
                hint="Put the makers' roots there as .pem files, or leave IMPRIMATUR_ATTESTATION_ROOTS empty.",
                id="imprimatur.E004",
            )
        )
    return problems


@register(Tags.security)
def known_witnesses(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The file that names witnesses can be used, and the token of mirrors cannot be guessed."""
    problems: list[CheckMessage] = []
    try:
        witnesses.policy()
    except ImproperlyConfigured as error:
        hint = "It is a C2SP tlog-policy with an address behind each witness's key; see docs/witness.md."
        problems.append(Error(str(error), hint=hint, id="imprimatur.E005"))
    if settings.MIRROR_TOKEN and len(settings.MIRROR_TOKEN) < LEAST_OF_A_TOKEN:
        hint = "Make one with: openssl rand -hex 32"
        said = f"IMPRIMATUR_MIRROR_TOKEN has fewer than {LEAST_OF_A_TOKEN} characters, so no mirror is let in."
        problems.append(Error(said, hint=hint, id="imprimatur.E006"))
    return problems


@register(Tags.security)
def known_sinks(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What the settings say about sinks can be used."""
    try:
        sinks.configured()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="See docs/sinks.md.", id="imprimatur.E007")]
    return []


def _roots() -> bytes:
    return b"\n".join(enrolment.attestation_roots())


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


@register(Tags.database)
def roles(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """On PostgreSQL the application connects as a role that can only add to the log."""
    if not databases:
        return []
    found = audit_roles.problems()
    kind, number = (Error, "E005") if settings.DATABASE_ROLES else (Warning, "W003")
    return [kind(problem, hint=ROLES_HINT, id=f"imprimatur.{number}") for problem in found]


# What must run, in this order: no session where programs call, forms that are not forged, one-time passwords.
IN_ORDER = (
    "django.middleware.security.SecurityMiddleware",
    "server.middleware.SecurityHeaders",
    "server.middleware.NoSessionForAgents",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "server.middleware.OneTimePassword",
)
SIGN_IN = ["allauth.account.auth_backends.AuthenticationBackend"]
# Calls of the agent API without a registered key: one is signed by the key it brings, two give what is public.
WITHOUT_KEY = frozenset({"enroll", "getCheckpoint", "getTile"})
ENFORCEMENT_HINT = "Nothing switches enforcement off; install this version again. See docs/no-bypass.md."


@register(Tags.security)
def enforcement(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The pieces that check agents and people are in place, in their order, on every call."""
    return [Error(problem, hint=ENFORCEMENT_HINT, id="imprimatur.E008") for problem in _not_enforced()]


def _not_enforced() -> Iterator[str]:
    if [name for name in settings.MIDDLEWARE if name in IN_ORDER] != list(IN_ORDER):
        yield "The middleware that checks requests is not complete, or not in its order."
    if settings.AUTHENTICATION_BACKENDS != SIGN_IN:
        yield "People are signed in by something else than allauth."
    if settings.SILENCED_SYSTEM_CHECKS:
        yield f"System checks are silenced: {', '.join(settings.SILENCED_SYSTEM_CHECKS)}."
    if serve.authenticate is not authenticate.authenticate:
        yield "The hot calls of the agent API are checked by something else than the agent door."
    for _, router in api.api._routers:
        for view in router.path_operations.values():
            for operation in view.operations:
                signed = all(isinstance(each, api.SignedRequest) for each in operation.auth_callbacks)
                if operation.operation_id not in WITHOUT_KEY and not (operation.auth_callbacks and signed):
                    yield f"The call {operation.operation_id} of the agent API checks no signature."


def assert_enforced() -> None:
    """The same at every start, for a process that runs no system checks. Raises ImproperlyConfigured."""
    found = list(_not_enforced())
    if found:
        raise ImproperlyConfigured(f"imprimatur.E008: {' '.join(found)} {ENFORCEMENT_HINT}")


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


def assert_keys_apart(*, publishing: bool = False) -> None:
    """Where the publisher is a process of its own, each process holds its own private keys and not the other's.

    Raises ImproperlyConfigured: a thief of the web process must not find there what signs checkpoints.
    """
    if settings.PUBLISHER != audit_roles.APART:
        return
    role = signer.DECISION if publishing else signer.LOG
    held = [name for name in signer.names(role) if (Path(settings.KEYS_DIR) / f"{name}.key").exists()]
    if held:
        raise ImproperlyConfigured(
            f"{', '.join(f'{name}.key' for name in held)} lies in the keys of this process, and belongs to the other. "
            f"Move it there, and leave {held[0]}.pub here; docs/operations.md says how."
        )


def assert_durable(*, publishing: bool = False) -> None:
    """Ask the database itself, at start: commits reach the disk, the log is guarded, changes of authority are noticed.

    Raises LogUnguarded or ImproperlyConfigured: rather no desk than one that forgets or overlooks. A database role
    that could do more to the log than add to it is a warning, or the end where IMPRIMATUR_DATABASE_ROLES says so.
    """
    from audit import authorizer, guards
    from governance import triggers

    guards.check_installed()
    authorizer.check_bound()
    missing = triggers.check_installed()
    if missing:
        raise ImproperlyConfigured(" ".join(missing) + " Run `manage.py migrate`.")
    powerful = audit_roles.problems(publishing=publishing)
    if powerful and settings.DATABASE_ROLES:
        raise ImproperlyConfigured(" ".join(powerful) + f" {ROLES_HINT}")
    for problem in powerful:
        logger.warning("imprimatur.W003: %s %s", problem, ROLES_HINT)
