import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
# Before anything that imports models.
django_application = get_asgi_application()

from chatsessions.consumers import ChatConsumer  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(
                URLRouter(
                    [
                        path(
                            "ws/counter/",
                            ChatConsumer.as_asgi(chat="demo_project.bots.counter.chat"),
                        ),
                        path(
                            "ws/tutorial/",
                            ChatConsumer.as_asgi(chat="demo_project.bots.tutorial"),
                        ),
                        path(
                            "ws/storyteller/",
                            ChatConsumer.as_asgi(chat="demo_project.bots.storyteller.chat"),
                        ),
                    ]
                )
            )
        ),
    }
)
