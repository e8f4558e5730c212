"""``get_chat_application()``: the ASGI application of a project with chats."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import ParseResult, urlparse

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import (
    AllowedHostsOriginValidator,
    OriginValidator,
    WebsocketDenier,
)
from django.core.asgi import get_asgi_application
from django.urls import path

from chatsessions.auth.origins import MAX_SHOWN, is_allowed

logger = logging.getLogger("chatsessions.asgi")

#: An ASGI application.
Application = Callable[..., Any]


class AllowedHostsValidator(OriginValidator):  # type: ignore[misc]  # Channels is untyped
    """
    Lets in pages of ``ALLOWED_HOSTS``, as Channels' validator does, and of ``ALLOWED_ORIGINS``.

    The log has a line for each refused websocket.
    """

    def __init__(self, application: Application) -> None:
        super().__init__(application, AllowedHostsOriginValidator(application).allowed_origins)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse a handshake whose ``Origin`` is no URL, and validate the others."""
        for name, value in scope.get("headers", ()):
            if name == b"origin":
                origin = value.decode("latin1")
                try:
                    urlparse(origin)
                except ValueError:
                    _log_refused(origin)
                    return await WebsocketDenier()(scope, receive, send)  # type: ignore[no-any-return]
        return await super().__call__(scope, receive, send)  # type: ignore[no-any-return]

    def valid_origin(self, parsed_origin: ParseResult | None) -> bool:
        """Return True if a page of this origin may connect."""
        if super().valid_origin(parsed_origin):
            return True
        if parsed_origin is None:
            logger.warning(
                "A websocket without an Origin was refused (403). Browsers send one; other clients "
                "have to send one with a host of ALLOWED_HOSTS."
            )
            return False
        if is_allowed(f"{parsed_origin.scheme}://{parsed_origin.netloc}"):
            return True
        _log_refused(parsed_origin.geturl())
        return False


def _log_refused(origin: str) -> None:
    logger.warning(
        "A websocket was refused (403): its page's address is %r. Is the host of it in "
        "ALLOWED_HOSTS, or, of another site's page, its origin in CHATSESSIONS['ALLOWED_ORIGINS']?",
        origin[:MAX_SHOWN],
    )


def get_chat_application(
    chats: Mapping[str, Any],
    *,
    routes: Sequence[Any] = (),
    middleware: Callable[[Application], Application] = AuthMiddlewareStack,
    http: Application | None = None,
) -> Application:
    """
    Return the ASGI application that serves ``chats`` by websocket and the project by HTTP.

    ``chats`` maps a route, as ``django.urls.path()`` takes it, to a ``Chat``, to the dotted path
    of one, to the name of a module with handlers, or to any ASGI application, such as
    ``ChatConsumer.as_asgi(chat=…, login_required=True)``. ``routes`` are further ``path()``s for
    websockets. ``middleware`` wraps all of them; it has to set ``scope["user"]``. ``http`` is the
    application for everything else, Django's by default.

    Websockets are accepted from pages of the hosts in ``ALLOWED_HOSTS``, and of the origins in
    ``CHATSESSIONS["ALLOWED_ORIGINS"]``; refused ones are logged. Raises ``ChatError`` for a chat
    that cannot be found.
    """
    # This sets Django up, which has to be done before models are imported.
    http = http or get_asgi_application()
    from .consumers import ChatConsumer
    from .handlers.chat import Chat

    def consumer(chat: Any) -> Application:
        if isinstance(chat, str | Chat):
            return ChatConsumer.as_asgi(chat=chat)  # type: ignore[no-any-return]
        application: Application = chat
        return application

    websockets = URLRouter(
        [*(path(route, consumer(chat)) for route, chat in chats.items()), *routes]
    )
    application: Application = ProtocolTypeRouter(
        {"http": http, "websocket": AllowedHostsValidator(middleware(websockets))}
    )
    return application
