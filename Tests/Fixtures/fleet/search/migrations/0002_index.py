from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from witness.record import migration


class Migration(migrations.Migration):
    """CREATE INDEX CONCURRENTLY: in no transaction, and it waits until every older snapshot in the database is gone."""

    atomic = False
    dependencies = [("search", "0001_initial")]
    operations = [
        AddIndexConcurrently("Entry", models.Index(fields=["text"], name="search_entry_text")),
        migration("search.0002"),
    ]
