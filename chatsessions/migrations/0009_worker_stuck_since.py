from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('chatsessions', '0008_log_keys_and_bytes'),
    ]

    operations = [
        migrations.AddField(
            model_name='worker',
            name='stuck_since',
            field=models.DateTimeField(blank=True, null=True, verbose_name='stores nothing since'),
        ),
    ]
