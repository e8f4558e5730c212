"""The demo as it is, with three bots more. Visitors may talk to one of them before they log in."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.server.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path

# Before anything that imports models.
from demo_project.asgi import application as demo  # isort: skip
from demo_project.asgi import django_application  # isort: skip

from chatsessions.consumers import ChatConsumer
from tests.browser.bots import chat, critic, keeper, patient, workshop, writer
from tests.server.logins import VisitorConsumer

parrot = AuthMiddlewareStack(ChatConsumer.as_asgi(chat=chat))
workers = AuthMiddlewareStack(ChatConsumer.as_asgi(chat=workshop))
critics = AuthMiddlewareStack(ChatConsumer.as_asgi(chat=critic))
patients = AuthMiddlewareStack(ChatConsumer.as_asgi(chat=patient))
keepers = AuthMiddlewareStack(ChatConsumer.as_asgi(chat=keeper))
writers = AuthMiddlewareStack(ChatConsumer.as_asgi(chat=writer))
visitors = AuthMiddlewareStack(VisitorConsumer.as_asgi(chat=chat))
application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": URLRouter(
            [
                path("ws/workshop/", workers),
                path("ws/writer/", writers),
                path("ws/critic/", critics),
                path("ws/patient/", patients),
                path("ws/keeper/", keepers),
                path("ws/parrot/", parrot),
                path("ws/visitors/", visitors),
                re_path("", demo),
            ]
        ),
    }
)
