"""The ASGI application: the fast lane, the agents' socket, Django."""

import asyncio
import os
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
# WhiteNoise reads its files in pieces, which Django gathers first under ASGI; they are small.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
get_asgi_application()  # before anything that needs the models

from project.doors import Handler  # noqa: E402

django_application: Any = Handler()

from channels.db import database_sync_to_async  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402
from django.db import Error  # noqa: E402
from django.urls import re_path  # noqa: E402

from privategpt import claims, desk  # noqa: E402
from privategpt.serving import hold  # noqa: E402
from project import tracing  # noqa: E402
from project.guards import BodyLimit, RequestId  # noqa: E402
from relay import exchange  # noqa: E402
from relay.api.lane import AskLane  # noqa: E402
from relay.consumers import Refused, refuse  # noqa: E402
from relay.routing import websocket_urlpatterns  # noqa: E402

import_module(settings.ROOT_URLCONF)  # here, or the first request waits for all the pages
hold.share(Path(settings.DATA_DIR))  # whatever server program runs this, no restore may begin


async def no_such_socket(scope: Any, receive: Any, send: Any) -> None:
    """404 for a websocket on any other path."""
    await receive()
    await refuse(scope, send, Refused(404, "There is no socket here"))


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    """At the start, waits a little for the other processes; at the end, writes what is still to be written."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await desk.close()
            await exchange.close()
            await asyncio.to_thread(tracing.close)
            await send({"type": "lifespan.shutdown.complete"})
            return
        await exchange.ready()
        with suppress(Error):  # which may be away just now; whoever follows such an answer looks again
            await database_sync_to_async(claims.fail_lost, thread_sensitive=False)()
        await send({"type": "lifespan.startup.complete"})


fallback: Any = no_such_socket
router: Any = ProtocolTypeRouter(
    {
        "http": RequestId(BodyLimit(django_application, settings.MAX_BODY_BYTES, settings.BODY_TIMEOUT)),
        "websocket": URLRouter([*websocket_urlpatterns, re_path("", fallback)]),
        "lifespan": lifespan,
    }
)
application = tracing.traced(AskLane(router) if settings.RELAY_FAST_LANE else router)
