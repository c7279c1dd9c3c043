"""Signing in and out. Every failure reads the same, so nobody learns who has an account."""

from __future__ import annotations

import time
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import authenticate, login, logout
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.crypto import constant_time_compare
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts import devices, keys, secondfactor, signlog
from accounts.addresses import door, peer
from accounts.models import User
from accounts.sessions import ADDRESS, DEVICE, Session
from privategpt.pages.places import page_at
from privategpt.pages.sentences import in_readers_language

HALF_WAY: Final = "half_way"  # in the session: who gave the right password, when, and where they want to go
CODE_WITHIN = 300  # seconds between the password and the code


class SignInForm(forms.Form):
    """The address is no EmailField: what is no address fails as one that is unknown."""

    email = forms.CharField(max_length=254)
    password = forms.CharField(max_length=1024, strip=False)


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest, to: str = "") -> HttpResponse:
    """The password; with a second factor, the code is asked for on the next page."""
    wanted = request.POST.get("next") or request.GET.get("next") or to
    if request.user.is_authenticated:
        return redirect(own_page(request, wanted))
    shown: dict[str, Any] = {"next": wanted, "email": request.POST.get("email", "")}
    if request.method != "POST":
        return render(request, "account/sign_in.html", shown)
    user, wrong = _opened(request)
    if user is None:
        return render(request, "account/sign_in.html", shown | {"wrong": wrong}, status=422)
    if secondfactor.is_on(user):
        request.session.cycle_key()
        request.session[HALF_WAY] = {"user": str(user.pk), "at": time.time(), "next": wanted, "mark": _mark(user)}
        return redirect("sign-in-code")
    return _let_in(request, user, wanted)


def _opened(request: HttpRequest) -> tuple[User | None, str]:
    posted = request.POST
    form = SignInForm({"email": posted.get("email", posted.get("username")), "password": posted.get("password")})
    if form.is_valid():
        email, password = form.cleaned_data["email"], form.cleaned_data["password"]
        try:
            found: Any = authenticate(request, username=email, password=password)
        except ValidationError as locked:  # too many failures: even the right password does not open now
            return None, in_readers_language(locked.messages[0])
        if found is not None:
            return found, ""
    return None, gettext("Email and password do not match.")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_code(request: HttpRequest) -> HttpResponse:
    """The six digits, or a recovery code. The password was right, but nobody is signed in yet."""
    half_way = request.session.get(HALF_WAY, {})
    user = _half_way_user(half_way)
    if user is None:
        request.session.pop(HALF_WAY, None)
        return redirect("sign-in")
    if request.method != "POST":
        return render(request, "account/sign_in_code.html")
    known = devices.known_device(request.COOKIES.get(devices.COOKIE, ""), user)
    opened_by = secondfactor.matches(user, request.POST.get("code", ""), peer(request), known)
    if not opened_by:
        signlog.note(signlog.WRONG_CODE, user, way="browser", address=peer(request))
        wrong = gettext("That code does not match. Wait for the next one; each wrong code makes the pause longer.")
        return render(request, "account/sign_in_code.html", {"wrong": wrong}, status=422)
    del request.session[HALF_WAY]
    if opened_by == secondfactor.RECOVERY:
        left = secondfactor.codes_left(user)
        said = ngettext("%(left)s recovery code is left.", "%(left)s recovery codes are left.", left) % {"left": left}
        messages.success(request, said)
        return _let_in(request, user, half_way["next"] or resolve_url("profile"))
    return _let_in(request, user, half_way["next"])


def _half_way_user(half_way: Any) -> User | None:
    """Who gave the right password a short while ago, if it still is theirs."""
    user = User.objects.filter(pk=half_way.get("user"), is_active=True).first()
    if user is None or not 0 <= time.time() - half_way["at"] <= CODE_WITHIN:
        return None
    return user if constant_time_compare(half_way.get("mark", ""), _mark(user)) else None


def _mark(user: User) -> str:
    """Changes with the password and with whatever else ends sessions."""
    return keys.digest(f"{HALF_WAY} {user.pk} {user.get_session_auth_hash()}").hex()


def _let_in(request: HttpRequest, user: User, wanted: str) -> HttpResponse:
    Session.objects.end_surplus(user, settings.PER_USER["sessions"] - 1)
    login(request, user)
    request.session[DEVICE] = request.headers.get("User-Agent", "")
    request.session[ADDRESS] = peer(request)
    response = redirect(own_page(request, wanted))
    devices.remember_device(request, response, user)
    signlog.note(signlog.SIGN_IN, user, way=door(request), address=peer(request))
    return response


def own_page(request: HttpRequest, wanted: str) -> str:
    """Where the reader wanted to go, if that is one of our own pages; from what takes forms alone, to its page."""
    if url_has_allowed_host_and_scheme(wanted, allowed_hosts=None, require_https=request.is_secure()):
        return page_at(wanted)
    return resolve_url(settings.LOGIN_REDIRECT_URL)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """By a form only: a link in somebody's text must not do it."""
    _note_sign_out(request)
    logout(request)
    return redirect("sign-in")


def _note_sign_out(request: HttpRequest) -> None:
    if isinstance(request.user, User):
        signlog.note(signlog.SIGN_OUT, request.user, way=door(request), address=peer(request))


@sensitive_post_parameters("password")
def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """In place of the admin site's own page, which knows no second factor. Programs post `username` to it."""
    if request.user.is_authenticated and not getattr(request.user, "is_staff", False):
        raise Http404
    return sign_in(request, to=resolve_url("admin:index"))


def admin_sign_out(request: HttpRequest) -> HttpResponse:
    """The admin site's own page, on the record."""
    if request.method == "POST":
        _note_sign_out(request)
    return admin.site.admin_view(admin.site.logout)(request)
