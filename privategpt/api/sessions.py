"""`/login` and `/logout`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from channels.db import DatabaseSyncToAsync
from django.conf import settings
from django.db import transaction

from accounts import secondfactor, signlog
from accounts.addresses import peer
from accounts.models import Token
from accounts.signin import LONGEST_PASSWORD, sign_in
from accounts.units import unit
from privategpt.api.base import ApiView
from privategpt.api.envelope import LATER, Refusal
from privategpt.api.fields import Body, Text
from privategpt.api.groups import NONE

LOGIN = "login"  # the name of a token that a login gave
MOST_WAITING = 200  # sign-ins of this process

# Threads of their own: hashing takes long on purpose, and must not take the threads of everybody else.
_hashing = ThreadPoolExecutor(max_workers=2, thread_name_prefix="sign-in")


class Credentials(Body):
    """Who one is."""

    email = Text(max_length=254)
    password = Text(max_length=LONGEST_PASSWORD)


class Login(ApiView):
    """`POST /login`: credential headers are ignored, for clients send their old ones along."""

    anonymous = True
    accepts = {"POST": Credentials}
    waiting = 0

    async def post(self) -> dict[str, str]:
        """A token for e-mail and password."""
        if Login.waiting >= MOST_WAITING:
            raise Refusal(503, "Too many sign-ins at once.", headers=LATER)
        Login.waiting += 1
        try:
            return await DatabaseSyncToAsync(self._token, thread_sensitive=False, executor=_hashing)()
        finally:
            Login.waiting -= 1

    @unit
    def _token(self) -> dict[str, str]:
        self.admit()
        user = sign_in(self.fields["email"], self.fields["password"], peer(self.plain))
        if secondfactor.is_on(user):
            signlog.note(signlog.REFUSED, user, way="api", address=peer(self.plain))
            # The contract has no place for a code, and a password alone must not open more here than elsewhere.
            raise Refusal(403, "This account has a second factor: make a token in the browser, under Account.")
        with transaction.atomic():
            days = settings.API["login_days"] or None
            _, key = Token.objects.issue(Token.Kind.API, user, name=LOGIN, days=days)
            _end_surplus(Token.objects.filter(user=user, kind=Token.Kind.API, name=LOGIN))
            signlog.note(signlog.SIGN_IN, user, way="api", address=peer(self.plain))
        return {"token": key}


class Logout(ApiView):
    """`DELETE /logout`; POST too, for the earliest clients."""

    def delete(self) -> dict[str, Any]:
        """Ends the token in use and no other."""
        with transaction.atomic():
            Token.objects.filter(pk=self.caller.token.pk).revoke()
            signlog.note(signlog.SIGN_OUT, self.caller.user, way="api", address=self.caller.address)
        return NONE

    post = delete


def _end_surplus(logins: Any) -> None:
    """Programs that sign in for each task never sign out: the logins longest ago end, and their rows go."""
    most = settings.API["logins_per_user"]
    surplus = list(logins.order_by("-pk").values_list("pk", flat=True)[most : most + 100])
    if surplus:
        logins.filter(pk__in=surplus).delete()
