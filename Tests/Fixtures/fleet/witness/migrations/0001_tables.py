from django.db import migrations, models
from witness.record import migration


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "MigrationRun",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField()),
                ("node", models.TextField()),
                ("pid", models.IntegerField()),
                ("at", models.DateTimeField()),
            ],
            {"db_table": "migration_runs"},
        ),
        migrations.CreateModel(
            "HookEvent",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField()),
                ("what", models.TextField()),
                ("node", models.TextField()),
                ("pid", models.IntegerField()),
                ("at", models.DateTimeField()),
            ],
            {"db_table": "hook_events"},
        ),
        migration("witness.0001"),
    ]
