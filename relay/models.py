"""What the relay keeps: agents that were here, whose conversation is with which agent, answers to repeat.

No question is stored, and an answer only for an ask that carried an Idempotency-Key, for a day."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from relay.frames import LONGEST_ID

ANSWER_KEPT = timedelta(hours=24)  # contract 1: the same key gives the same answer for 24 h
AGENT_KEPT = timedelta(days=90)
USELESS_AGENT_KEPT = timedelta(days=1)  # one that never served


class Agent(models.Model):
    """An agent under its connection id. The id belongs to the credential that used it first."""

    id = models.CharField(_("connection id"), primary_key=True, max_length=LONGEST_ID)
    token = models.ForeignKey(
        "accounts.Token",
        models.CASCADE,
        verbose_name=_("token"),
        null=True,
        blank=True,
        related_name="+",
        help_text=_("None: from loopback."),
    )
    name = models.CharField(_("name"), max_length=100, blank=True)
    model = models.CharField(_("model"), max_length=100, blank=True)
    address = models.CharField(_("where"), max_length=64, blank=True)
    served = models.PositiveBigIntegerField(_("served"), default=0)
    failed = models.PositiveBigIntegerField(_("failed"), default=0)
    is_resting = models.BooleanField(_("at rest"), default=False, help_text=_("Gets no ask until it is woken."))
    connected_at = models.DateTimeField(_("connected at"), null=True, blank=True)
    seen_at = models.DateTimeField(_("last seen"))
    must_hang_up = models.BooleanField(default=False, editable=False)

    class Meta:
        verbose_name = _("agent")
        verbose_name_plural = _("agents")
        ordering = ("-seen_at",)

    def __str__(self) -> str:
        return self.name or self.id


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def stale(self, days: float) -> Self:
        """Not used for this many days."""
        return self.filter(used_at__lt=timezone.now() - timedelta(days=days))


class Conversation(models.Model):
    """A conversation belongs to whoever opened it (no owner: the admin key) and lives with one agent.

    The id is the agent's choice, so it is unique for each owner only: an agent that
    names somebody else's conversation opens one of the asker's own.
    """

    conversation_id = models.CharField(_("conversation id"), max_length=LONGEST_ID)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        verbose_name=_("owner"),
        null=True,
        blank=True,
        related_name="relay_conversations",
        db_index=False,  # the constraint's index begins with it, and each index costs every new conversation
    )
    agent_id = models.CharField(_("agent"), max_length=LONGEST_ID)
    created_at = models.DateTimeField(_("created at"))
    used_at = models.DateTimeField(_("last used"))

    objects = ConversationQuerySet.as_manager()

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        ordering = ("-used_at",)
        constraints = (
            models.UniqueConstraint("owner", "conversation_id", name="one_conversation_per_owner_and_id"),
            models.UniqueConstraint(
                "conversation_id", condition=Q(owner=None), name="one_conversation_of_the_admin_key_per_id"
            ),
        )

    def __str__(self) -> str:
        return self.conversation_id or gettext("(no id)")


class StoredAnswer(models.Model):
    """The answer to an ask that carried an Idempotency-Key, given again to the same key, user and body."""

    owner = models.CharField(max_length=36, blank=True)
    key = models.BinaryField(max_length=32)
    body_digest = models.BinaryField(max_length=32)
    body = models.BinaryField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("stored answer")
        verbose_name_plural = _("stored answers")
        constraints = (models.UniqueConstraint("owner", "key", name="one_answer_per_owner_and_key"),)

    def __str__(self) -> str:
        return f"answer of {self.created_at:%Y-%m-%d %H:%M}"
