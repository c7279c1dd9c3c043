"""The real nginx with deploy/nginx.conf, names and ports changed and nothing else."""

from __future__ import annotations

import datetime
import re
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.running import ROOT, until

NAME = "switchboard.example.com"


def program() -> str | None:
    """Where nginx is; Debian keeps it out of an ordinary user's path."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


class Nginx:
    """In front of some Switchboards, until the end of the `with` block."""

    def __init__(self, folder: Path, *backends: int) -> None:
        self._folder = folder
        self.port, self.plain_port = _free_port(), _free_port()
        self.authority = _certificate(folder)
        text = (ROOT / "deploy/nginx.conf").read_text()
        servers = "\n".join(f"server 127.0.0.1:{port} max_fails=2 fail_timeout=5s;" for port in backends)
        for pattern, found in {
            r"server 127\.0\.0\.1:8080[^;]*;": servers,
            r"listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            r"listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            r"listen \[::\][^;]*;": "",
            r"/etc/ssl/certs/switchboard.pem": str(self.authority),
            r"/etc/ssl/private/switchboard.key": str(folder / "key.pem"),
        }.items():
            text, changed = re.subn(pattern, found, text)
            assert changed, pattern
        (folder / "switchboard.conf").write_text(text)
        places = "\n".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
            f"events {{ worker_connections 512; }}\n"
            f"http {{ access_log off; {places}\ninclude {folder}/switchboard.conf; }}\n"
        )

    def __enter__(self) -> Self:
        found = program()
        assert found
        self._process = subprocess.Popen(
            [
                found,
                "-p",
                str(self._folder),
                "-e",
                str(self._folder / "error.log"),
                "-c",
                str(self._folder / "nginx.conf"),
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(self._answers, "nginx listens")
        return self

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._process.stderr and self._process.stderr.read()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *fault: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        if self._process.stderr:
            self._process.stderr.close()

    @property
    def trust(self) -> ssl.SSLContext:
        """For clients: believes this nginx's certificate and no other."""
        return ssl.create_default_context(cafile=str(self.authority))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _certificate(folder: Path) -> Path:
    """Writes cert.pem and key.pem: valid for a day, for NAME and loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "cert.pem"
