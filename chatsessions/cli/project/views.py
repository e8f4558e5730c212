"""The pages of ``chatsessions run`` that are no chat."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from . import settings
from .served import served


def start(request: HttpRequest) -> HttpResponse:
    """List the bots."""
    context = {"bots": served().bots, "admin": settings.SERVE_ADMIN}
    return render(request, "chatsessions_run/start.html", context)


def problems(request: HttpRequest, path: str = "") -> HttpResponse:
    """Show why a bot cannot be served, to whoever sits at this machine."""
    context = {
        "problems": served().problems if settings.SHOW_PROBLEMS else [],
        "watching": settings.WATCH,
    }
    return render(request, "chatsessions_run/problems.html", context, status=503)
