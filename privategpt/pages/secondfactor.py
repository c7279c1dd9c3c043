"""Turning the second factor on and off."""

from __future__ import annotations

import segno
from django.contrib import messages
from django.contrib.auth import authenticate
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts import audit, secondfactor
from accounts.addresses import peer
from privategpt.pages.shell import UserRequest


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def set_up(request: UserRequest) -> HttpResponse:
    """Shows the secret until a first code proves that the app has it; then the recovery codes, this once."""
    if secondfactor.is_on(request.user):
        return redirect("profile")
    if request.method == "POST" and (codes := secondfactor.confirm(request.user, request.POST.get("code", ""))):
        _record(request, "turn on second factor")
        said = gettext("The second factor is on. The next sign-in asks for a code.")
        return _shown_once(request, said, codes)
    device = secondfactor.begin(request.user)
    shown = {"picture": _picture(device.config_url), "secret": secondfactor.secret(device), "here": "profile"}
    if request.method == "POST":
        shown["wrong"] = gettext("That code does not match. Look for the present one.")
    return render(request, "account/second_factor.html", shown, status=422 if "wrong" in shown else 200)


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
