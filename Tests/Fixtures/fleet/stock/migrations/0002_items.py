from django.db import migrations
from witness.record import migration


def add_items(apps, schema_editor):
    apps.get_model("stock", "Item").objects.using(schema_editor.connection.alias).create(name="first")


class Migration(migrations.Migration):
    dependencies = [("stock", "0001_initial")]
    operations = [migration("stock.0002", 0.2), migrations.RunPython(add_items, migrations.RunPython.noop)]
