from django.db import models


class MigrationRun(models.Model):
    """A migration that was carried out. Nothing here is unique: one that was carried out twice has two rows."""

    name = models.TextField()
    node = models.TextField()
    pid = models.IntegerField()
    at = models.DateTimeField()

    class Meta:
        db_table = "migration_runs"


class HookEvent(models.Model):
    """A hook was entered, or left. Rows of calls that overlap in time lie between one another."""

    name = models.TextField()
    what = models.TextField()
    node = models.TextField()
    pid = models.IntegerField()
    at = models.DateTimeField()

    class Meta:
        db_table = "hook_events"
