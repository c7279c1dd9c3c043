"""What is known: sources, the passages they are searched by, and the passages' vectors."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from accounts.models import Group

if TYPE_CHECKING:
    from accounts.models import User


class SourceQuerySet(models.QuerySet["Source"]):
    def visible_to(self, user: User) -> Self:
        """Public sources and those of the user's groups; the only door for reading."""
        return self.filter(Q(is_public=True) | Q(groups__in=user.groups.all())).distinct()


class Source(models.Model):
    """A Markdown text that answers may rest on. Public, or read by the members of its groups."""

    class State(models.TextChoices):
        CREATION = "creation", "saved, found by its words"
        PROCESSING = "processing", "vectors are being made"
        VECTORIZED = "vectorized", "found by its words and its meaning"
        ERROR = "error", "no vectors, see the reason"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = models.TextField()
    groups = models.ManyToManyField(Group, related_name="sources", blank=True)
    is_public = models.BooleanField(default=False)
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="created_sources"
    )
    state = models.CharField(max_length=12, choices=State.choices, default=State.CREATION)
    state_reason = models.TextField(blank=True, default="")
    language = models.CharField(max_length=8, default="en", editable=False, help_text="As found in the text.")
    passages_total = models.PositiveIntegerField(default=0, editable=False)
    passages_done = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    # Last on purpose: SQLite reads a row from the front, and a long text would stand before all that follows it.
    content = models.TextField()

    objects = SourceQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return self.title or str(self.id)


class PassageQuerySet(models.QuerySet["Passage"]):
    def without_vector(self, embedder: str) -> Self:
        """Those that this embedder (see `Embedder.identity`) has yet to embed, oldest first."""
        return self.exclude(vectors__embedder=embedder).order_by("id")


class Passage(models.Model):
    """A piece of a source, the unit of search: `source.content[start:end] == text`.

    Never edited in place: a changed piece is another row, so a row's words and vectors stay true.
    """

    source = models.ForeignKey(Source, models.CASCADE, related_name="passages")
    position = models.PositiveIntegerField()
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    digest = models.BinaryField(max_length=16, editable=False, help_text="Of what is indexed: title, headings, text.")
    language = models.CharField(max_length=8)
    heading = models.TextField(blank=True, default="")
    text = models.TextField()

    objects = PassageQuerySet.as_manager()

    class Meta:
        ordering = ("source", "position")
        indexes = (models.Index(fields=["language"]),)

    def __str__(self) -> str:
        return f"{self.heading or self.text[:60]} [{self.start}:{self.end}]"


class Vector(models.Model):
    """A passage's meaning as one embedder sees it: `data` is float16, little endian, of unit length."""

    passage = models.ForeignKey(Passage, models.CASCADE, related_name="vectors")
    embedder = models.CharField(max_length=100)
    data = models.BinaryField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["passage", "embedder"], name="one_vector_per_embedder"),)
        indexes = (models.Index(fields=["embedder", "id"]),)

    def __str__(self) -> str:
        return f"{self.embedder} of passage {self.passage_id}"
