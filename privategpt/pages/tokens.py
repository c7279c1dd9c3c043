"""One's own tokens: made, shown once, revoked."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import issuing
from accounts.actors import Actor
from accounts.addresses import peer
from accounts.models import Token
from accounts.units import unit
from privategpt.api.credentials import SCOPES
from privategpt.pages.account_forms import ABILITIES, ANSWER, TokenForm
from privategpt.pages.shell import UserRequest

MOST_TOKENS = 200  # of one user; programs' sign-ins do not count


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def tokens(request: UserRequest) -> HttpResponse:
    """The key goes into the page that answers its making; a redirect would have to keep it somewhere."""
    form = TokenForm(request.user, request.POST if request.method == "POST" else None)
    if not form.is_bound:
        return _page(request, form)
    if form.is_valid() and _live(request).exclude(kind=Token.Kind.API, scopes=[]).count() >= MOST_TOKENS:
        form.add_error(None, gettext("You have %(most)d tokens already. Revoke some.") % {"most": MOST_TOKENS})
    if not form.is_valid():
        return _page(request, form, status=422)
    token, key = _make(request, form)
    return _page(request, TokenForm(request.user), made=token, key=key)


@unit
def _make(request: UserRequest, form: TokenForm) -> tuple[Token, str]:
    wanted = form.cleaned_data
    scopes = [scope for scope in SCOPES if scope in wanted["may"]]
    return issuing.make(
        _actor(request),
        form.kind,
        request.user,
        name=wanted["name"],
        days=wanted["ends"],
        scopes=scopes,
        groups=wanted.get("groups") or (),
    )


def _actor(request: UserRequest) -> Actor:
    return Actor(request.user, peer(request), "browser")


@require_POST
@login_required
def revoke_token(request: UserRequest, pk: int) -> HttpResponse:
    token = get_object_or_404(_live(request), pk=pk)
    issuing.end(_actor(request), token)
    return redirect("tokens")


def _live(request: UserRequest) -> Any:
    return Token.objects.live().filter(user=request.user)


def _page(request: UserRequest, form: TokenForm, status: int = 200, **made: Any) -> HttpResponse:
    rows = [_row(token) for token in _live(request).prefetch_related("groups").order_by("-pk")[:500]]
    shown = {"form": form, "rows": rows, "here": "tokens", **made}
    return render(request, "account/tokens.html", shown, status=status)


def _row(token: Token) -> dict[str, Any]:
    """Also what the user may not do any more: the token was made for it, and would again."""
    given = [ANSWER] if token.kind == Token.Kind.AGENT else token.scopes
    may = [ABILITIES.get(ability, ability) for ability in given]
    return {"token": token, "may": may, "groups": list(token.groups.all())}
