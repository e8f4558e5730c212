"""The addresses of ``chatsessions run``: a page per bot, uploads, the HTTP API, and the admin."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from chatsessions.views import ChatPage, ChatView

from . import settings
from .served import served
from .views import problems, start

_bots = served().bots

urlpatterns: list[URLPattern | URLResolver] = [path("chats/", include("chatsessions.urls"))]
if settings.SERVE_ADMIN:
    urlpatterns.append(path("admin/", admin.site.urls))

for _bot in _bots:
    urlpatterns += [
        path(
            "" if len(_bots) == 1 else f"chat/{_bot.slug}/",
            ChatPage.as_view(
                chat=_bot.chat,
                url=_bot.route,
                heading=_bot.title,
                files=True,
                profiles=_bot.chat.has_profiles,
                threads=True,
                template_name="chatsessions_run/bot.html",
                extra_context={"several": len(_bots) > 1, "admin": settings.SERVE_ADMIN},
            ),
            name=_bot.slug,
        ),
        path(f"http/{_bot.slug}/", ChatView.as_view(chat=_bot.chat)),
    ]

if served().problems:
    # Whatever was asked for: who wrote the bot is looking at its page.
    urlpatterns = [path("<path:path>", problems), path("", problems)]
elif len(_bots) > 1:
    urlpatterns.append(path("", start, name="start"))
