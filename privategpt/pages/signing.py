"""Signing in and out. Every failure reads the same, so nobody learns who has an account."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.contrib.auth import authenticate, login, logout
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST


class SignInForm(forms.Form):
    """The address is no EmailField: what is no address fails as one that is unknown."""

    email = forms.CharField(max_length=254)
    password = forms.CharField(max_length=1024, strip=False)


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect(next_page(request))
    if request.method != "POST":
        return render(request, "account/sign_in.html", {"next": request.GET.get("next", "")})
    form = SignInForm(request.POST)
    wrong = gettext("Email and password do not match.")
    if form.is_valid():
        try:
            user = authenticate(request, username=form.cleaned_data["email"], password=request.POST["password"])
        except ValidationError as locked:  # too many failures: even the right password does not open now
            user, wrong = None, locked.messages[0]
        if user is not None:
            login(request, user)
            return redirect(next_page(request))
    shown = {"wrong": wrong, "email": request.POST.get("email", ""), "next": request.POST.get("next", "")}
    return render(request, "account/sign_in.html", shown, status=422)


def next_page(request: HttpRequest) -> str:
    """Where the reader wanted to go, if that is one of our own pages."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(wanted, allowed_hosts=None, require_https=request.is_secure()):
        return wanted
    return resolve_url(settings.LOGIN_REDIRECT_URL)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("sign-in")
