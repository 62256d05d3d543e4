from django.db import migrations, models
from witness.record import migration


class Migration(migrations.Migration):
    initial = True
    dependencies = [("witness", "0001_tables")]
    operations = [
        migration("search.0001"),
        migrations.CreateModel(
            "Entry",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.CharField(max_length=200)),
            ],
        ),
    ]
