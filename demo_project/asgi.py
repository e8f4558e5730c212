import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
# Set up Django before importing anything that imports models.
django_application = get_asgi_application()

from chatsessions.asgi import AllowedHostsValidator  # noqa: E402
from chatsessions.consumers import ChatConsumer  # noqa: E402

#: The bots of the demo, by the name in their URL.
BOTS = {
    "counter": "demo_project.bots.counter.chat",
    "tutorial": "demo_project.bots.tutorial",
    "storyteller": "demo_project.bots.storyteller.chat",
    "quiz": "demo_project.bots.quiz.chat",
    "todo": "demo_project.bots.todo.chat",
    "echo": "demo_project.bots.echo.chat",
    "shelf": "demo_project.bots.shelf.chat",
    "guide": "demo_project.bots.guide.chat",
    "vault": "demo_project.bots.vault.chat",
    "assistant": "demo_project.bots.assistant.chat",
    "librarian": "demo_project.bots.librarian.chat",
    "clerk": "demo_project.bots.clerk.chat",
}

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AllowedHostsValidator(
            AuthMiddlewareStack(
                URLRouter(
                    [
                        path(f"ws/{slug}/", ChatConsumer.as_asgi(chat=chat))
                        for slug, chat in BOTS.items()
                    ]
                )
            )
        ),
    }
)
