"""The backends that the settings name, and which of them answers when nobody says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from privategpt.llm.base import Backend
from privategpt.llm.relay import RelayBackend

OPENAI, RELAY, QUOTING = "openai", "relay", "quoting"


class Backends:
    """`settings.LLM_BACKENDS`: a name to {"BACKEND": dotted path, "CONFIG": keyword arguments}.

    Each is made when it is first wanted, on the event loop that it serves.
    """

    def __init__(self, table: Mapping[str, Mapping[str, Any]], default: str = "") -> None:
        self._table, self._default = table, default
        self._made: dict[str, Backend] = {}
        if default:
            self._entry(default)

    def get(self, name: str) -> Backend:
        """Raises ImproperlyConfigured with the names that there are."""
        if name not in self._made:
            entry = self._entry(name)
            try:
                self._made[name] = import_string(entry["BACKEND"])(**entry.get("CONFIG", {}))
            except (ImportError, KeyError, TypeError, ValueError) as fault:
                raise ImproperlyConfigured(f'LLM_BACKENDS["{name}"] cannot be made: {fault}') from fault
        return self._made[name]

    def choose(self, *, is_grounded: bool) -> Backend:
        """The default: what the settings name; else an endpoint, else an agent of somebody's, else quotes when
        sources were searched and the built-in model when not."""
        if self._default:
            return self.get(self._default)
        if OPENAI in self._table:
            return self.get(OPENAI)
        if self._has_agent(besides_built_in=is_grounded) or QUOTING not in self._table or not is_grounded:
            return self.get(RELAY)
        return self.get(QUOTING)

    async def aclose(self) -> None:
        made, self._made = self._made, {}
        for backend in made.values():
            await backend.aclose()

    def _has_agent(self, *, besides_built_in: bool) -> bool:
        relay = self.get(RELAY)
        return isinstance(relay, RelayBackend) and relay.has_agent(besides_built_in=besides_built_in)

    def _entry(self, name: str) -> Mapping[str, Any]:
        if name not in self._table:
            raise ImproperlyConfigured(f'LLM_BACKENDS has no "{name}"; known: {", ".join(sorted(self._table))}.')
        return self._table[name]
