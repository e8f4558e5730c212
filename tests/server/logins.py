"""A site whose visitors chat before they log in, and go on with the conversation afterwards."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import login
from django.contrib.auth.models import AbstractBaseUser, User
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from chatsessions import SessionOwned, assign_user
from chatsessions.consumers import ChatConsumer
from chatsessions.handlers.session import Session

BACKEND = "django.contrib.auth.backends.ModelBackend"


class VisitorConsumer(ChatConsumer):
    """Django's session of the browser knows the conversation that it has begun."""

    async def authorize(self, scope: dict[str, Any], session: Session) -> bool:
        if not scope["user"].is_authenticated:
            scope["session"]["conversation"] = str(session.id)
            await scope["session"].asave()
        return True


@receiver(user_logged_in)
def go_on_with_conversation(request: HttpRequest, user: AbstractBaseUser, **_: Any) -> None:
    conversation = request.session.pop("conversation", None)
    if conversation is not None:
        assign_user(conversation, user)


def visit(request: HttpRequest) -> HttpResponse:
    """The page with the chat; who has no session of Django's gets one."""
    request.session["has_been_here"] = True
    return HttpResponse()


@csrf_exempt
def log_in(request: HttpRequest) -> HttpResponse:
    user, _ = User.objects.get_or_create(username=request.POST["name"])
    login(request, user, backend=BACKEND)
    return HttpResponse()


@csrf_exempt
def assign(request: HttpRequest) -> HttpResponse:
    """Somebody tries to have a conversation that is another's."""
    user, _ = User.objects.get_or_create(username=request.POST["name"])
    try:
        assign_user(request.POST["session"], user)
    except SessionOwned:
        return HttpResponse(status=409)
    return HttpResponse()
