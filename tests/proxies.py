"""The real nginx and the real Caddy with deploy/'s configurations, names and ports changed and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from tests import reports
from tests.certificates import certificate
from tests.patience import PATIENCE
from tests.running import ROOT, until

NAME = "switchboard.example.com"


class Proxy(ABC):
    """In front of some Switchboards, until the end of the `with` block."""

    name: str
    package: str  # Debian's

    def __init__(self, folder: Path, *backends: int) -> None:
        self.folder = folder
        self.port, self.plain_port = _free_port(), _free_port()
        self.authority, self.key = certificate(folder, NAME)
        self._command = self.configured(backends)

    @classmethod
    def program(cls) -> str | None:
        """Where it is; Debian keeps servers out of an ordinary user's path."""
        return shutil.which(cls.name) or shutil.which(cls.name, path="/usr/sbin:/usr/local/sbin")

    @abstractmethod
    def configured(self, backends: tuple[int, ...]) -> list[str]:
        """Writes what it reads; the command that runs it in the foreground."""

    def __enter__(self) -> Self:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"HOME": str(self.folder)},
            )
        reports.has_log(self, self.name, (self.folder / "log").read_text)
        until(self._answers, f"{self.name} listens")
        return self

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *fault: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def trust(self) -> ssl.SSLContext:
        """For clients: believes this proxy's certificate and no other."""
        return ssl.create_default_context(cafile=str(self.authority))


class Nginx(Proxy):
    """deploy/nginx.conf."""

    name = "nginx"
    package = "nginx-light"

    def configured(self, backends: tuple[int, ...]) -> list[str]:
        servers = "\n".join(f"server 127.0.0.1:{port} max_fails=2 fail_timeout=5s;" for port in backends)
        text = _changed(
            "nginx.conf",
            {
                r"server 127\.0\.0\.1:8080[^;]*;": servers,
                r"listen 80;": f"listen 127.0.0.1:{self.plain_port};",
                r"listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
                r"listen \[::\][^;]*;": "",
                r"/etc/ssl/certs/switchboard.pem": str(self.authority),
                r"/etc/ssl/private/switchboard.key": str(self.key),
            },
        )
        (self.folder / "switchboard.conf").write_text(text)
        places = "\n".join(
            f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        whole = self.folder / "nginx.conf"
        whole.write_text(
            f"daemon off; pid {self.folder}/pid; error_log {self.folder}/error.log; worker_processes 1;\n"
            f"events {{ worker_connections 512; }}\n"
            f"http {{ access_log off; {places}\ninclude {self.folder}/switchboard.conf; }}\n"
        )
        return [str(self.program()), "-p", str(self.folder), "-e", str(self.folder / "error.log"), "-c", str(whole)]


class Caddy(Proxy):
    """deploy/Caddyfile."""

    name = "caddy"
    package = "caddy"

    def configured(self, backends: tuple[int, ...]) -> list[str]:
        text = _changed(
            "Caddyfile",
            {
                r"(?m)^switchboard\.example\.com \{": f"{NAME} {{\n\ttls {self.authority} {self.key}",
                r"reverse_proxy 127\.0\.0\.1:8080": " ".join(["reverse_proxy", *map("127.0.0.1:{}".format, backends)]),
            },
        )
        place = self.folder / "Caddyfile"
        place.write_text(
            f"{{\n\tadmin off\n\tdefault_bind 127.0.0.1\n\thttp_port {self.plain_port}\n"
            f"\thttps_port {self.port}\n\tstorage file_system {self.folder}/kept\n}}\n{text}"
        )
        return [str(self.program()), "run", "--adapter", "caddyfile", "--config", str(place)]


PROXIES: list[type[Proxy]] = [Nginx, Caddy]


def _changed(name: str, changes: dict[str, str]) -> str:
    text = (ROOT / "deploy" / name).read_text()
    for pattern, found in changes.items():
        text, changed = re.subn(pattern, found, text)
        assert changed, pattern
    return text


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
