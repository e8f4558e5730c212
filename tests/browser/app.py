"""The demo as it is, with bots more. Visitors may talk to one of them before they log in."""

import os
from functools import partialmethod

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.server.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from daphne.ws_protocol import WebSocketFactory
from django.urls import path, re_path

# Before anything that imports models.
from demo_project.asgi import application as demo  # isort: skip
from demo_project.asgi import django_application  # isort: skip

from chatsessions.consumers import ChatConsumer
from tests.browser.bots import chat, critic, keeper, patient, workshop, writer
from tests.server.logins import VisitorConsumer

# Daphne waits one second for the answer to a close, and then resets the connection: Chromium on a
# busy machine would never learn the code.
WebSocketFactory.setProtocolOptions = partialmethod(
    WebSocketFactory.setProtocolOptions, closeHandshakeTimeout=60
)

consumers = {
    bot.name: ChatConsumer.as_asgi(chat=bot)
    for bot in (chat, critic, keeper, patient, workshop, writer)
}
consumers["visitors"] = VisitorConsumer.as_asgi(chat=chat)
routes = [path(f"ws/{name}/", AuthMiddlewareStack(one)) for name, one in consumers.items()]
application = ProtocolTypeRouter(
    {"http": django_application, "websocket": URLRouter([*routes, re_path("", demo)])}
)
