"""The bots of the fault tests, in a process that can be told where to die."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.server.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

# Before anything that imports models.
django_application = get_asgi_application()

from chatsessions.consumers import ChatConsumer  # noqa: E402
from chatsessions.workers import shutdown  # noqa: E402
from tests.faults import points  # noqa: E402
from tests.faults.bots import CHATS  # noqa: E402

points.install()
# Seconds in which a second SIGTERM is the first one told again.
shutdown.ECHO = float(os.environ.get("SHUTDOWN_ECHO", shutdown.ECHO))

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AuthMiddlewareStack(
            URLRouter([path(f"ws/{chat.name}/", ChatConsumer.as_asgi(chat=chat)) for chat in CHATS])
        ),
    }
)
