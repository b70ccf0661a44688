"""On PostgreSQL: who owns the log's tables, and what the role the application connects as may do to them.

The owner (NOLOGIN) holds every table, the schema and the database, and runs migrations. The application's role adds
entries and checkpoints and reads them; it can neither change, delete, truncate nor reshape them, nor touch their
triggers, nor shadow a table with one of its own. This stops the application's role and whoever steals its password.
It does not stop the owner or a superuser: against them there are checkpoints held by others.

Where the publisher is a process of its own (``manage.py publish``), it has a role of its own: that one alone adds
checkpoints and cosignatures and adds no entry; the application's adds entries and no checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from audit.guards import CHECKPOINT, COSIGNATURE, ENTRY, FUNCTIONS, HEAD

HERE, APART = "here", "apart"
"""Where the publisher is: a thread of the web process, or a process of its own."""

# What the application may do to a table of the log; every other table it reads and writes.
_ADDED_TO = (ENTRY, CHECKPOINT, COSIGNATURE)
_OF_THE_LOG = {**dict.fromkeys(_ADDED_TO, "SELECT, INSERT"), HEAD: "SELECT, INSERT, UPDATE"}
_READ_ONLY = {"django_migrations": "SELECT"}
_ELSEWHERE = "SELECT, INSERT, UPDATE, DELETE"
_ON_SEQUENCES = "USAGE, SELECT"

# With a publisher of its own: what it may do, where everything else is closed to it, and what the application keeps.
_OF_PUBLISHER = {
    ENTRY: "SELECT",
    CHECKPOINT: "SELECT, INSERT",
    COSIGNATURE: "SELECT, INSERT",
    HEAD: "SELECT, UPDATE (state, frozen_reason)",
    "audit_logkey": "SELECT",
    "audit_witnessstate": "SELECT, INSERT, UPDATE",
    "django_migrations": "SELECT",
}
_BESIDE_PUBLISHER = {CHECKPOINT: "SELECT", COSIGNATURE: "SELECT", "audit_witnessstate": "SELECT"}

# Whatever holds the log and belongs to the role that logged in, or to one that it is a member of.
_OWNERS = """
    SELECT 'the table ' || relname FROM pg_class
        WHERE relname = ANY(%s) AND relnamespace = current_schema()::regnamespace
        AND pg_has_role(session_user, relowner, 'MEMBER')
    UNION ALL SELECT 'the schema' FROM pg_namespace
        WHERE nspname = current_schema() AND pg_has_role(session_user, nspowner, 'MEMBER')
    UNION ALL SELECT 'the database' FROM pg_database
        WHERE datname = current_database() AND pg_has_role(session_user, datdba, 'MEMBER')"""


class RolesRefused(Exception):  # named for what happened
    """The roles cannot be set up like this. Nothing was changed."""


def set_up(owner: str, app: str, publisher: str = "") -> None:
    """Make the roles if they are missing, and give each what is its own. Running it again changes nothing more.

    Needs a connection that may create roles and give tables away (a superuser). Run it after every `migrate`.
    Raises RolesRefused on another database, for one role in both places, and when the connection is not allowed to.
    """
    if connection.vendor != "postgresql":
        raise RolesRefused("roles are PostgreSQL's: on SQLite every connection of the program refuses by itself")
    if owner == app:
        raise RolesRefused("owner and application must be two roles: who owns a table can lift its guards")
    if publisher in {owner, app}:
        raise RolesRefused("the publisher is a role of its own, or the thread of the application: leave it out then")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT session_user, rolsuper FROM pg_roles WHERE rolname = session_user")
        user, superuser = cursor.fetchone()
        if user in {app, publisher}:
            raise RolesRefused(f"connect as a superuser, not as {user}, which is about to lose its rights")
        if not superuser:
            raise RolesRefused(f"{user} is not a superuser: only one can give tables away and take rights back")
        for statement in _statements(cursor, owner, app, publisher):
            cursor.execute(statement)


def problems(*, publishing: bool = False) -> list[str]:
    """Say what the role that is connected could do to the log beyond adding to it. Empty when it is as it should be.

    With a publisher apart, only the publisher's role adds checkpoints, and it adds no entry: ``publishing`` says that
    this process is the publisher.

    Looked at is the role that logged in, since it can always go back to what it is (RESET ROLE).
    """
    if connection.vendor != "postgresql":
        return []
    found: list[str] = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper, rolcreaterole, session_user FROM pg_roles WHERE rolname = session_user")
        superuser, creates, role = cursor.fetchone()
        if superuser:
            return [f"The database role {role} is a superuser and could lift the log's guards."]
        if creates:
            found.append(f"The database role {role} may create roles, and so become others.")
        cursor.execute(_OWNERS, [list(_OF_THE_LOG)])
        found += [f"The database role {role} owns {what} and could lift the log's guards." for (what,) in cursor]
        for table in _ADDED_TO:
            cursor.execute(
                "SELECT has_table_privilege(session_user, %s, 'UPDATE, DELETE, TRUNCATE, TRIGGER') "
                "OR has_any_column_privilege(session_user, %s, 'UPDATE')",
                [table, table],
            )
            if cursor.fetchone()[0]:
                found.append(f"The database role {role} may do more to {table} than read it and add to it.")
        if settings.PUBLISHER == APART:
            for table in (ENTRY,) if publishing else (CHECKPOINT, COSIGNATURE):
                cursor.execute("SELECT has_any_column_privilege(session_user, %s, 'INSERT')", [table])
                if cursor.fetchone()[0]:
                    found.append(f"The database role {role} may add to {table}, which is for the other process.")
    return found


def _statements(cursor: Any, owner: str, app: str, publisher: str) -> Iterator[str]:
    name = connection.ops.quote_name
    login = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION"
    logins = [app, publisher] if publisher else [app]
    for role, attributes in (
        (owner, "NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"),
        *((role, login) for role in logins),
    ):
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
        yield f"{'ALTER' if cursor.fetchone() else 'CREATE'} ROLE {name(role)} {attributes}"
    # A role is whatever it is a member of, so those that log in are members of nothing.
    cursor.execute(
        "SELECT g.rolname, r.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid "
        "JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = ANY(%s) ORDER BY 1, 2",
        [logins],
    )
    for group, role in cursor.fetchall():
        yield f"REVOKE {name(group)} FROM {name(role)}"

    cursor.execute("SELECT current_database(), current_schema()")
    database, schema = (name(part) for part in cursor.fetchone())
    yield f"ALTER DATABASE {database} OWNER TO {name(owner)}"
    yield f"ALTER SCHEMA {schema} OWNER TO {name(owner)}"
    # Without a table of its own in front of ours, a trigger cannot be made to look at the wrong one.
    everybody = ", ".join(name(role) for role in logins)
    yield f"REVOKE CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC, {everybody}"
    yield f"GRANT CONNECT ON DATABASE {database} TO {everybody}"
    yield f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {everybody}"
    yield f"GRANT USAGE ON SCHEMA {schema} TO {everybody}"

    cursor.execute(
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
        "AND relkind IN ('r', 'p', 'S') ORDER BY relkind DESC, relname"
    )
    for relation, kind in cursor.fetchall():
        if _letter(kind) == "S":
            continue  # follows its table, and gets its rights below
        yield f"ALTER TABLE {schema}.{name(relation)} OWNER TO {name(owner)}"
        special = {**_OF_THE_LOG, **_READ_ONLY, **(_BESIDE_PUBLISHER if publisher else {})}
        rights = special.get(relation, _ELSEWHERE)
        yield f"REVOKE ALL ON {schema}.{name(relation)} FROM PUBLIC, {everybody}"
        yield f"GRANT {rights} ON {schema}.{name(relation)} TO {name(app)}"
        if publisher and relation in _OF_PUBLISHER:
            yield f"GRANT {_OF_PUBLISHER[relation]} ON {schema}.{name(relation)} TO {name(publisher)}"
    yield f"GRANT {_ON_SEQUENCES} ON ALL SEQUENCES IN SCHEMA {schema} TO {name(app)}"
    # What a later migration adds is at once usable; whether it belongs to the log only this command knows.
    defaults = f"ALTER DEFAULT PRIVILEGES FOR ROLE {name(owner)} IN SCHEMA {schema} GRANT"
    yield f"{defaults} {_ELSEWHERE} ON TABLES TO {name(app)}"
    yield f"{defaults} {_ON_SEQUENCES} ON SEQUENCES TO {name(app)}"

    cursor.execute(
        "SELECT p.oid::regprocedure::text, p.proname FROM pg_proc p "
        "WHERE p.pronamespace = current_schema()::regnamespace AND p.prokind = 'f' "
        "AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') ORDER BY 1"
    )
    for signature, function in cursor.fetchall():
        yield f"ALTER FUNCTION {signature} OWNER TO {name(owner)}"
        if function in FUNCTIONS:
            yield f"ALTER FUNCTION {signature} SET search_path = {schema}, pg_temp"


def _letter(kind: str | bytes) -> str:
    return kind.decode() if isinstance(kind, bytes) else kind
