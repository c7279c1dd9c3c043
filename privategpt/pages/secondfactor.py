"""Turning the second factor on and off."""

from __future__ import annotations

from typing import Any, Final

import segno
from django.contrib import messages
from django.contrib.auth import authenticate, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.crypto import constant_time_compare
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts import audit, devices, keys, secondfactor
from accounts.addresses import peer
from accounts.models import Token
from accounts.units import unit
from privategpt.pages.sessions import end_others
from privategpt.pages.shell import UserRequest

SETTING_UP: Final = "setting up the second factor"
SET_UP_WITHIN = 900  # seconds from the password to the first code
MOST_LISTED = 200  # tokens that can be kept


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def set_up(request: UserRequest) -> HttpResponse:
    """The password first; then the secret, until a first code proves that the app has it; then the recovery codes.

    The secret is in replies to the password alone: who only has the session must not wait for its owner to use it.
    """
    if secondfactor.is_on(request.user):
        return redirect("profile")
    if request.method != "POST":
        return render(request, "account/second_factor.html", {"here": "profile"})
    if not _is_proven(request) and not ("password" in request.POST and _is_owner(request)):
        refused = {"here": "profile", "wrong": gettext("This is not your present password.")}
        return render(request, "account/second_factor.html", refused, status=422)
    device = secondfactor.begin(request.user)
    if "code" in request.POST and (codes := _turned_on(request)):
        return _started_over(request, codes)
    shown: dict[str, Any] = {
        "picture": _picture(device.config_url),
        "secret": secondfactor.secret(device),
        "here": "profile",
    }
    shown |= {"proof": signing.dumps(_proof(request), salt=SETTING_UP), "tokens": _tokens(request)}
    if "code" in request.POST:
        shown["wrong"] = gettext("That code does not match. Look for the present one.")
    return render(request, "account/second_factor.html", shown, status=422 if "wrong" in shown else 200)


def _proof(request: UserRequest) -> str:
    return keys.digest(f"{SETTING_UP} {request.user.pk} {request.user.get_session_auth_hash()}").hex()


def _is_proven(request: UserRequest) -> bool:
    """The form shows what the reply to the password gave it."""
    try:
        found = signing.loads(request.POST.get("proof", ""), salt=SETTING_UP, max_age=SET_UP_WITHIN)
    except signing.BadSignature:
        return False
    return constant_time_compare(found, _proof(request))


def _tokens(request: UserRequest) -> list[Token]:
    return list(Token.objects.live().filter(user=request.user).order_by("-pk")[:MOST_LISTED])


@unit
@transaction.atomic
def _turned_on(request: UserRequest) -> list[str]:
    """The recovery codes if the code is right; then whatever the password alone opened before is over."""
    ticked = request.POST.getlist("keep")
    codes = secondfactor.confirm(request.user, request.POST.get("code", ""))
    if codes:
        secondfactor.end_older(request.user, [row.pk for row in _tokens(request) if str(row.pk) in ticked])
        _record(request, "turn on second factor")
    return codes


def _started_over(request: UserRequest, codes: list[str]) -> HttpResponse:
    update_session_auth_hash(request, request.user)
    end_others(request)
    said = [gettext("The second factor is on. The next sign-in asks for a code.")]
    said.append(gettext("All other sessions have ended."))
    response = _shown_once(request, " ".join(said), codes)
    devices.remember_device(request, response, request.user)
    return response


@sensitive_post_parameters("password")
@require_POST
@login_required
def turn_off(request: UserRequest) -> HttpResponse:
    """By the password again."""
    if _is_owner(request):
        secondfactor.turn_off(request.user)
        _record(request, "turn off second factor")
        messages.success(request, gettext("The second factor is off."))
    else:
        messages.error(request, gettext("This is not your present password. The second factor stays on."))
    return redirect("profile")


@sensitive_post_parameters("password")
@never_cache
@require_POST
@login_required
def recovery_codes(request: UserRequest) -> HttpResponse:
    """New ones, by the password again; those from before are void."""
    if not _is_owner(request):
        messages.error(request, gettext("This is not your present password. The recovery codes stay as they were."))
        return redirect("profile")
    codes = secondfactor.new_codes(request.user)
    if not codes:  # the second factor is off
        return redirect("profile")
    _record(request, "make recovery codes")
    return _shown_once(request, gettext("These codes replace all that you had before."), codes)


def _is_owner(request: UserRequest) -> bool:
    try:
        email, password = request.user.email or "", request.POST.get("password", "")
        return authenticate(request, username=email, password=password) == request.user
    except ValidationError:  # too many failures
        return False


def _shown_once(request: UserRequest, said: str, codes: list[str]) -> HttpResponse:
    return render(request, "account/recovery_codes.html", {"said": said, "codes": codes, "here": "profile"})


def _record(request: UserRequest, action: str) -> None:
    audit.record(action, request.user, by=request.user, way="browser", address=peer(request))


def _picture(text: str) -> SafeString:
    """A QR code as SVG without inline style; it is black on white in every theme, as cameras expect it."""
    drawn = segno.make(text, error="m").svg_inline(scale=4, border=3, dark="#000", light="#fff", omitsize=False)
    return mark_safe(drawn)  # noqa: S308 - segno's own shapes, no text of anybody's in it
