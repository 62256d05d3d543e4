from django.db import migrations
from witness.record import migration


def fill(apps, schema_editor):
    # Without a look whether they are there: a second run would show.
    order = apps.get_model("orders", "Order")
    order.objects.using(schema_editor.connection.alias).bulk_create(order(number=number) for number in range(100))


class Migration(migrations.Migration):
    dependencies = [("orders", "0001_initial")]
    operations = [migration("orders.0002", 0.3, on_server=True), migrations.RunPython(fill, migrations.RunPython.noop)]
