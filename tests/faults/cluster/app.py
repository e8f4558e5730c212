"""The bots of the cluster, in a worker that can be told to be elsewhere, and at another time."""

import os
import socket
import time
from datetime import datetime, timedelta

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.faults.cluster.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path, re_path
from django.utils import timezone

# Before anything that imports models.
pages = get_asgi_application()

from chatsessions.consumers import ChatConsumer  # noqa: E402
from tests.faults import points  # noqa: E402
from tests.faults.cluster.bots import books, keeper  # noqa: E402
from tests.faults.cluster.inside import report  # noqa: E402


def skew(seconds: float) -> None:
    """The clock of this process is wrong from now on."""
    now, clock = timezone.now, time.time

    def skewed_now() -> datetime:
        return now() + timedelta(seconds=seconds)

    timezone.now = skewed_now
    time.time = lambda: clock() + seconds


if "host" in settings.CLUSTER:
    # Nobody can look there whether its processes live.
    socket.gethostname = lambda: settings.CLUSTER["host"]
if "skew" in settings.CLUSTER:
    skew(settings.CLUSTER["skew"])
points.install()

application = ProtocolTypeRouter(
    {
        "http": URLRouter([path("inside/", report), re_path("", pages)]),
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
