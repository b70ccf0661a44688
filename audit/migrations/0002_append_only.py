"""Keep the log append-only inside the database itself."""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from audit import guards


def install(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in guards.remove_statements(schema_editor.connection.vendor, guards.FIRST):
        schema_editor.execute(statement)
    for statement in guards.install_statements(schema_editor.connection.vendor, guards.FIRST):
        schema_editor.execute(statement, params=None)


def remove(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in guards.remove_statements(schema_editor.connection.vendor, guards.FIRST):
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunPython(install, remove)]
