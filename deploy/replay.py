"""Carries out the Dockerfile's own steps without a container engine, and asks the result a question.

    sudo python3 deploy/replay.py [--folder FOLDER] [--certificates FILE]

Each stage is a copy of a fresh Debian (made by debootstrap, kept in FOLDER for the next time); COPY takes what
.dockerignore lets through, RUN runs in it by chroot. The last stage then starts as compose.yml starts it: not as root,
without capabilities, on a root that is mounted read-only, with nothing but the volume and /tmp to write to. Needs root,
debootstrap and the package registries; --certificates names the authorities to trust where this machine has its own."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
SUITES = {"12": "bookworm", "13": "trixie"}
PASSED_ON = re.compile(r"(https?_proxy|no_proxy|PIP_(INDEX_URL|EXTRA_INDEX_URL|DEFAULT_TIMEOUT))$", re.IGNORECASE)
CERTIFICATES = "/run/certificates.pem"  # inside
STARTS_WITHIN = 90.0  # seconds
PORT = "18080"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(slots=True)
class Stage:
    """A file system that grows with each step, and what its image would say of itself."""

    root: Path
    folder: str = "/"
    user: str = "0:0"
    environment: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    entry: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def instructions(text: str) -> list[tuple[str, str]]:
    """The Dockerfile's instructions in their order, comments gone and continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def ignored(path: str, patterns: list[str]) -> bool:
    """Whether .dockerignore keeps this path, relative to the context, out of the image."""
    parents = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    return any(
        fnmatch.fnmatch(part, pattern) or (pattern.startswith("**/") and fnmatch.fnmatch(Path(part).name, pattern[3:]))
        for part in parents
        for pattern in patterns
    )


