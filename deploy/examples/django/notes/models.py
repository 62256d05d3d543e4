from django.db import models


class Note(models.Model):
    """A line that somebody wrote down."""

    text = models.CharField(max_length=200)
    pinned = models.BooleanField(default=False)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pinned", "-created", "-id"]

    def __str__(self):
        return self.text
