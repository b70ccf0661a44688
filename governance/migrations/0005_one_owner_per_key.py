"""A key belongs to one person, in whatever form it comes; and the triggers are put back."""

from __future__ import annotations

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from governance import triggers


def install_triggers(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in triggers.install_statements(schema_editor.connection.vendor):
        schema_editor.execute(statement, params=None)


def remove_triggers(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in triggers.remove_statements(schema_editor.connection.vendor):
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("governance", "0004_people_sign")]

    operations = [
        migrations.AlterField("personkey", "thumbprint", models.CharField(max_length=43, unique=True)),
        migrations.RunPython(install_triggers, remove_triggers),
    ]
