"""The ASGI application of ``chatsessions run``."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from channels.routing import ProtocolTypeRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.urls import re_path

from chatsessions.asgi import Application, get_chat_application
from chatsessions.cli.bots import served
from chatsessions.protocol.frames import SUBPROTOCOL, CloseCode

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsessions.cli.project.settings")
# Bots may import models, so Django has to be set up before them.
django_application = ASGIStaticFilesHandler(get_asgi_application())

from . import settings  # noqa: E402


def below_path(application: Application, root: str) -> Application:
    """Serve an application below a path, whether or not a proxy strips that path."""

    async def served_below(
        scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        path = scope.get("path", "")
        if not f"{path}/".startswith(f"{root}/"):
            path = root + path
        await application({**scope, "root_path": root, "path": path}, receive, send)

    return served_below


async def come_back_later(
    scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """Close a tab's connection while its bot is broken; the tab tries again by itself."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
    await send({"type": "websocket.close", "code": int(CloseCode.SHUTTING_DOWN)})


async def lifespan(
    _scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """
    Make Ctrl-C act as SIGTERM, so that turns end before the server cuts them off.

    A second Ctrl-C goes to the server's own handler.
    """
    of_the_server = signal.getsignal(signal.SIGINT)

    def stop(_signum: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, of_the_server)
        signal.raise_signal(signal.SIGTERM)

    await receive()
    signal.signal(signal.SIGINT, stop)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


if served().problems:
    chats = get_chat_application(
        {},
        routes=[re_path("", come_back_later)],  # type: ignore[arg-type]  # Channels' way
        http=django_application,
    )
else:
    chats = get_chat_application(
        {bot.route: chat for bot, chat in served().bots.items()}, http=django_application
    )
application: Application = ProtocolTypeRouter(
    {"lifespan": lifespan, "http": chats, "websocket": chats}
)
if settings.ROOT_PATH:
    application = below_path(application, settings.ROOT_PATH)
