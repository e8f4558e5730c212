"""One application with everything that is compared, behind the middleware of a usual project."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
# Set up Django before importing anything that imports models.
django_application = get_asgi_application()

from benchmarks import rivals  # noqa: E402
from chatsessions.consumers import ChatConsumer  # noqa: E402

routes = URLRouter(
    [
        path("ws/bare/", rivals.BareCounter.as_asgi()),
        path("ws/bare-cache/", rivals.CacheCounter.as_asgi()),
        path("ws/bare-session/", rivals.DjangoSessionCounter.as_asgi()),
        path("ws/bare-storyteller/", rivals.BareStoryteller.as_asgi()),
        path("ws/bare-storyteller/slow/", rivals.SlowBareStoryteller.as_asgi()),
        path("ws/four-frames/", rivals.four_frames),  # type: ignore[arg-type]  # no view
        path("ws/counter/", ChatConsumer.as_asgi(chat="demo_project.bots.counter.chat")),
        path("ws/storyteller/", ChatConsumer.as_asgi(chat="benchmarks.bots.storyteller")),
        path("ws/storyteller/slow/", ChatConsumer.as_asgi(chat="benchmarks.bots.slow_storyteller")),
        path("ws/hoarder/", ChatConsumer.as_asgi(chat="benchmarks.bots.hoarder")),
    ]
)
application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(routes)),
    }
)
