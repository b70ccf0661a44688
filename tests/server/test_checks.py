"""Each numbered check fires on what it is for, and on nothing else."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from audit import authorizer, guards
from audit.errors import LogUnguarded
from server import checks


def ids() -> set[str]:
    return {message.id for message in run_checks() if message.id and message.id.startswith("imprimatur.")}


def test_what_we_ship_has_nothing_to_complain_about(settings) -> None:
    settings.ORIGINS = ["https://desk.example.org", "http://localhost:8000", "http://127.0.0.1:8000"]
    settings.ALLOWED_HOSTS = ["desk.example.org", "localhost"]
    assert ids() == set()


@pytest.mark.parametrize(
    "origin", ["desk.example.org", "https://", "ftp://desk", "https://desk/path", "https://desk?a=b", ""]
)
def test_e001_an_origin_is_scheme_and_host(settings, origin: str) -> None:
    settings.ORIGINS = ["https://good.example.org", origin]
    assert "imprimatur.E001" in ids()


def test_w001_plain_http_beyond_this_machine_is_worth_a_warning(settings) -> None:
    settings.ORIGINS = ["http://desk.example.org", "http://localhost:8000"]
    assert ids() == {"imprimatur.W001"}


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8000", "https://example.org", "http://desk.example.org"])
def test_w002_somebody_must_be_able_to_sign_in_a_browser(settings, origin: str) -> None:
    settings.ORIGINS, settings.RP_ID = [origin], "desk.example.org"
    assert "imprimatur.W002" in ids()
    settings.ORIGINS = ["https://desk.example.org"]
    assert ids() == set()


def test_e004_roots_of_attestation_can_be_read(settings, tmp_path) -> None:
    settings.ORIGINS = ["http://localhost:8000"]
    settings.ATTESTATION_ROOTS = str(tmp_path)
    assert ids() == {"imprimatur.E004"}
    (tmp_path / "maker.pem").write_text("no certificate")
    assert ids() == {"imprimatur.E004"}
    settings.ATTESTATION_ROOTS = str(tmp_path / "missing")
    assert ids() == {"imprimatur.E004"}


@pytest.mark.parametrize("host", ["*", ""])
def test_e002_no_host_is_every_host(settings, host: str) -> None:
    settings.ALLOWED_HOSTS = ["desk.example.org", host]
    assert "imprimatur.E002" in ids()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"transaction_mode": "DEFERRED", "init_command": "PRAGMA synchronous=FULL;"},
        {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA synchronous=NORMAL;"},
    ],
)
def test_e003_sqlite_commits_durably(settings, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "OPTIONS", options)
    assert "imprimatur.E003" in {message.id for message in checks.durability(None)}


def test_the_database_itself_is_asked_whether_it_forgets(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings can be right and the connection not: what counts is what the database says of itself."""
    checks.assert_durable()

    def normal(execute, sql, params, many, context):  # type: ignore[no-untyped-def]  # Django's wrapper protocol
        return execute("SELECT 1" if sql == "PRAGMA synchronous" else sql, params, many, context)

    # One in memory forgets everything anyway; this stands for one on a disk.
    monkeypatch.setattr(connection, "is_in_memory_db", lambda: False)
    checks.assert_durable()
    with connection.execute_wrapper(normal), pytest.raises(LogUnguarded, match="synchronous"):
        checks.assert_durable()


def test_a_log_without_its_guards_is_not_served(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with authorizer.opened(), connection.cursor() as cursor:
        cursor.execute("select name from sqlite_master where type = 'trigger' and tbl_name = 'audit_entry' limit 1")
        [name] = cursor.fetchone()
        cursor.execute(f'drop trigger "{name}"')
    with pytest.raises(LogUnguarded):
        guards.check_installed()
    with pytest.raises(LogUnguarded):
        checks.assert_durable()


def test_a_database_of_a_newer_version_is_refused_before_anything_is_migrated(db: None) -> None:
    checks.assert_known_schema()
    MigrationRecorder(connection).record_applied("governance", "9999_later")
    with pytest.raises(ImproperlyConfigured, match=r"newer version.*governance\.9999_later"):
        checks.assert_known_schema()
    with pytest.raises(CommandError, match="newer version"):
        call_command("migrate", verbosity=0)
    MigrationRecorder(connection).record_unapplied("governance", "9999_later")
    MigrationRecorder(connection).record_applied("somebody_elses_app", "0001_initial")
    checks.assert_known_schema()
