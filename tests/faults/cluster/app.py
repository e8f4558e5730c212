"""The bots of the cluster, in a worker that can be told to be elsewhere, and at another time."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.faults.cluster.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path, re_path

# Before anything that imports models.
pages = get_asgi_application()

from chatsessions.consumers import ChatConsumer  # noqa: E402
from tests.faults import points  # noqa: E402
from tests.faults.cluster import elsewhere, inside  # noqa: E402
from tests.faults.cluster.bots import books, keeper  # noqa: E402

elsewhere.install()
points.install()

application = ProtocolTypeRouter(
    {
        "http": URLRouter([path("inside/", inside.report), re_path("", pages)]),
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [
                    path("ws/books/", ChatConsumer.as_asgi(chat=books)),
                    path("ws/keeper/", ChatConsumer.as_asgi(chat=keeper)),
                ]
            )
        ),
    }
)
