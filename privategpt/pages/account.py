"""One's own account: name, language, time zone, theme, password."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from accounts import devices, people, secondfactor
from accounts.addresses import peer
from accounts.models import User
from accounts.sessions import row_key
from accounts.signin import Locked
from privategpt.pages.account_forms import PasswordForm, ReadingForm, YouForm
from privategpt.pages.sentences import in_readers_language
from privategpt.pages.shell import UserRequest, frame, keep_choice


def _page(request: UserRequest, status: int = 200, **bound: Any) -> HttpResponse:
    chosen = {name: frame(request)[name] for name in ("theme", "single_keys")}
    forms = {
        "you": YouForm(instance=request.user),
        "reading": ReadingForm(instance=request.user, initial=chosen),
        "password": PasswordForm(request),
    }
    factor = {"has_second_factor": secondfactor.is_on(request.user), "codes": secondfactor.codes_left(request.user)}
    shown = forms | bound | factor | {"here": "profile"}
    return render(request, "account/profile.html", shown, status=status)


@require_safe
@login_required
def profile(request: UserRequest) -> HttpResponse:
    return _page(request)


@require_POST
@login_required
def save_you(request: UserRequest) -> HttpResponse:
    form = YouForm(request.POST, instance=_own_row(request))
    if not form.is_valid():
        return _page(request, 422, you=form)
    form.instance.save(update_fields=["name"])
    messages.success(request, gettext("Saved."))
    return redirect("profile")


@require_POST
@login_required
def save_reading(request: UserRequest) -> HttpResponse:
    form = ReadingForm(request.POST, instance=_own_row(request))
    if not form.is_valid():
        return _page(request, 422, reading=form)
    form.instance.save(update_fields=["language", "timezone"])
    response = redirect("profile")
    keep_choice(request, response, "theme", form.cleaned_data["theme"])
    keep_choice(request, response, "keys", "on" if form.cleaned_data["single_keys"] else "off")
    return response


@sensitive_post_parameters()
@require_POST
@login_required
def change_password(request: UserRequest) -> HttpResponse:
    """Ends every other session, and every token of a program's sign-in."""
    form = PasswordForm(request, request.POST)
    if not form.is_valid() or not _changed(request, form):
        return _page(request, 422, password=form)
    messages.success(request, gettext("The password is changed. All other sessions have ended."))
    response = redirect("profile")
    devices.remember_device(request, response, _own_row(request))
    return response


def _changed(request: UserRequest, form: PasswordForm) -> bool:
    """By the one way there is, which asks for the present password; what it refuses stands in the form."""
    user, wanted = _own_row(request), form.cleaned_data
    session, device = row_key(request.session.session_key), request.COOKIES.get(devices.COOKIE, "")
    actor = people.Actor(user, peer(request), "browser", session=session, device=device)
    try:
        people.edit(actor, user, password=wanted["new"], present=wanted["present"])
    except Locked as locked:
        form.add_error("present", in_readers_language(str(locked)))
    except ValidationError as refused:
        if "presentPassword" in refused.message_dict:
            form.add_error("present", gettext("This is not your present password."))
        else:
            form.add_error("new", refused.message_dict["password"])
    else:
        user.refresh_from_db()
        update_session_auth_hash(request, user)
    return form.is_valid()


def _own_row(request: UserRequest) -> User:
    """Another instance than the request's: a form writes into it before it is valid, and the page shows the name."""
    return User.objects.get(pk=request.user.pk)
