"""The languages and time zones that a user may choose."""

from functools import cache
from typing import Final
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError

# Contract 2's list, in each language's own name.
LANGUAGES: Final[dict[str, str]] = {
    "ar": "العربية",
    "bg": "български",
    "cs": "čeština",
    "de": "Deutsch",
    "el": "Ελληνικά",
    "en": "English",
    "eo": "Esperanto",
    "es": "español",
    "et": "eesti",
    "fa": "فارسی",
    "fi": "suomi",
    "fr": "français",
    "he": "עברית",
    "hi": "हिन्दी",
    "hu": "magyar",
    "id": "Bahasa Indonesia",
    "it": "italiano",
    "ja": "日本語",
    "lt": "lietuvių",
    "lv": "latviešu",
    "nl": "Nederlands",
    "no": "norsk",
    "pl": "polski",
    "pt": "português",
    "pt-br": "português (Brasil)",
    "ro": "română",
    "ru": "русский",
    "sk": "slovenčina",
    "sv": "svenska",
    "tr": "Türkçe",
    "uk": "українська",
    "zh": "中文",
}


@cache  # the first call walks the system's folder of time zones
def timezones() -> tuple[str, ...]:
    """The IANA names that this machine knows, in order."""
    return tuple(sorted(available_timezones()))


def known_language(value: str) -> None:
    """Raises ValidationError on a code that is not in the list."""
    if value not in LANGUAGES:
        raise ValidationError(f"Languages are: {', '.join(LANGUAGES)}.")


def known_timezone(value: str) -> None:
    """Raises ValidationError on anything but an IANA name."""
    if value not in timezones():
        raise ValidationError("Time zones have IANA names like Europe/Berlin.")
