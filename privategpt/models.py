"""What is known: sources, the passages they are searched by, and the passages' vectors."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.db import models
from django.db.models import Exists, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from accounts import steps
from accounts.models import Group, User
from accounts.units import unit

if TYPE_CHECKING:
    from collections.abc import Iterable


UNDO = timedelta(minutes=10)  # for so long the deletion of a source from a page can be undone
GONE = datetime(1970, 1, 1, tzinfo=UTC)  # as the time of a deletion: never to be undone
STORING = "storing "  # holds a source whose text is still being stored: until then it counts as deleted just now


class SourceQuerySet(models.QuerySet["Source"]):
    def visible_to(self, user: User, narrowed_to: Iterable[Group] | None = None) -> Self:
        """Those of the user's groups and, for whom they are not switched off, public ones; the only door for reading.

        `narrowed_to` leaves of the groups only these.
        """
        groups = user.groups.all()
        if narrowed_to is not None:
            groups = groups.filter(pk__in=[group.pk for group in narrowed_to])
        # Rights are read when it is asked, not when it is built: an answer under way asks the same one again and again.
        may_use_public = User.objects.filter(pk=user.pk, may_use_public=True)
        readable = Q(groups__in=groups) | Q(Exists(may_use_public), is_public=True)
        return self.not_deleted().filter(readable).distinct()

    def not_deleted(self) -> Self:
        """Without those that carry the mark; the others may hang on a group that was deleted, see `kept`."""
        return self.filter(deleted_at=None)

    def kept(self) -> Self:
        """Without those that were deleted: whose rows have yet to go, or are only there so that it can be undone."""
        tie = Source.groups.through.objects
        ended = tie.filter(group__deleted_at__isnull=False).values("source")
        held = tie.filter(group__deleted_at=None).values("source")
        return self.not_deleted().exclude(Q(is_public=False, pk__in=ended) & ~Q(pk__in=held))

    def doomed(self) -> Self:
        """Those whose deletion can no longer be undone."""
        return self.filter(deleted_at__lte=timezone.now() - UNDO)

    def on_their_way(self) -> Self:
        """Those that are being stored, or whose process died over it."""
        return self.filter(claimed_by__startswith=STORING)

    def end(self) -> int:
        """Out of sight for good; the rows go step by step (`sweeping`). Returns how many.

        The texts go at once: SQLite would write them anew, beside the mark.
        """
        return self.update(deleted_at=GONE, claimed_by="", content="")

    def among(self, groups: Iterable[int], *, public: bool) -> Self:
        """Those of these groups (by id), and with `public` the public ones. Says nothing about rights."""
        held = Source.groups.through.objects.filter(group__in=list(groups)).values("source")
        return self.filter(Q(pk__in=held) | Q(is_public=True) if public else Q(pk__in=held))


class Source(models.Model):
    """A Markdown text that answers may rest on. Public, or read by the members of its groups."""

    class State(models.TextChoices):
        CREATION = "creation", "saved, found by its words"
        PROCESSING = "processing", "vectors are being made"
        VECTORIZED = "vectorized", "found by its words and its meaning"
        ERROR = "error", "no vectors, see the reason"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = models.TextField(_("title"))
    groups = models.ManyToManyField(Group, verbose_name=_("groups"), related_name="sources", blank=True)
    is_public = models.BooleanField(_("public"), default=False)
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("creator"),
        null=True,
        blank=True,
        related_name="created_sources",
    )
    state = models.CharField(_("state"), max_length=12, choices=State.choices, default=State.CREATION)
    state_reason = models.TextField(_("reason"), blank=True, default="")
    language = models.CharField(
        _("language"), max_length=8, default="en", editable=False, help_text=_("As found in the text.")
    )
    passages_total = models.PositiveIntegerField(_("passages"), default=0, editable=False)
    passages_done = models.PositiveIntegerField(_("passages with vectors"), default=0, editable=False)
    # A worker that embeds it says so again and again; one that has gone silent has lost it to the next.
    claimed_by = models.CharField(max_length=64, blank=True, default="", editable=False)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed at"), auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="It goes soon, unless undone.")
    # Last on purpose: SQLite reads a row from the front, and a long text would stand before all that follows it.
    content = models.TextField()

    objects = SourceQuerySet.as_manager()

    class Meta:
        verbose_name = _("source")
        verbose_name_plural = _("sources")
        ordering = ("-created_at",)
        # What the worker looks for twice a second; of sources that are done it holds nothing.
        indexes = (
            models.Index(
                fields=["updated_at"], condition=Q(state__in=["creation", "processing"]), name="sources_to_embed"
            ),
            models.Index(fields=["deleted_at"], condition=Q(deleted_at__isnull=False), name="sources_to_purge"),
        )

    def __str__(self) -> str:
        return self.title or str(self.id)


class PassageQuerySet(models.QuerySet["Passage"]):
    def without_vector(self, embedder: str) -> Self:
        """Those that this embedder (see `Embedder.identity`) has yet to embed, oldest first."""
        return self.exclude(vectors__embedder=embedder).order_by("id")


class Passage(models.Model):
    """A piece of a source, the unit of search: `source.content[start:end]` is its text, behind a table's header row
    where it continues one.

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
    analyser = models.SmallIntegerField(default=1, db_index=True, help_text="The version that made its words.")

    objects = PassageQuerySet.as_manager()

    class Meta:
        verbose_name = _("passage")
        verbose_name_plural = _("passages")
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
        verbose_name = _("vector")
        verbose_name_plural = _("vectors")
        constraints = (models.UniqueConstraint(fields=["passage", "embedder"], name="one_vector_per_embedder"),)
        indexes = (models.Index(fields=["embedder", "id"]),)

    def __str__(self) -> str:
        return f"{self.embedder} of passage {self.passage_id}"


