"""Database triggers that raise the epoch when authority changes, whichever program changed it.

Spend columns and columns of mere bookkeeping are left out: they change all the time and decide nothing by themselves.
"""

from __future__ import annotations

from django.db import connection

# table: the columns whose update counts (None: any)
WATCHED: dict[str, tuple[str, ...] | None] = {
    "governance_agent": ("name", "owner_id", "state", "enforcement"),
    "governance_agentkey": None,
    "governance_delegation": (
        "document",
        "signature",
        "issuer_person_id",
        "issuer_agent_id",
        "subject_id",
        "parent_id",
        "depth",
        "not_before",
        "not_after",
        "unit",
        "limit",
        "issued_at",
        "revoked_at",
    ),
    "governance_policy": None,
    "governance_tool": None,
    "governance_pause": None,
    "governance_person": ("name", "user_id"),
    "governance_personkey": None,
    "auth_user_groups": None,
}
FUNCTION = "governance_raise_epoch"
_BUMP = "UPDATE audit_loghead SET epoch = epoch + 1"


def install_statements(vendor: str) -> list[str]:
    """The SQL that installs the triggers. Raises NotImplementedError for another database."""
    if vendor == "sqlite":
        return [
            f'CREATE TRIGGER {name} AFTER {event} ON "{table}" {condition} BEGIN {_BUMP}; END'
            for name, table, event, condition in _triggers("OLD.is_active IS NOT NEW.is_active")
        ]
    if vendor == "postgresql":
        statements = [
            f"CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$ "
            f"BEGIN {_BUMP}; RETURN NULL; END $$"
        ]
        for name, table, event, condition in _triggers("(OLD.is_active IS DISTINCT FROM NEW.is_active)"):
            each = "ROW" if condition else "STATEMENT"
            statements.append(
                f'CREATE TRIGGER {name} AFTER {event} ON "{table}" FOR EACH {each} {condition} '
                f"EXECUTE FUNCTION {FUNCTION}()"
            )
            statements.append(f'ALTER TABLE "{table}" ENABLE ALWAYS TRIGGER {name}')
        return statements
    raise NotImplementedError(f"authority cannot be watched on {vendor}: use SQLite or PostgreSQL")


def remove_statements(vendor: str) -> list[str]:
    """The SQL that removes them again."""
    if vendor == "sqlite":
        return [f"DROP TRIGGER IF EXISTS {name}" for name, _, _, _ in _triggers("")]
    return [f'DROP TRIGGER IF EXISTS {name} ON "{table}"' for name, table, _, _ in _triggers("")] + [
        f"DROP FUNCTION IF EXISTS {FUNCTION}()"
    ]


def check_installed() -> list[str]:
    """What is missing: an empty list means that all is well. For the checks at start."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        else:
            cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'A'")
        found = {row[0] for row in cursor.fetchall()}
    return [
        f"The trigger {name} on {table} is missing or switched off: changes of authority could be overlooked."
        for name, table, _, _ in _triggers("")
        if name not in found
    ]


def _triggers(changed: str) -> list[tuple[str, str, str, str]]:
    found = []
    for table, columns in WATCHED.items():
        update = "UPDATE OF " + ", ".join(f'"{column}"' for column in columns) if columns else "UPDATE"
        for word, event in (("insert", "INSERT"), ("delete", "DELETE"), ("update", update)):
            found.append((f"epoch_{table}_{word}", table, event, ""))
    # A login writes its whole row now and then; only a change of is_active says something about authority.
    found.append(("epoch_auth_user_update", "auth_user", 'UPDATE OF "is_active"', f"WHEN {changed}"))
    return found
