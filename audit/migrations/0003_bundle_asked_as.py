"""Keep under which id the log names the person who asked for a bundle."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]

    operations = [
        migrations.AddField(
            model_name="bundle",
            name="asked_as",
            field=models.CharField(default="", max_length=120),
            preserve_default=False,
        ),
    ]
