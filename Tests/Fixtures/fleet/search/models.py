from django.db import models


class Entry(models.Model):
    text = models.CharField(max_length=200)

    class Meta:
        indexes = [models.Index(fields=["text"], name="search_entry_text")]
