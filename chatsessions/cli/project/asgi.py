"""The ASGI application of ``chatsessions run``."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.urls import re_path

from chatsessions.asgi import Application, get_chat_application
from chatsessions.protocol.frames import (
    SUBPROTOCOL,
    CloseCode,
)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsessions.cli.project.settings")
# Bots may import models, which Django has to know by then.
django_application = ASGIStaticFilesHandler(get_asgi_application())

from . import settings  # noqa: E402
from .served import served  # noqa: E402


class BelowPath:
    """Serves an application below a path, whether or not a proxy has taken that path away."""

    def __init__(self, application: Application, root_path: str) -> None:
        self._application = application
        self._root_path = root_path

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        root, path = self._root_path, scope.get("path", "")
        if not f"{path}/".startswith(f"{root}/"):
            path = root + path
        served_below: Awaitable[None] = self._application(
            {**scope, "root_path": root, "path": path}, receive, send
        )
        await served_below


async def come_back_later(
    scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """Tell a tab that its bot is being mended: it tries again by itself."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
    await send({"type": "websocket.close", "code": int(CloseCode.SHUTTING_DOWN)})


if served().problems:
    application: Application = get_chat_application(
        {},
        routes=[re_path("", come_back_later)],  # type: ignore[arg-type]  # Channels' way
        http=django_application,
    )
else:
    application = get_chat_application(
        {bot.route: bot.chat for bot in served().bots}, http=django_application
    )
if settings.ROOT_PATH:
    application = BelowPath(application, settings.ROOT_PATH)
