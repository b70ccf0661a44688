"""On PostgreSQL: who owns the log's tables, and what the role the application connects as may do to them.

The owner (NOLOGIN) holds every table, the schema and the database, and runs migrations. The application's role adds
entries and checkpoints and reads them; it can neither change, delete, truncate nor reshape them, nor touch their
triggers, nor shadow a table with one of its own. This stops the application's role and whoever steals its password.
It does not stop the owner or a superuser: against them there are checkpoints held by others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import connection, transaction

from audit.guards import CHECKPOINT, COSIGNATURE, ENTRY, FUNCTIONS, HEAD

# What the application may do to a table of the log; every other table it reads and writes.
_ADDED_TO = (ENTRY, CHECKPOINT, COSIGNATURE)
_OF_THE_LOG = {**dict.fromkeys(_ADDED_TO, "SELECT, INSERT"), HEAD: "SELECT, INSERT, UPDATE"}
_READ_ONLY = {"django_migrations": "SELECT"}
_ELSEWHERE = "SELECT, INSERT, UPDATE, DELETE"
_ON_SEQUENCES = "USAGE, SELECT"

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


def set_up(owner: str, app: str) -> None:
    """Make both roles if they are missing, and give each what is its own. Running it again changes nothing more.

    Needs a connection that may create roles and give tables away (a superuser). Run it after every `migrate`.
    Raises RolesRefused on another database, for one role in both places, and when the connection is not allowed to.
    """
    if connection.vendor != "postgresql":
        raise RolesRefused("roles are PostgreSQL's: on SQLite every connection of the program refuses by itself")
    if owner == app:
        raise RolesRefused("owner and application must be two roles: who owns a table can lift its guards")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT session_user, rolsuper FROM pg_roles WHERE rolname = session_user")
        user, superuser = cursor.fetchone()
        if user == app:
            raise RolesRefused(f"connect as a superuser, not as {app}, which is about to lose its rights")
        if not superuser:
            raise RolesRefused(f"{user} is not a superuser: only one can give tables away and take rights back")
        for statement in _statements(cursor, owner, app):
            cursor.execute(statement)


def problems() -> list[str]:
    """Say what the role that is connected could do to the log beyond adding to it. Empty when it is as it should be.

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
    return found


def _statements(cursor: Any, owner: str, app: str) -> Iterator[str]:
    name = connection.ops.quote_name
    for role, attributes in (
        (owner, "NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"),
        (app, "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION"),
    ):
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
        yield f"{'ALTER' if cursor.fetchone() else 'CREATE'} ROLE {name(role)} {attributes}"
    # A role is whatever it is a member of, so the application's is a member of nothing.
    cursor.execute(
        "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid "
        "JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = %s ORDER BY 1",
        [app],
    )
    for (group,) in cursor.fetchall():
        yield f"REVOKE {name(group)} FROM {name(app)}"

    cursor.execute("SELECT current_database(), current_schema()")
    database, schema = (name(part) for part in cursor.fetchone())
    yield f"ALTER DATABASE {database} OWNER TO {name(owner)}"
    yield f"ALTER SCHEMA {schema} OWNER TO {name(owner)}"
    # Without a table of its own in front of ours, a trigger cannot be made to look at the wrong one.
    yield f"REVOKE CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC, {name(app)}"
    yield f"GRANT CONNECT ON DATABASE {database} TO {name(app)}"
    yield f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {name(app)}"
    yield f"GRANT USAGE ON SCHEMA {schema} TO {name(app)}"

    cursor.execute(
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
        "AND relkind IN ('r', 'p', 'S') ORDER BY relkind DESC, relname"
    )
    for relation, kind in cursor.fetchall():
        if _letter(kind) == "S":
            continue  # follows its table, and gets its rights below
        yield f"ALTER TABLE {schema}.{name(relation)} OWNER TO {name(owner)}"
        rights = {**_OF_THE_LOG, **_READ_ONLY}.get(relation, _ELSEWHERE)
        yield f"REVOKE ALL ON {schema}.{name(relation)} FROM PUBLIC, {name(app)}"
        yield f"GRANT {rights} ON {schema}.{name(relation)} TO {name(app)}"
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
