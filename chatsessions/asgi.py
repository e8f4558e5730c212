"""``get_chat_application()``: the ASGI application of a project with chats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

#: An ASGI application.
Application = Callable[..., Any]


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
    websockets. ``middleware`` wraps all of them; it is to set ``scope["user"]``. ``http`` is the
    application for everything else, Django's by default.

    A websocket is accepted from the hosts in ``ALLOWED_HOSTS``. Raises ``ChatError`` for a chat
    that cannot be found.
    """
    # Sets Django up, which has to come before anything that imports models.
    http = http or get_asgi_application()
    from .chat import Chat
    from .consumers import ChatConsumer

    def consumer(chat: Any) -> Application:
        if isinstance(chat, str | Chat):
            return ChatConsumer.as_asgi(chat=chat)  # type: ignore[no-any-return]
        application: Application = chat
        return application

    websockets = URLRouter(
        [*(path(route, consumer(chat)) for route, chat in chats.items()), *routes]
    )
    application: Application = ProtocolTypeRouter(
        {"http": http, "websocket": AllowedHostsOriginValidator(middleware(websockets))}
    )
    return application
