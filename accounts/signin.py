"""Signing in with e-mail and password, for every door. Failures are counted; too many lock the door for a while.

Who was signed in from the same browser or network before is counted apart, so that strangers cannot lock them out."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction

from accounts import devices, passwords, signlog, throttle
from accounts.addresses import network
from accounts.fields import canonical_email
from accounts.models import User
from accounts.passwords import LONGEST_PASSWORD as LONGEST_PASSWORD
from accounts.throttle import Locked as Locked
from accounts.throttle import Place
from accounts.units import unit


class WrongCredentials(Exception):
    """Unknown address, wrong password or retired user: nobody learns which."""


def sign_in(email: str, password: str, address: str, *, cookie: str = "", way: str = "api") -> User:
    """The user whom e-mail and password open; `cookie` is a browser's of `devices`, `way` names the door.

    What goes wrong is noted here, a sign-in by the door, which may want a code. Raises WrongCredentials, Locked.
    """
    claimed = User.objects.filter(email=email).first() if canonical_email(email) else None
    places = _places(claimed, email, address, cookie)
    try:
        return _tried(claimed, email, password, places, address, way)
    except Locked:
        signlog.note(signlog.REFUSED, claimed or email, way=way, address=address)
        raise


@unit
def _tried(user: User | None, email: str, password: str, places: list[Place], address: str, way: str) -> User:
    throttle.refuse_locked(places)
    claimed, user = user, _opened(user, password)
    with transaction.atomic():
        # Again: of guesses made at once, those that end after the limit must learn nothing.
        throttle.take_turns(places)
        throttle.refuse_locked(places)
        if user is None:
            signlog.note(signlog.FAILED, claimed or email, way=way, address=address)
            for place in throttle.count(places):
                _note_lock(place, claimed or email, way, address)
        else:
            throttle.forgive(places[0])
            devices.remember_address(address, user)
    if user is None:
        raise WrongCredentials
    return user


def _note_lock(place: Place, who: User | str, way: str, address: str) -> None:
    """Of an account by its name, of a network by its address alone."""
    is_network = place.name == network(address)
    signlog.note(signlog.LOCKED, signlog.NETWORK if is_network else who, way=way, address=address)


def _places(user: User | None, email: str, address: str, cookie: str) -> list[Place]:
    """Where a failure counts. A known browser stands for itself; in a known network guessers may sit as well."""
    account, host = canonical_email(email) or "", network(address)
    limit = settings.SIGN_IN["failures"]
    is_known = devices.is_known_address(address, user)
    if user and (device := devices.known_device(cookie, user)):
        return [Place(account, f"sign-in device {device}", limit)]
    own = f"sign-in account {account}"
    return [
        Place(account, f"{own} from {host}" if is_known else own, limit),
        Place(host, f"sign-in address {host}", settings.SIGN_IN["failures_per_address"]),
    ]


def _opened(user: User | None, password: str) -> User | None:
    if user is None or len(password) > LONGEST_PASSWORD:
        for form in passwords.forms(password[:LONGEST_PASSWORD]):  # as long as for a user that there is
            make_password(form)
        return None
    return user if user.check_password(password) and user.is_active else None
