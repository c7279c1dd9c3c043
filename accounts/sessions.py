"""Sessions that know whose they are, on what device, and when they were last used; so that people can end them.

A session engine of Django's (settings.SESSION_ENGINE): one row a session, ending it is deleting the row. The row
holds a digest of the session's key: whoever reads the table, or a backup of it, is not signed in by that."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import DatabaseError, models
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts import keys

if TYPE_CHECKING:
    from accounts.models import User

logger = logging.getLogger(__name__)

USE_NOTED_EVERY = timedelta(minutes=2)  # a write for each page would be too many
SWEPT = 500  # rows of one step
DEVICE, ADDRESS = "device", "address"  # keys of the session's data, put there at sign-in
DIGEST_LENGTH = 40  # hex digits: 160 bits, what Django's column holds


def row_key(session_key: str | None) -> str:
    """The key of the row of the session that this cookie opens; "" without one."""
    return keys.digest(f"browser session {session_key}").hex()[:DIGEST_LENGTH] if session_key else ""


def end_of(created: datetime, used: datetime) -> datetime:
    """When a session ends: so long after its last use, and so long after its beginning whatever it does."""
    return min(used + settings.SESSION_IDLE, created + timedelta(seconds=settings.SESSION_COOKIE_AGE))


class SessionQuerySet(models.QuerySet["Session"]):
    def live(self) -> Self:
        """Neither over nor idle for too long, also where the settings were changed since a session was used."""
        now = timezone.now()
        begun = now - timedelta(seconds=settings.SESSION_COOKIE_AGE)
        return self.filter(expire_date__gt=now, created_at__gt=begun, used_at__gt=now - settings.SESSION_IDLE)

    def of(self, user: User) -> Self:
        """Where this user is signed in, the one used last first."""
        return self.live().filter(user=user).order_by("-used_at")

    def purge(self) -> int:
        """Takes away some of those that are over; returns how many."""
        over = list(self.filter(expire_date__lte=timezone.now()).values_list("pk", flat=True)[:SWEPT])
        return self.filter(pk__in=over).delete()[0] if over else 0

    def others_than(self, session: SessionBase) -> Self:
        """All but the one at hand."""
        return self.exclude(pk=row_key(session.session_key))

    def end_surplus(self, user: User, most: int) -> None:
        """Ends those of this user that were unused longest, so that no more than so many are left."""
        surplus = list(self.of(user).values_list("pk", flat=True)[most : most + 1000])
        if surplus:
            self.filter(pk__in=surplus).delete()

    def still_holds(self, session: SessionBase) -> bool:
        """Whether a session that was read a while ago still signs its user in: for lines that stay open.

        One query; it ends with its row, its time, its user, and with their password.
        """
        rows = self.live().filter(pk=row_key(session.session_key), user__is_active=True)
        row = rows.select_related("user").defer("session_data").first()
        if row is None or row.user is None:
            return False
        return constant_time_compare(session.get(HASH_SESSION_KEY, ""), row.user.get_session_auth_hash())


class Session(AbstractBaseSession):
    """One browser of one user; of nobody while it is not signed in."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="browser_sessions"
    )
    device = models.CharField(max_length=300, blank=True, help_text="As the browser calls itself.")
    address = models.CharField(max_length=64, blank=True, help_text="Where the sign-in came from.")
    created_at = models.DateTimeField(default=timezone.now)
    used_at = models.DateTimeField(default=timezone.now)

    objects = SessionQuerySet.as_manager()  # type: ignore[assignment, misc]

    class Meta(AbstractBaseSession.Meta):
        indexes = (models.Index(fields=["user", "-used_at"]),)

    @classmethod
    def get_session_store_class(cls) -> type[SessionStore]:
        return SessionStore

    @property
    def program(self) -> str:
        """The browser's name in short; "" when it does not say."""
        # In this order: each one further down is named by those above it as well.
        names = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrome": "Chromium", "Safari": "Safari"}
        return next((name for mark, name in names.items() if f"{mark}/" in self.device), "")

    @property
    def system(self) -> str:
        """What the browser runs on; "" when it does not say."""
        names = {
            "iPhone": "iPhone",
            "iPad": "iPad",
            "Android": "Android",
            "Windows": "Windows",
            "Macintosh": "macOS",
            "CrOS": "ChromeOS",
            "Linux": "Linux",
        }
        return next((name for mark, name in names.items() if mark in self.device), "")


class SessionStore(DatabaseStore):
    """Django's, with a digest wherever it writes or looks for the key itself; asynchronous views take the same way."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        """Its row. When it began stays as it was; so the row is read first if there may be one."""
        row = cast(Session, super().create_model_instance(data))
        row.session_key = row_key(row.session_key)
        before = Session.objects.filter(pk=row.pk).only("created_at").first()
        row.created_at = before.created_at if before else timezone.now()
        row.expire_date = min(row.expire_date, end_of(row.created_at, timezone.now()))
        row.user_id = data.get("_auth_user_id")
        row.device, row.address = data.get(DEVICE, "")[:300], data.get(ADDRESS, "")[:64]
        return row

    async def acreate_model_instance(self, data: dict[str, Any]) -> Session:
        """Django's own would leave out whose it is, so that it could not be ended from the list."""
        return await sync_to_async(self.create_model_instance)(data)

    def exists(self, session_key: str | None) -> bool:
        return Session.objects.filter(pk=row_key(session_key)).exists()

    async def aexists(self, session_key: str | None) -> bool:
        return await sync_to_async(self.exists)(session_key)

    def delete(self, session_key: str | None = None) -> None:
        Session.objects.filter(pk=row_key(session_key or self.session_key)).delete()

    async def adelete(self, session_key: str | None = None) -> None:
        await sync_to_async(self.delete)(session_key)

    def load(self) -> dict[str, Any]:
        """Notes the use, now and then: that puts the session's end off."""
        now = timezone.now()
        row = Session.objects.live().filter(pk=row_key(self.session_key)).first()
        if row is None:
            self._session_key = None  # a key that somebody else chose is not taken up
            return {}
        if row.used_at < now - USE_NOTED_EVERY:
            try:
                Session.objects.filter(pk=row.pk).update(used_at=now, expire_date=end_of(row.created_at, now))
            except DatabaseError as fault:  # whoever only reads goes on where nothing can be written
                logger.info("The use of a session was not noted: %s", fault)
        return self.decode(row.session_data)

    async def aload(self) -> dict[str, Any]:
        return await sync_to_async(self.load)()
