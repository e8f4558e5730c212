from django.db import migrations

import chatsessions.models


class Migration(migrations.Migration):
    dependencies = [
        ("chatsessions", "0003_worker_clock"),
    ]

    operations = [
        migrations.AddField(
            model_name="chatsession",
            name="applied",
            field=chatsessions.models.JSONTextField(blank=True, default=list),
        ),
    ]
