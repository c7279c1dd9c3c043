"""The one screen that `manage.py serve` shows when the server answers."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from privategpt.serving.firststart import Administrator
from privategpt.serving.listener import Site

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Key:
    """The admin key: as text while it may be shown, else where it can be read; neither when the operator set it."""

    text: str = ""
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the screen says."""

    site: Site
    data: Path
    key: Key
    administrator: Administrator | None
    agents: int
    strangers: Sequence[Path]  # databases that lie beside a new, empty one

    def text(self, *, colours: bool) -> str:
        """The screen; for a terminal with what matters in bold."""
        title = f"Switchboard answers at {self.site.url}"
        lines = [f"{BOLD}{title}{PLAIN}" if colours else title, ""]
        lines += [f"  {name:<12} {value}" for name, value in self._rows()]
        lines += ["", "  Ask something:", f"    {self._quick_start()}", ""]
        warning = "\n".join(self._warning())
        return "\n".join(lines) + (f"{BOLD}{warning}{PLAIN}" if colours and warning else warning)

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield "Admin site", f"{self.site.url}/admin/"
        if self.administrator:
            yield "E-mail", self.administrator.email
            password = self.administrator.password
            yield "Password", f"{password}   (shown only now)" if password else "the one in ADMIN_PASSWORD"
        yield "Admin key", self._key()
        yield "Agents", self._agents()
        if self.site.is_everywhere:
            yield "From outside", f"http://{socket.gethostname()}:{self.site.port}"
        yield "Data", str(self.data)
        yield "Stop", "Ctrl+C (what is being answered is finished first)"

    def _key(self) -> str:
        if self.key.text:
            return f"{self.key.text}   (shown only now; kept in {self.key.path})"
        return f"in {self.key.path}" if self.key.path else "the one you set"

    def _agents(self) -> str:
        if self.agents:
            return f"{self.agents} connected"
        built_in = "`make model` installs the built-in one, " if settings.BUILTIN_AGENT else ""
        return f"none yet: {built_in}README tells how others dial in"

    def _quick_start(self) -> str:
        if self.key.text:
            credential = shlex.quote(f"Authorization: {self.key.text}")
        elif self.key.path:
            credential = f'"Authorization: $(cat {shlex.quote(str(self.key.path))})"'
        else:
            credential = "'Authorization: THE-ADMIN-KEY'"
        return f"""curl {self.site.url}/api/ask -X POST -H {credential} -d '{{"content": "Hello world"}}'"""

    def _warning(self) -> Iterator[str]:
        if not self.strangers:
            return
        yield "  !! THE DATABASE IS NEW AND EMPTY, although this folder holds others:"
        yield from (f"  !!   {path}" for path in self.strangers[-5:])
        yield "  !! If your data is in one of them, stop the server and put that file in place."
        yield ""
