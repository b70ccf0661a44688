"""Keep what witnesses signed append-only as well."""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from audit import guards

TABLES = (guards.COSIGNATURE,)


def install(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    remove(apps, schema_editor)
    for statement in guards.install_statements(schema_editor.connection.vendor, TABLES):
        schema_editor.execute(statement, params=None)


def remove(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in guards.remove_statements(schema_editor.connection.vendor, TABLES):
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("audit", "0009_decisions_over_time")]

    operations = [migrations.RunPython(install, remove)]
