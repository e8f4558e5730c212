"""The demo's routes, and those of the bots that misbehave."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.server.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

# Before anything that imports models.
django_application = get_asgi_application()

from chatsessions.consumers import ChatConsumer  # noqa: E402
from demo_project.bots.counter import chat as counter  # noqa: E402
from tests.server.bots import CHATS  # noqa: E402
from tests.server.logins import VisitorConsumer  # noqa: E402

members = ChatConsumer.as_asgi(chat=counter, login_required=True)
application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(
                URLRouter(
                    [
                        path(f"ws/{chat.name}/", ChatConsumer.as_asgi(chat=chat))
                        for chat in (counter, *CHATS)
                    ]
                    + [
                        path(
                            "ws/members/", ChatConsumer.as_asgi(chat=counter, login_required=True)
                        ),
                        path("ws/visitors/", VisitorConsumer.as_asgi(chat=counter)),
                    ]
                )
            )
        ),
    }
)