class Replay:
    """The stages by their names, in a folder of its own."""

    def __init__(self, folder: Path, certificates: Path | None) -> None:
        self._folder = folder
        self._certificates = certificates
        self._patterns = [line for line in (HERE / ".dockerignore").read_text().split() if line]
        self.stages: dict[str, Stage] = {}

    def build(self) -> Stage:
        """The last stage, every step of it done. Raises CalledProcessError for the step that fails."""
        stage: Stage | None = None
        for word, rest in instructions((HERE / "Dockerfile").read_text()):
            sys.stdout.write(f"{word} {rest[:110]}\n")
            sys.stdout.flush()
            if word == "FROM":
                stage = self._begin(rest)
            elif stage is None:
                raise SystemExit("The Dockerfile does not begin with FROM.")
            else:
                self._step(stage, word, rest)
        if stage is None:
            raise SystemExit("The Dockerfile has no stage.")
        return stage

    def _begin(self, rest: str) -> Stage:
        image, *name = re.split(r"\s+AS\s+", rest, flags=re.IGNORECASE)
        base = self._base(SUITES[image.partition(":")[2].partition("-")[0]])
        root = self._folder / f"stage-{len(self.stages)}"
        if root.exists():
            shutil.rmtree(root)
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(root)], check=True)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        stage = self.stages[name[0] if name else str(len(self.stages))] = Stage(root)
        return stage

    def _base(self, suite: str) -> Path:
        base = self._folder / suite
        if not (base / "etc/debian_version").exists():
            draft = base.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            subprocess.run(["debootstrap", "--variant=minbase", suite, str(draft)], check=True, stdout=sys.stderr)
            draft.rename(base)
        return base

    def _step(self, stage: Stage, word: str, rest: str) -> None:
        match word:
            case "RUN":
                self.inside(stage, ["/bin/sh", "-c", rest], stage.folder)
            case "COPY":
                self._copy(stage, shlex.split(rest))
            case "ENV":
                for pair in shlex.split(rest):
                    name, _, value = pair.partition("=")
                    stage.environment[name] = value
            case "WORKDIR":
                stage.folder = rest
                (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                stage.user = rest
            case "VOLUME":
                stage.volumes.append(rest)
            case "ENTRYPOINT":
                stage.entry = json.loads(rest)
            case "CMD":
                stage.command = json.loads(rest)
            case "HEALTHCHECK":
                stage.health = json.loads(rest.partition("CMD")[2])
            case "EXPOSE" | "STOPSIGNAL":
                pass
            case _:
                raise SystemExit(f"deploy/replay.py does not know the instruction {word}.")

    def _copy(self, stage: Stage, words: list[str]) -> None:
        source = next((word.partition("=")[2] for word in words if word.startswith("--from=")), "")
        *names, target = (word for word in words if not word.startswith("--"))
        to = stage.root / os.path.join(stage.folder, target).lstrip("/")  # noqa: PTH118 - an absolute target wins
        for name in names:
            if source:
                subprocess.run(["cp", "-aT", str(self.stages[source].root / name.lstrip("/")), str(to)], check=True)
            elif name == ".":
                self._copy_context(to)
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy(HERE / name, to)

    def _copy_context(self, to: Path) -> None:
        for found in HERE.rglob("*"):
            path = str(found.relative_to(HERE))
            if found.is_file() and not ignored(path, self._patterns):
                (to / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(found, to / path)

    def inside(self, stage: Stage, command: list[str], folder: str) -> None:
        """Runs a step in the stage's root, as root, with the stage's environment."""
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            mounts = [f"mount --bind /dev {stage.root}/dev", f"mount -t proc proc {stage.root}/proc"]
            if self._certificates:
                place = f"{stage.root}{CERTIFICATES}"
                mounts.append(f"touch {place}; mount --bind {self._certificates} {place}")
            run = shlex.join(["chroot", str(stage.root), "/usr/bin/env", "-C", folder, *command])
            script.write("\n".join(["set -e", *mounts, f"exec {run}"]))
            script.flush()
            environment = {name: value for name, value in os.environ.items() if PASSED_ON.match(name)}
            environment |= {"PATH": PATH, "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
            if self._certificates:
                environment |= {"PIP_CERT": CERTIFICATES, "SSL_CERT_FILE": CERTIFICATES}
            subprocess.run(["unshare", "--mount", "sh", script.name], check=True, env=environment | stage.environment)


class Container:
    """The last stage, running as compose.yml runs it."""

    def __init__(self, stage: Stage, **settings: str) -> None:
        self._stage = stage
        self._settings = {**stage.environment, **settings}
        program = self._command([*stage.entry, *stage.command], fresh=True)
        self.process = subprocess.Popen(program, env={"PATH": PATH}, start_new_session=True)

    def end(self) -> None:
        """As an engine ends it: SIGTERM, and SIGKILL for what is left after a while."""
        os.killpg(self.process.pid, signal.SIGTERM)  # unshare itself does not pass it on
        try:
            self.process.wait(45)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)

    def _command(self, program: list[str], *, fresh: bool = False) -> list[str]:
        root, volume = self._stage.root, self._stage.root / self._stage.volumes[0].lstrip("/")
        user, _, group = self._stage.user.partition(":")
        mounts = [
            f"mount --bind {root} {root}",
            f"mount --bind {volume} {volume}",
            f"mount -t proc proc {root}/proc",
            f"mount --bind /dev {root}/dev",
            f"mount -o remount,bind,ro {root}",
            f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",  # noqa: S108 - the container's own
        ]
        dropped = [
            "setpriv",
            "--reuid",
            user,
            "--regid",
            group,
            "--clear-groups",
            "--bounding-set=-all",
            "--no-new-privs",
        ]
        settings = [f"{name}={value}" for name, value in self._settings.items()]
        run = ["chroot", str(root), *dropped, "/usr/bin/env", "-i", "-C", self._stage.folder, *settings, *program]
        namespaces = ["unshare", "--mount", *(["--pid", "--fork", "--kill-child"] if fresh else [])]
        return [*namespaces, "sh", "-c", "\n".join(["set -e", *mounts, f"exec {shlex.join(run)}"])]

    def is_healthy(self) -> bool:
        """What the image's own health check says."""
        return subprocess.run(self._command(self._stage.health), env={"PATH": PATH}, check=False).returncode == 0

    def shell(self, line: str) -> bool:
        """Whether a line of shell, as the container's user in its file system, succeeds."""
        return subprocess.run(self._command(["/bin/sh", "-c", line]), env={"PATH": PATH}, check=False).returncode == 0


def ask(key: str) -> str:
    """The answer to the README's first question, by the built-in model."""
    body = json.dumps({"content": "Hello world"}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/api/ask", body, {"Authorization": key})
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - our own
        content: str = json.loads(reply.read())["content"]
        return content


def until(claim: str, holds: object, *, within: float = STARTS_WITHIN) -> None:
    """Waits until `holds()` is true. Raises SystemExit."""
    end = time.monotonic() + within
    while not holds():  # type: ignore[operator]
        if time.monotonic() > end:
            raise SystemExit(f"Not within {within:.0f} s: {claim}.")
        time.sleep(0.5)
    sys.stdout.write(f"ok: {claim}\n")


def answers(key: str) -> bool:
    try:
        return bool(ask(key))
    except urllib.error.HTTPError:
        return False  # the model is still being loaded


def try_out(stage: Stage) -> None:
    """Starts it, asks it, and looks for what an attacker would want. Raises SystemExit at what does not hold."""
    key = "replayed-" + os.urandom(12).hex()
    container = Container(stage, PORT=PORT, ADMIN_KEY=key)
    try:
        until("the image's health check passes", container.is_healthy)
        until("the first question is answered", lambda: answers(key))
        for claim, line in {
            "it does not run as root": '[ "$(id -u)" != 0 ]',
            "its root cannot be written": "! touch /app/x /opt/venv/x /x 2>/dev/null",
            "its volume can": "touch /data/x && rm /data/x",
            "it has no compiler": "! command -v gcc cc g++ clang make",
            "it can dump a PostgreSQL": "pg_dump --version >/dev/null",
        }.items():
            until(claim, lambda line=line: container.shell(line), within=1)
    finally:
        container.end()


def main() -> int:
    """Builds and tries out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "switchboard-replay")
    parser.add_argument("--certificates", type=Path, help="a bundle of certificate authorities, for the steps alone")
    given = parser.parse_args()
    missing = [name for name in ("debootstrap", "unshare", "setpriv", "chroot") if not shutil.which(name)]
    if os.geteuid() or missing:
        sys.stderr.write(f"deploy/replay.py needs root{' and ' + ', '.join(missing) if missing else ''}.\n")
        return 2
    given.folder.mkdir(parents=True, exist_ok=True)
    try_out(Replay(given.folder.resolve(), given.certificates).build())
    sys.stdout.write("The image's steps work.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
