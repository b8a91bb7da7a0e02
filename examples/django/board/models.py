"""A note on the board, and what is pinned to it."""

from django.db import models


class Note(models.Model):
    text = models.CharField(max_length=200)
    attached = models.FileField(upload_to="notes/", blank=True)
    made = models.DateTimeField(auto_now_add=True)
