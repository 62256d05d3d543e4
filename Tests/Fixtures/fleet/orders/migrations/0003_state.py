from django.db import migrations, models
from witness.record import migration


class Migration(migrations.Migration):
    dependencies = [("orders", "0002_fill")]
    operations = [
        migration("orders.0003", 0.1),
        migrations.AddField("Order", "state", models.CharField(default="new", max_length=20)),
    ]
