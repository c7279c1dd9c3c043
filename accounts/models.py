"""Who: people, the groups that say what they may read, and the keys of programs and agents."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import keys, passwords, revocation
from accounts.authenticators import Authenticator as Authenticator
from accounts.authenticators import RecoveryCode as RecoveryCode
from accounts.fields import CanonicalEmailField
from accounts.locales import known_language, known_timezone
from accounts.roles import ROLES
from accounts.sessions import Session as Session
from accounts.units import unit

if TYPE_CHECKING:
    from collections.abc import Iterable


class Present(models.Manager["Group"]):
    """Without groups that were deleted and whose rows have yet to go: no list, right or name knows them any more."""

    def get_queryset(self) -> models.QuerySet[Group]:
        return super().get_queryset().filter(deleted_at=None)


class Group(models.Model):
    """A circle of people who read the same sources. Carries no permission of Django's admin: roles do."""

    name = models.CharField(_("name"), max_length=150, unique=True)
    description = models.TextField(_("description"), blank=True, default="")
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="Its rows go step by step.")

    objects = Present()
    everything = models.Manager["Group"]()

    class Meta:
        verbose_name = _("group")
        verbose_name_plural = _("groups")
        ordering = ("name",)
        indexes = (models.Index(fields=["deleted_at"], condition=Q(deleted_at__isnull=False), name="groups_to_purge"),)

    def __str__(self) -> str:
        return self.name

    def remove(self) -> None:
        """Out of sight at once, and its name is free; `accounts.steps` ends the rows."""
        self.name, self.deleted_at = f"deleted {uuid.uuid4()}", timezone.now()
        self.save(update_fields=["name", "deleted_at"])


