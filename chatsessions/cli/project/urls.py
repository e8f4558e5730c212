"""The URLs of ``chatsessions run``: a page for each bot, uploads, the HTTP API and the admin."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.decorators.csrf import csrf_exempt

from chatsessions.cli.bots import served
from chatsessions.views import ChatPage, ChatView

from . import settings


def start(request: HttpRequest) -> HttpResponse:
    """List the bots."""
    context = {"bots": list(served().bots), "admin": settings.SERVE_ADMIN}
    return render(request, "chatsessions_run/start.html", context)


@csrf_exempt  # so that requests to the HTTP API get this page, too
def problems(request: HttpRequest) -> HttpResponse:
    """Show that a bot cannot be served, and why if ``SHOW_PROBLEMS`` is set."""
    context = {
        "problems": served().problems if settings.SHOW_PROBLEMS else {},
        "watching": settings.WATCH,
    }
    return render(request, "chatsessions_run/problems.html", context, status=503)


_bots = served().bots

urlpatterns: list[URLPattern | URLResolver] = [path("chats/", include("chatsessions.urls"))]
if settings.SERVE_ADMIN:
    urlpatterns.append(path("admin/", admin.site.urls))

for _bot, _chat in _bots.items():
    urlpatterns += [
        path(
            "" if len(_bots) == 1 else f"chat/{_bot.slug}/",
            ChatPage.as_view(
                chat=_chat,
                url=_bot.route,
                heading=_bot.title,
                files=True,
                profiles=_chat.has_profiles,
                threads=True,
                template_name="chatsessions_run/bot.html",
                extra_context={"several": len(_bots) > 1, "admin": settings.SERVE_ADMIN},
            ),
            name=_bot.slug,
        ),
        path(f"http/{_bot.slug}/", ChatView.as_view(chat=_chat)),
    ]

if served().problems:
    # Every URL shows the problem, whichever page the bot's author is looking at.
    urlpatterns = [re_path("", problems)]
elif len(_bots) > 1:
    urlpatterns.append(path("", start, name="start"))
