"""Fields that take their own type and no other: DRF's would take 5 for a text and "yes" for a truth."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from rest_framework import serializers

from accounts.locales import LANGUAGES, timezones
from accounts.roles import ALIASES, ROLES

if TYPE_CHECKING:
    Serializer = serializers.Serializer[Any]
else:
    Serializer = serializers.Serializer

MOST_NAMES = 1000  # in one list
LONGEST_NAME = 150


class Text(serializers.CharField):
    """A JSON string, kept as it came."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False} | options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Flag(serializers.BooleanField):
    """JSON's true or false."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=str(data)[:50])
        return data


class Whole(serializers.IntegerField):
    """A JSON number without a fraction."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return data


class Number(serializers.FloatField):
    """A JSON number."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        try:
            return float(data)
        except OverflowError:  # a whole number of some hundred digits
            self.fail("invalid")


class Seconds(serializers.FloatField):
    """A number of a query. What is no number, or not a finite one, is refused."""

    def to_internal_value(self, data: Any) -> float:
        found = float(super().to_internal_value(data))
        if not isfinite(found):
            self.fail("invalid")
        return found


class Names(serializers.ListField):
    """A list of names. Clients that have none send `[null]` or `[""]`: such entries are no names."""

    child = Text(allow_blank=True, allow_null=True, max_length=LONGEST_NAME)

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "max_length": MOST_NAMES} | options)

    def to_internal_value(self, data: Any) -> list[str]:
        if not isinstance(data, list):
            self.fail("not_a_list", input_type=type(data).__name__)
        if len(data) > MOST_NAMES:  # before each one is looked at: a million of them would take minutes
            raise serializers.ValidationError(f"No more than {MOST_NAMES} names, please.")
        found = super().to_internal_value(data)
        return list(dict.fromkeys(name for name in found if name))


class OneOrMore(Names):
    """A name, or a list of names. The empty text stays: it means what belongs to no group."""

    def to_internal_value(self, data: Any) -> list[str]:
        if isinstance(data, str):
            self.child.run_validation(data)
            return [data]
        return super().to_internal_value(data)


class Language(Text):
    """One of the contract's codes, in any case; the empty text is none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "allow_blank": True, "help_text": ", ".join(LANGUAGES)} | options)

    def to_internal_value(self, data: Any) -> str:
        code = super().to_internal_value(data).strip().lower()
        if code and code not in LANGUAGES:
            raise serializers.ValidationError(f"Unknown language. Known: {', '.join(LANGUAGES)}.")
        return code


class Zone(Text):
    """An IANA name; the empty text is none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "allow_blank": True, "max_length": 64} | options)

    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data).strip()
        if name and name not in timezones():
            raise serializers.ValidationError("Unknown time zone. Time zones have IANA names like Europe/Berlin.")
        return name


class Roles(Names):
    """Role codes, aliases included."""

    def to_internal_value(self, data: Any) -> list[str]:
        found = [ALIASES.get(role, role) for role in super().to_internal_value(data)]
        unknown = [role for role in found if role not in ROLES]
        if unknown:
            raise serializers.ValidationError(f"Unknown role: {unknown[0]}. Known: {', '.join(ROLES)}.")
        return list(dict.fromkeys(found))


class Body(Serializer):
    """A request's fields. `null` for a field that may be left out leaves it out; unknown fields are ignored."""

    def to_internal_value(self, data: Any) -> Any:
        fields = self.fields
        kept = {
            name: value
            for name, value in data.items()
            if name in fields and (value is not None or fields[name].required)
        }
        return super().to_internal_value(kept)


class Empty(Body):
    """No fields."""


class Page(Body):
    """Which part of a list, from the query."""

    page = serializers.IntegerField(min_value=1, max_value=10**9, default=1)
    perPage = serializers.IntegerField(source="per_page", min_value=1, max_value=100, default=20)  # noqa: N815


class Wait(Body):
    """How long to wait, from the query: seconds, at most 60 of them."""

    wait = Seconds(min_value=0, default=0)