class UserManager(BaseUserManager["User"]):
    def get_queryset(self) -> models.QuerySet[User]:
        """Without those who were deleted and whose rows have yet to go."""
        return super().get_queryset().filter(deleted_at=None)

    def create_user(self, email: str | None, password: str | None = None, **fields: Any) -> User:
        """A new user; without a password nobody can sign in as them. Raises IntegrityError on a known e-mail."""
        user = self.model(email=email, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """An administrator with every right and every role. Raises ValidationError for a weak password."""
        if password is not None:
            validate_password(password, self.model(email=email, name=fields.get("name", "")))
        return self.create_user(
            email, password, **{"is_staff": True, "is_superuser": True, "roles": list(ROLES)} | fields
        )


def known_roles(value: object) -> None:
    """Raises ValidationError on anything but a list of known role codes."""
    if not isinstance(value, list) or not all(role in ROLES for role in value):
        raise ValidationError(f"Roles are a list out of: {', '.join(ROLES)}.")


class User(AbstractBaseUser, PermissionsMixin):
    """A person, or a program that the relay's administrator added (those have no e-mail and no password)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = CanonicalEmailField(_("e-mail"), unique=True, null=True, blank=True)
    name = models.CharField(_("name"), max_length=150, blank=True)
    language = models.CharField(_("language"), max_length=8, default="en", validators=[known_language])
    timezone = models.CharField(_("time zone"), max_length=64, default="Europe/Berlin", validators=[known_timezone])
    groups = models.ManyToManyField(Group, verbose_name=_("groups"), related_name="members", blank=True)  # type: ignore[assignment]
    roles = models.JSONField(_("roles"), default=list, blank=True, validators=[known_roles])
    is_staff = models.BooleanField(_("may enter the admin"), default=False)
    is_active = models.BooleanField(_("active"), default=True, help_text=_("Off: cannot sign in, tokens do not work."))
    may_use_public = models.BooleanField(
        _("may use public sources"),
        default=True,
        help_text=_("Ask public sources, and publish with the role for documents."),
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="The rows go step by step.")

    objects: ClassVar[UserManager] = UserManager()
    everything: ClassVar[models.Manager[User]] = models.Manager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        ordering = ("email", "created_at")
        indexes = (models.Index(fields=["deleted_at"], condition=Q(deleted_at__isnull=False), name="users_to_purge"),)

    def __str__(self) -> str:
        return self.email or self.name or str(self.id)

    @property
    def called(self) -> str:
        """How others see them: the name, else the part of the e-mail before the @."""
        return self.name.strip() or (self.email or "").rpartition("@")[0] or str(self)

    def set_password(self, raw_password: str | None) -> None:
        """In one form, however the keyboard at hand writes it."""
        super().set_password(raw_password if raw_password is None else passwords.normal(raw_password))

    def check_password(self, raw_password: str | None) -> bool:
        """Also one that was hashed as it was typed, before there was one form."""
        check = super().check_password
        return raw_password is not None and any(check(form) for form in passwords.forms(raw_password))

    async def acheck_password(self, raw_password: str | None) -> bool:
        """The same for asynchronous callers."""
        return await sync_to_async(self.check_password)(raw_password)

    @unit
    def retire(self) -> None:
        """Ends the user at once: no sign-in, sessions gone, every token revoked. Their rows stay."""
        with transaction.atomic():
            self.is_active = False
            self.session_salt = uuid.uuid4()
            self.save(update_fields=["is_active", "session_salt"])
            self.tokens.live().revoke()

    @unit
    def remove(self) -> None:
        """Out of sight at once with all rights, and the e-mail is free; `accounts.steps` ends the rows."""
        with transaction.atomic():
            self.retire()
            self.email, self.name, self.deleted_at = None, "", timezone.now()
            self.roles, self.is_staff, self.is_superuser = [], False, False
            self.set_unusable_password()
            fields = ["email", "name", "deleted_at", "roles", "is_staff", "is_superuser", "password"]
            self.save(update_fields=fields)

    def reactivate(self) -> None:
        """Lets a retired user in again. What was revoked stays revoked."""
        self.is_active = True
        self.save(update_fields=["is_active"])

    def has_role(self, role: str) -> bool:
        """A superuser has every role, also those that were invented later."""
        return self.is_superuser or role in self.roles

    def may_give(self, role: str) -> bool:
        """Nobody gives a role that they do not have, but for holders of `system` (contract 2, section 6)."""
        return self.has_role(role) or "system" in self.roles

    def may_manage(self, other: User) -> bool:
        """Whether `other` has no right that this user lacks: only then may this user act upon, or for, `other`.

        Staff and superusers are superusers' to manage. A retired user counts with the rights that they would have
        when reactivated. What a door's token adds to this: `actors.Actor.may_manage`.
        """
        if self.is_superuser or other.pk == self.pk:
            return True
        own = other.user_permissions.values_list("content_type__app_label", "codename")
        return (
            not (other.is_staff or other.is_superuser)
            and all(map(self.may_give, other.roles))
            and {f"{app}.{name}" for app, name in own} <= self.get_all_permissions()
        )

    # Part of every session's hash: a new salt ends all sessions at once.
    session_salt = models.UUIDField(default=uuid.uuid4, editable=False)

    def get_session_auth_hash(self) -> str:
        """Changes with the password and with `session_salt`; a session with another hash is dead."""
        return f"{super().get_session_auth_hash()}{self.session_salt.hex}"


class TokenQuerySet(models.QuerySet["Token"]):
    def live(self) -> Self:
        """Neither revoked nor expired. Whether the user is still active is `usable`'s question."""
        return self.filter(revoked_at=None).filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))

    def usable(self) -> Self:
        """Live, and its user (if it has one) is active."""
        return self.live().filter(Q(user=None) | Q(user__is_active=True))

    def with_key(self, key: str | bytes, kind: Token.Kind) -> Token | None:
        """The usable token of this kind that this key opens."""
        return self.usable().select_related("user").filter(digest=keys.digest(key), kind=kind).first()

    def revoke(self) -> int:
        """Ends them now, wherever one is remembered, and forgets the readable form of relay keys. Returns how many."""
        now = timezone.now()
        with transaction.atomic():
            count = self.update(revoked_at=now, sealed="")
            ended = Token.objects.filter(kind__in=Token.Kind.values, revoked_at=now)  # as the index has them
            revocation.announce(ended.remembered().values_list("pk", flat=True))
        return count

    def remembered(self) -> Self:
        """Of the kinds that a server answers for from memory; about an api token it asks at each request."""
        return self.exclude(kind=Token.Kind.API)

    def touch(self, uses: Iterable[tuple[int, datetime]]) -> None:
        """Writes when each token (by id) was last used; called in batches, never by a request."""
        tokens = [Token(id=pk, last_used_at=used) for pk, used in uses]
        self.bulk_update(tokens, ["last_used_at"], batch_size=500)

    def issue(
        self,
        kind: Token.Kind,
        user: User | None = None,
        *,
        name: str = "",
        days: float | None = None,
        scopes: Iterable[str] = (),
    ) -> tuple[Token, str]:
        """A new token and its key, which cannot be shown again (a relay key only to the admin key's holder)."""
        expires = timezone.now() + timedelta(days=days) if days else None
        token = Token(kind=kind, user=user, name=name, expires_at=expires, scopes=list(scopes))
        return token, token.give_key()


