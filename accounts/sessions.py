"""Sessions that know whose they are, on what device, and when they were last used; so that people can end them.

A session engine of Django's (settings.SESSION_ENGINE): one row a session, ending it is deleting the row."""

from __future__ import annotations

import logging
from datetime import timedelta
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

if TYPE_CHECKING:
    from accounts.models import User

logger = logging.getLogger(__name__)

USE_NOTED_EVERY = timedelta(minutes=2)  # a write for each page would be too many
DEVICE, ADDRESS = "device", "address"  # keys of the session's data, put there at sign-in


class SessionQuerySet(models.QuerySet["Session"]):
    def of(self, user: User) -> Self:
        """Where this user is signed in, the one used last first."""
        return self.filter(user=user, expire_date__gt=timezone.now()).order_by("-used_at")

    def still_holds(self, session: SessionBase) -> bool:
        """Whether a session that was read a while ago still signs its user in: for lines that stay open.

        One query; it ends with its row, its time, its user, and with their password.
        """
        rows = self.filter(pk=session.session_key, expire_date__gt=timezone.now(), user__is_active=True)
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
    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        """Its row. When it began stays as it was; so the row is read first if there may be one."""
        row = cast(Session, super().create_model_instance(data))
        before = Session.objects.filter(pk=row.pk).only("created_at").first()
        row.created_at = before.created_at if before else timezone.now()
        row.user_id = data.get("_auth_user_id")
        row.device, row.address = data.get(DEVICE, "")[:300], data.get(ADDRESS, "")[:64]
        return row

    async def acreate_model_instance(self, data: dict[str, Any]) -> Session:
        """Django's own would leave out whose it is, so that it could not be ended from the list."""
        return await sync_to_async(self.create_model_instance)(data)

    async def aload(self) -> dict[str, Any]:
        """The same for asynchronous views."""
        return await sync_to_async(self.load)()

    def load(self) -> dict[str, Any]:
        """Notes the use, now and then."""
        data = super().load()
        now = timezone.now()
        try:
            Session.objects.filter(pk=self.session_key, used_at__lt=now - USE_NOTED_EVERY).update(used_at=now)
        except DatabaseError as fault:  # whoever only reads goes on where nothing can be written
            logger.info("The use of a session was not noted: %s", fault)
        return data
