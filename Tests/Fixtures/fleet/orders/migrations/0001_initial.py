from django.db import migrations, models
from witness.record import migration


class Migration(migrations.Migration):
    initial = True
    dependencies = [("witness", "0001_tables")]
    operations = [
        migration("orders.0001", 0.1),
        migrations.CreateModel(
            "Order",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.IntegerField()),
            ],
        ),
    ]
