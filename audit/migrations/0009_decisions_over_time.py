"""An index that holds all that a chart counts. It only adds an index: no table of the log is made anew."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0005_auditors_desk")]

    operations = [
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(fields=["kind", "time", "verdict", "risk", "agent"], name="decisions_over_time"),
        ),
    ]
