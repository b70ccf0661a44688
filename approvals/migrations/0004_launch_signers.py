from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("approvals", "0003_people_sign")]

    operations = [
        migrations.AddField(
            model_name="actionrequest",
            name="launch_signers",
            field=models.JSONField(default=list),
        ),
    ]
