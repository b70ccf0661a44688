"""Signing keys of people, ceremonies, changes that take two people, absences.

SQLite makes some tables anew, and their triggers are lost with the old ones: they are put back at the end of 0005.
"""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from governance import triggers
from imprimatur.formats import keys, sshsig


def remove_triggers(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in triggers.remove_statements(schema_editor.connection.vendor):
        schema_editor.execute(statement)


def fill_thumbprints(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for key in apps.get_model("governance", "PersonKey").objects.all():
        key.thumbprint = keys.thumbprint(sshsig.parse_public_key(key.line).public_key)
        key.save(update_fields=["thumbprint"])


class Migration(migrations.Migration):
    dependencies = [
        ("governance", "0003_reservation_key"),
    ]

    operations = [
        migrations.RunPython(remove_triggers, migrations.RunPython.noop),
        migrations.AlterModelOptions(
            name="personkey",
            options={"ordering": ("added_at",)},
        ),
        migrations.AddField(
            model_name="person",
            name="introducers",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="personkey",
            name="aaguid",
            field=models.CharField(blank=True, default="", max_length=36),
        ),
        migrations.AddField(
            model_name="personkey",
            name="attested",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="personkey",
            name="credential",
            field=models.CharField(max_length=1400, null=True, unique=True),
        ),
        migrations.AddField(
            model_name="personkey",
            name="device_bound",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="personkey",
            name="enrolled_index",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="personkey",
            name="first",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="personkey",
            name="kind",
            field=models.CharField(default="ssh", max_length=8),
        ),
        migrations.AddField(
            model_name="personkey",
            name="label",
            field=models.CharField(blank=True, default="", max_length=80),
        ),
        migrations.AddField(
            model_name="personkey",
            name="last_used_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="personkey",
            name="public_key",
            field=models.BinaryField(default=b""),
        ),
        migrations.AddField(
            model_name="personkey",
            name="rp_id",
            field=models.CharField(blank=True, default="", max_length=253),
        ),
        migrations.AddField(
            model_name="personkey",
            name="sign_count",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="personkey",
            name="statement",
            field=models.BinaryField(default=b""),
        ),
        migrations.AddField(
            model_name="personkey",
            name="stolen",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="personkey",
            name="thumbprint",
            field=models.CharField(default="", max_length=43),
        ),
        migrations.AddField(
            model_name="personkey",
            name="transports",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="personkey",
            name="vouched_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="personkey",
            name="vouched_by",
            field=models.CharField(blank=True, default="", max_length=40),
        ),
        migrations.AlterField(
            model_name="personkey",
            name="fingerprint",
            field=models.CharField(max_length=71, primary_key=True, serialize=False),
        ),
        migrations.AlterField(
            model_name="personkey",
            name="line",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.CreateModel(
            name="Away",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "delegate",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="covers",
                        to="governance.person",
                    ),
                ),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="absences", to="governance.person"
                    ),
                ),
            ],
            options={
                "ordering": ("-starts_at",),
            },
        ),
        migrations.CreateModel(
            name="Ceremony",
            fields=[
                ("id", models.CharField(max_length=30, primary_key=True, serialize=False)),
                ("typ", models.CharField(max_length=60)),
                ("statement", models.BinaryField()),
                ("kept", models.JSONField(default=dict)),
                ("opened_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(db_index=True)),
                ("used_at", models.DateTimeField(null=True)),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="ceremonies", to="governance.person"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Change",
            fields=[
                ("id", models.CharField(max_length=30, primary_key=True, serialize=False)),
                ("act", models.CharField(max_length=40)),
                ("subject", models.CharField(max_length=128)),
                ("document", models.JSONField()),
                ("toml", models.TextField(blank=True, default="")),
                ("kept", models.JSONField(default=dict)),
                ("hold", models.BooleanField(default=False)),
                ("state", models.CharField(db_index=True, default="proposed", max_length=10)),
                ("proposed_at", models.DateTimeField()),
                ("proposed_index", models.BigIntegerField()),
                ("seconded_at", models.DateTimeField(null=True)),
                ("seconded_index", models.BigIntegerField(null=True)),
                ("expires_at", models.DateTimeField(db_index=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "proposed_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="proposed_changes",
                        to="governance.person",
                    ),
                ),
                (
                    "seconded_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="seconded_changes",
                        to="governance.person",
                    ),
                ),
            ],
            options={
                "ordering": ("-proposed_at",),
            },
        ),
        migrations.RunPython(fill_thumbprints, migrations.RunPython.noop),
    ]