class ScenarioQuerySet(models.QuerySet["Scenario"]):
    def visible_to(self, user: User) -> Self:
        """Active and own ones; all of them for who may change them."""
        return self.all() if user.has_role("system") else self.filter(Q(active=True) | Q(owner=user))


class Scenario(models.Model):
    """A named way of asking: its prompts, and how it retrieves (contract 2, section 4)."""

    class Retriever(models.TextChoices):
        VECTOR_STORE = "vector_store", _("Vector store")
        DOCUMENT_STORE = "document_store", _("Document store")
        NONE = "none", _("None")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        verbose_name=_("owner"),
        null=True,
        blank=True,
        related_name="scenarios",
    )
    name = models.CharField(_("name"), max_length=40, unique=True)
    description = models.CharField(_("description"), max_length=128)
    icon = models.CharField(_("icon"), max_length=100, default="ph-shapes")
    active = models.BooleanField(_("active"), default=False)
    creativity = models.PositiveSmallIntegerField(_("creativity"), default=1)
    k = models.PositiveSmallIntegerField(_("Passages at most"), default=5)
    similarity_threshold = models.FloatField(_("Least likeness"), default=0.0)
    context_retriever_type = models.CharField(
        _("retriever"), max_length=20, choices=Retriever.choices, default=Retriever.NONE
    )
    system_pre_prompt = models.TextField(_("prompt for the system"), blank=True, default="")
    user_pre_prompt = models.TextField(_("before the question"), blank=True, default="")
    user_post_prompt = models.TextField(_("after the question"), blank=True, default="")
    use_sparse = models.BooleanField(_("search by words"), default=True)
    use_dense = models.BooleanField(_("search by meaning"), default=True)
    use_reranking = models.BooleanField(_("rank anew"), default=True)
    use_history = models.BooleanField(_("mind the chat so far"), default=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = ScenarioQuerySet.as_manager()

    class Meta:
        verbose_name = _("scenario")
        verbose_name_plural = _("scenarios")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


UNDO_TIME = timedelta(hours=1)  # for which a deleted chat can be brought back


class ChatQuerySet(models.QuerySet["Chat"]):
    def visible_to(self, user: User, narrowed_to: Iterable[Group] | None = None) -> Self:
        """One's own; nobody else reads a chat. `narrowed_to`: of these only such as ask no other group."""
        own = self.filter(owner=user, deleted_at=None)
        if narrowed_to is None:
            return own
        return own.exclude(groups__in=Group.objects.exclude(pk__in=[group.pk for group in narrowed_to]))

    def restorable_by(self, user: User) -> Self:
        """One's own that were deleted and can still be brought back."""
        return self.filter(owner=user, deleted_at__gt=timezone.now() - UNDO_TIME)

    def doomed(self) -> Self:
        """Those whose deletion can no longer be undone."""
        return self.filter(deleted_at__lte=timezone.now() - UNDO_TIME)

    def there(self) -> Self:
        """For administrators: without those that are gone for good, or whose owner is."""
        return self.filter(Q(deleted_at=None) | Q(deleted_at__gt=timezone.now() - UNDO_TIME), owner__deleted_at=None)

    def remove(self) -> int:
        """Out of sight for good; the rows go step by step (`sweeping`). Returns how many."""
        doomed = list(self.order_by().values_list("pk", flat=True))
        for some in steps.portions(doomed, 500):
            unit(Chat.objects.filter(pk__in=some).update)(deleted_at=GONE)
        return len(doomed)


class Chat(models.Model):
    """Questions of one person and their answers, and where answers may be looked for."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, verbose_name=_("owner"), related_name="chats")
    title = models.CharField(_("title"), max_length=200, blank=True)
    language = models.CharField(_("language"), max_length=8, default="en")
    use_public = models.BooleanField(_("asks public sources"), default=False)
    groups = models.ManyToManyField(Group, verbose_name=_("groups"), related_name="+", blank=True)
    scenario = models.ForeignKey(
        Scenario, models.SET_NULL, verbose_name=_("scenario"), null=True, blank=True, related_name="+"
    )
    backend = models.CharField(
        _("answered by"), max_length=100, blank=True, default="", help_text="Chosen to answer; empty: automatic."
    )
    pinned_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="Restorable for an hour.")
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed at"), auto_now=True)

    objects = ChatQuerySet.as_manager()

    class Meta:
        verbose_name = _("chat")
        verbose_name_plural = _("chats")
        ordering = ("-updated_at",)
        indexes = (
            models.Index(fields=["owner", "-updated_at"]),
            models.Index(fields=["deleted_at"], condition=Q(deleted_at__isnull=False), name="chats_to_purge"),
        )
        permissions = (("view_chat_text", gettext_noop("Can read the questions and answers of other people's chats")),)

    def __str__(self) -> str:
        return self.title or str(self.id)

    def rename(self, title: str) -> None:
        """An empty title keeps the old one. The chat's place in the list stays."""
        if short := " ".join(title.split())[:200]:
            self.title = short
            type(self).objects.filter(pk=self.pk).update(title=short)

    def pin(self, *, is_pinned: bool) -> None:
        """To the head of the list, or back to its day."""
        self.pinned_at = timezone.now() if is_pinned else None
        type(self).objects.filter(pk=self.pk).update(pinned_at=self.pinned_at)

    def remove(self) -> None:
        """Out of sight at once; gone when it was not brought back in time."""
        type(self).objects.filter(pk=self.pk).update(deleted_at=timezone.now())

    def restore(self) -> None:
        """Brings a deleted chat back as it was."""
        type(self).objects.filter(pk=self.pk).update(deleted_at=None)


ANSWER_LEASE = timedelta(seconds=15)  # an answer whose process was silent for so long is lost
LOST = "The server ended before the answer was complete; ask again."


class MessageQuerySet(models.QuerySet["Message"]):
    def under_way(self) -> Self:
        """Neither complete, nor stopped, nor failed."""
        return self.filter(state__in=[Message.State.WAITING, Message.State.ANSWERING])

    def being_answered(self) -> Self:
        """Under way, and the process that answers them has said so lately."""
        return self.under_way().filter(claimed_until__gte=timezone.now())

    def lost(self) -> Self:
        """Under way by their state, but the process that answered them has gone silent."""
        now = timezone.now()
        # Later than any claim lasts: the clock was set back since.
        is_free = Q(claimed_until=None) | Q(claimed_until__lt=now) | Q(claimed_until__gt=now + 2 * ANSWER_LEASE)
        return self.under_way().filter(is_free)

    def fail(self, most: int = 200) -> int:
        """Ends lost answers, at most so many; what was written of them stays. Returns how many."""
        some = list(self.order_by().values_list("pk", flat=True)[:most])
        ended = self.filter(pk__in=some)
        return ended.update(state=Message.State.FAILED, error=LOST, claimed_until=None, finished_at=timezone.now())


class Message(models.Model):
    """A question and its answer, whose text is saved as it grows. The answer outlives the connection."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        ANSWERING = "answering", _("answering")
        COMPLETE = "complete", _("complete")
        STOPPED = "stopped", _("stopped")
        FAILED = "failed", _("failed")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="messages")
    position = models.PositiveIntegerField()
    question = models.TextField()
    answer = models.TextField(blank=True, default="")
    language = models.CharField(max_length=8, default="en")
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    error = models.TextField(blank=True, default="")
    cut_off = models.CharField(
        max_length=20,
        blank=True,
        default="",
        db_default="",  # here and below: for the release before, which still runs while an upgrade migrates
        help_text="Why a complete answer is not whole, as a code; see `Cut`.",
    )
    backend = models.CharField(max_length=100, blank=True, default="")
    groups = models.JSONField(
        default=list,
        db_default=[],
        blank=True,
        help_text="Ids of the groups that were asked, also of such as are gone since.",
    )
    trace = models.JSONField(
        default=dict, blank=True, help_text="What was searched, found and used, and the times; for the owner."
    )
    # A process that answers says so again and again; one that has gone silent has lost the answer.
    claimed_until = models.DateTimeField(null=True, blank=True)
    claimed_by = models.UUIDField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = MessageQuerySet.as_manager()

    asked: object = None  # in no column: what `answers.begin` read, so that the start needs no query

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ("chat", "position")
        constraints = (models.UniqueConstraint(fields=["chat", "position"], name="one_message_per_place"),)
        # The second: what the dashboard counts of the hour at hand.
        indexes = (models.Index(fields=["state"]), models.Index(fields=["created_at"], name="messages_by_age"))

    def __str__(self) -> str:
        return f"{self.chat_id} {self.position}"

    def is_within(self, narrowed_to: Iterable[Group] | None) -> bool:
        """Whether no group was asked but these; None stands for all."""
        return narrowed_to is None or {group.pk for group in narrowed_to}.issuperset(self.groups)


class Citation(models.Model):
    """A passage that an answer was given to rest on, under the number by which the answer cites it."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="citations")
    source = models.ForeignKey(Source, models.CASCADE, related_name="+")
    number = models.PositiveSmallIntegerField()
    is_cited = models.BooleanField(default=False)
    heading = models.TextField(blank=True, default="")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    context = models.TextField()
    score = models.FloatField()

    class Meta:
        verbose_name = _("citation")
        verbose_name_plural = _("citations")
        ordering = ("message", "number")
        constraints = (models.UniqueConstraint(fields=["message", "number"], name="one_citation_per_number"),)

    def __str__(self) -> str:
        return f"[{self.number}] {self.source_id}"


class StoredReply(models.Model):
    """The reply to a request that carried an Idempotency-Key, given again to the same user, key, route and body."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    key = models.BinaryField(max_length=32)
    request_digest = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="None: the first request is under way.")
    body = models.BinaryField(default=b"")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        verbose_name = _("stored reply")
        verbose_name_plural = _("stored replies")
        constraints = (models.UniqueConstraint(fields=["owner", "key"], name="one_reply_per_owner_and_key"),)

    def __str__(self) -> str:
        return f"reply of {self.created_at:%Y-%m-%d %H:%M}"


class Hour(models.Model):
    """What happened in one hour, counted, so that a dashboard need not read messages; see `figures`."""

    at = models.DateTimeField(primary_key=True, help_text="Its beginning, a full hour of UTC.")
    is_complete = models.BooleanField(default=False, help_text="Off: only what agents did is counted yet.")
    questions = models.PositiveIntegerField(default=0)
    complete = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    cited = models.PositiveIntegerField(default=0, help_text="Complete answers that cite a source.")
    waits = models.JSONField(default=dict, blank=True, help_text="Waits for the first word: a bin and how many.")
    sources = models.PositiveIntegerField(default=0)
    passages = models.PositiveIntegerField(default=0)
    asks = models.PositiveIntegerField(default=0, help_text="That agents answered, for whomever.")
    asks_failed = models.PositiveIntegerField(default=0)
    # The agents' own sums at the last look; what came since is this hour's.
    served_before = models.PositiveBigIntegerField(null=True, blank=True)
    failed_before = models.PositiveBigIntegerField(null=True, blank=True)

    class Meta:
        verbose_name = _("hour")
        verbose_name_plural = _("hours")
        ordering = ("at",)
        permissions = (("view_dashboard", gettext_noop("Can see the dashboard")),)
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H}:00"


class Check(models.Model):
    """A question that has to find this source: what an upgrade is rehearsed with."""

    question = models.TextField()
    source = models.ForeignKey(Source, models.CASCADE, related_name="+")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="None: all sources.",
    )
    place = models.PositiveSmallIntegerField(help_text="Among the sources found when it was stored.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("check")
        verbose_name_plural = _("checks")
        ordering = ("id",)

    def __str__(self) -> str:
        return self.question[:80]


class BackupState(models.Model):
    """One row: the scheduled backups of this database, whichever machine makes them; see `operations.schedule`."""

    made_at = models.DateTimeField(null=True, blank=True)
    file = models.TextField(blank=True, default="")
    size = models.PositiveBigIntegerField(default=0)
    host = models.CharField(max_length=200, blank=True, default="")
    error = models.TextField(blank=True, default="", help_text="Of the last try; empty: it succeeded.")
    failed_at = models.DateTimeField(null=True, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("state of backups")
        verbose_name_plural = _("states of backups")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.file} {self.made_at}"
