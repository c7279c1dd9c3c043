"""`/tokens`: named tokens with expiry, scopes and groups. Only a token that is not limited itself deals with them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rest_framework import serializers

from accounts import issuing
from accounts.models import Token
from accounts.numerals import whole
from accounts.units import unit
from privategpt.api.base import ApiView, page_of
from privategpt.api.credentials import SCOPES
from privategpt.api.envelope import invalid, moment, not_found
from privategpt.api.fields import Body, Names, Page, Text, Whole
from privategpt.api.groups import NONE, own_groups

MOST_TOKENS = 200  # named ones of one user
LARGEST_ID = 2**63 - 1


class Moment(Text):
    """An ISO-8601 time with its offset, in the future."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            found = parse_datetime(super().to_internal_value(data))
            found = found.astimezone(UTC) if found and found.tzinfo else None  # it may lie behind the last year in UTC
        except (ValueError, OverflowError):
            found = None
        if not found:
            raise serializers.ValidationError("Not an ISO-8601 time with an offset, like 2030-01-31T12:00:00Z.")
        if found <= timezone.now():
            raise serializers.ValidationError("This time is over.")
        return found


class Scopes(Names):
    """Codes out of SCOPES."""

    def to_internal_value(self, data: Any) -> list[str]:
        found = super().to_internal_value(data)
        unknown = [scope for scope in found if scope not in SCOPES]
        if unknown:
            raise serializers.ValidationError(f"Unknown scope: {unknown[0]}. Known: {', '.join(SCOPES)}.")
        return found


class NewToken(Body):
    """A token to be made. Without scopes it has all of them; without groups it reaches all of its user's."""

    name = Text(max_length=100)
    expiresAt = Moment(source="expires_at", required=False)  # noqa: N815
    scopes = Scopes()
    groups = Names()


class TokenNamed(Body):
    """Which token: the number in front of the pipe."""

    id = Whole(min_value=1, max_value=LARGEST_ID)


class _OwnTokens(ApiView):
    """What both routes have in common."""

    def admit(self) -> None:
        super().admit()
        if self.caller.token.scopes or self.caller.token.is_narrowed:
            raise PermissionDenied("A limited token cannot deal with tokens; sign in instead.")

    @unit
    def _end(self, number: int) -> dict[str, Any]:
        token = self._own().filter(pk=number).first()
        if token is None:
            raise not_found()
        issuing.end(self.caller.actor, token)
        return NONE

    def _own(self) -> Any:
        return Token.objects.live().filter(user=self.caller.user, kind=Token.Kind.API)

    def _shape(self, token: Token) -> dict[str, Any]:
        return {
            "id": token.pk,
            "name": token.name,
            "hint": token.hint,
            "scopes": token.scopes or list(SCOPES),
            "groups": [group.name for group in token.groups.all()],
            "isNarrowed": token.is_narrowed,
            "isCurrent": token.pk == self.caller.token.pk,
            "createdAt": moment(token.created_at),
            "expiresAt": moment(token.expires_at),
            "lastUsedAt": moment(token.last_used_at),
        }


class Tokens(_OwnTokens):
    """One's own tokens."""

    accepts = {"POST": NewToken, "DELETE": TokenNamed}
    query = {"GET": Page}

    def get(self) -> dict[str, Any]:
        """Those that are live, newest first, logins included."""
        rows = self._own().prefetch_related("groups").order_by("-pk")
        return page_of(rows, "tokens", self._shape, self.asked)

    @unit
    def post(self) -> dict[str, Any]:
        """A new token. The answer is the only place where it can be read."""
        groups = own_groups(self.caller, self.fields.get("groups", []))
        if self._own().exclude(scopes=[]).count() >= MOST_TOKENS:
            raise invalid({"name": [f"You have {MOST_TOKENS} tokens already; delete some."]})
        token, key = issuing.make(
            self.caller.actor,
            Token.Kind.API,
            self.caller.user,
            name=self.fields["name"],
            expires_at=self._expiry(),
            scopes=self.fields.get("scopes") or SCOPES,
            groups=groups,
        )
        return {**self._shape(token), "token": key}

    def _expiry(self) -> datetime | None:
        """As wished, but no token outlives the one that made it."""
        times = [at for at in (self.fields.get("expires_at"), self.caller.token.expires_at) if at]
        return min(times, default=None)

    def delete(self) -> dict[str, Any]:
        """Ends one of one's own tokens."""
        return self._end(self.fields["id"])


class OneToken(_OwnTokens):
    """`DELETE /tokens/{id}`."""

    accepts = {"DELETE": Body}

    def delete(self, token: str) -> dict[str, Any]:
        """Ends it."""
        number = whole(token)
        if number is None:
            raise not_found()
        return self._end(number)
