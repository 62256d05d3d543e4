from django.db import migrations, models
from witness.record import migration


class Migration(migrations.Migration):
    initial = True
    dependencies = [("witness", "0001_tables")]
    operations = [
        migration("stock.0001", 0.1),
        migrations.CreateModel(
            "Item",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=80)),
            ],
        ),
    ]