class Token(models.Model):
    """A key that a program (relay, api) or an agent shows instead of a password."""

    class Kind(models.TextChoices):
        RELAY = "relay", _("relay: asks by contract 1")
        API = "api", _("api: PrivateGPT API v1")
        AGENT = "agent", _("agent: answers questions")

    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    user = models.ForeignKey(User, models.CASCADE, verbose_name=_("user"), null=True, blank=True, related_name="tokens")
    name = models.CharField(_("name"), max_length=100, blank=True)
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    sealed = models.TextField(blank=True, default="", editable=False)
    hint = models.CharField(
        _("last four characters"), max_length=4, editable=False, help_text=_("The key's last four characters.")
    )
    scopes = models.JSONField(_("scopes"), default=list, blank=True)
    groups = models.ManyToManyField(
        Group,
        verbose_name=_("groups"),
        related_name="+",
        blank=True,
        help_text=_("Narrows an api token to these groups; none: all of its user's."),
    )
    # Apart from the list: a group that is deleted leaves the list, and must not widen the token by that.
    is_narrowed = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used at"), null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True, editable=False)

    objects = TokenQuerySet.as_manager()

    new_key = ""  # in no column: from the making of the key to the page that shows it

    class Meta:
        verbose_name = _("token")
        verbose_name_plural = _("tokens")
        ordering = ("-created_at",)
        indexes = (models.Index(fields=["kind", "revoked_at"]),)

    def __str__(self) -> str:
        return f"{self.kind} …{self.hint} {self.name}".strip()

    def give_key(self) -> str:
        """Makes the key of a new token, saves the token and returns the key, which is kept nowhere in clear."""
        if self.kind == Token.Kind.API:
            return self._give_numbered_key()
        key = keys.new_relay_key() if self.kind == Token.Kind.RELAY else keys.new_agent_key()
        self.digest, self.hint = keys.digest(key), key[-4:]
        self.sealed = keys.seal(key) if self.kind == Token.Kind.RELAY else ""
        self.save(force_insert=True)
        return key

    def _give_numbered_key(self) -> str:
        # The number in front is the row's own, as Laravel Sanctum's clients expect it.
        secret = keys.new_api_secret()
        self.digest, self.hint = keys.digest(f"draft {secret}"), secret[-4:]
        with transaction.atomic():
            self.save(force_insert=True)
            key = f"{self.pk}|{secret}"
            self.digest = keys.digest(key)
            self.save(update_fields=["digest"])
        return key

    def narrow(self, groups: Iterable[Group]) -> None:
        """From now on it reads of its user's groups only these; never undone, whatever becomes of the groups."""
        self.is_narrowed = True
        self.save(update_fields=["is_narrowed"])
        self.groups.set(groups)

    def renew(self) -> str:
        """A new key for the same agent token; the old one opens nothing from now on."""
        key = keys.new_agent_key()
        self.digest, self.hint = keys.digest(key), key[-4:]
        self.save(update_fields=["digest", "hint"])
        revocation.announce([self.pk])
        return key

    def ends_within(self, seconds: float) -> bool:
        """Whether it expires by then, or has expired."""
        return self.expires_at is not None and self.expires_at <= timezone.now() + timedelta(seconds=seconds)

    @property
    def state(self) -> str:
        """ "live", "expired", "revoked", or "user inactive"."""
        if self.revoked_at:
            return "revoked"
        if self.expires_at and self.expires_at <= timezone.now():
            return "expired"
        return "live" if self.user is None or self.user.is_active else "user inactive"


class AuditEntry(models.Model):
    """One administrative act. Outlives its actor: the name stays when the user is gone."""

    at = models.DateTimeField(_("at"), auto_now_add=True, db_index=True)
    actor = models.ForeignKey(User, models.SET_NULL, verbose_name=_("actor"), null=True, blank=True, related_name="+")
    actor_name = models.CharField(_("who"), max_length=200)
    action = models.CharField(_("action"), max_length=50)
    what = models.CharField(_("what"), max_length=200)
    way = models.CharField(_("through"), max_length=30, blank=True)
    address = models.CharField(_("from"), max_length=64, blank=True)
    times = models.PositiveIntegerField(_("times"), default=1, db_default=1)
    last_at = models.DateTimeField(_("last at"), null=True, blank=True)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
        ordering = ("-at", "-id")

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.action} {self.what}"


class KnownAddress(models.Model):
    """A network that an account was signed in from, by its digest only, which ends with the account's password."""

    user = models.ForeignKey(User, models.CASCADE, related_name="known_addresses")
    digest = models.BinaryField(max_length=32, unique=True)
    used_at = models.DateTimeField()

    class Meta:
        verbose_name = _("known address")
        verbose_name_plural = _("known addresses")

    def __str__(self) -> str:
        return f"{self.user}, {self.used_at:%Y-%m-%d}"


class SignInFailures(models.Model):
    """Failed sign-ins of late under one e-mail address or from one network address, known by its digest only."""

    place = models.BinaryField(max_length=32, unique=True)
    failures = models.PositiveIntegerField(default=0)
    since = models.DateTimeField(db_index=True, help_text="Of the first failure; once locked, of the last.")

    class Meta:
        verbose_name = _("failed sign-ins")
        verbose_name_plural = _("failed sign-ins")

    def __str__(self) -> str:
        return f"{self.failures} since {self.since:%Y-%m-%d %H:%M:%S}"
