"""Static files under names that change with what is in them, so that browsers keep them for good; compressed.

Nothing is collected: a file is read, hashed and compressed when a page first names it. Under its plain name it is
served by WhiteNoise, as before, for what refers to it by that name."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.core.exceptions import SuspiciousFileOperation
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from project.middleware import Middleware, Response

DIGITS = 12  # of the hash in a name: 48 bits
FOR_A_MINUTE = "public, max-age=60"
FOR_GOOD = "public, max-age=31536000, immutable"
HASHED = re.compile(rf"(.+)\.[0-9a-f]{{{DIGITS}}}\.(\w+)")
WORTH_IT = 0.9  # what does not shrink below that is sent as it is


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent. `name` is the one with the hash; `gzipped` is empty when compressing gains nothing."""

    name: str
    kind: str
    body: bytes
    gzipped: bytes

    def response(self, request: HttpRequest, *, is_current: bool) -> HttpResponse:
        is_gzip = bool(self.gzipped) and "gzip" in request.headers.get("Accept-Encoding", "")
        response = HttpResponse(self.gzipped if is_gzip else self.body, content_type=self.kind)
        response["Content-Length"] = str(len(response.content))
        response["Cache-Control"] = FOR_GOOD if is_current else FOR_A_MINUTE
        response["Vary"] = "Accept-Encoding"
        if is_gzip:
            response["Content-Encoding"] = "gzip"
        return response


_files: dict[str, File] = {}  # by plain name; those that pages have named, and no others


def _file(name: str) -> File | None:
    """The file of that plain name; None when there is none."""
    if name not in _files and (path := _found(name)):
        _files[name] = _read(name, path)
    return _files.get(name)


def _found(name: str) -> str | None:
    try:
        return finders.find(name)
    except SuspiciousFileOperation:  # it leads out of the folders of static files
        return None


def _read(name: str, path: str) -> File:
    body = Path(path).read_bytes()
    stem, dot, suffix = name.rpartition(".")
    digest = hashlib.sha256(body).hexdigest()[:DIGITS]
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if kind.startswith("text/") or kind.endswith(("javascript", "svg+xml")):
        kind += "; charset=utf-8"
    gzipped = gzip.compress(body, 9, mtime=0)
    is_smaller = len(gzipped) < WORTH_IT * len(body)
    return File(f"{stem}.{digest}{dot}{suffix}", kind, body, gzipped if is_smaller else b"")


class HashedStorage(StaticFilesStorage):
    """Makes `{% static %}` give the name with the hash."""

    def url(self, name: str | None) -> str:
        found = None if settings.DEBUG or not name else _file(name)
        return super().url(found.name if found else name)


class HashedFiles(Middleware):
    """Answers for names with a hash. One of another version gets the file as it is now, for a minute."""

    def __call__(self, request: HttpRequest) -> Response:
        if self._is_async:
            return self._later(request)
        return _answer(request) or self._get_response(request)

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        is_static = request.path_info.startswith(settings.STATIC_URL)
        found = await asyncio.to_thread(_answer, request) if is_static else None
        return found or await self._get_response(request)


def _answer(request: HttpRequest) -> HttpResponse | None:
    name = request.path_info.removeprefix(settings.STATIC_URL)
    hashed = HASHED.fullmatch(name)
    if not hashed or name == request.path_info or request.method not in {"GET", "HEAD"}:
        return None
    found = _file(f"{hashed[1]}.{hashed[2]}")
    return found.response(request, is_current=found.name == name) if found else None
