from django.db import migrations

WELCOME = "Welcome: a data migration wrote this note."


def write_welcome(apps, schema_editor):
    # Written without a look whether it is there: if two nodes ever ran the migrations, the site would show it twice.
    apps.get_model("notes", "Note").objects.create(text=WELCOME, pinned=True)


def remove_welcome(apps, schema_editor):
    apps.get_model("notes", "Note").objects.filter(text=WELCOME, pinned=True).delete()


class Migration(migrations.Migration):
    dependencies = [("notes", "0002_pinned")]

    operations = [migrations.RunPython(write_welcome, remove_welcome)]
