"""The profiles of a chat, for a page that offers the choice."""

from __future__ import annotations

import logging

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chatsessions.cluster.connect_request import User
from chatsessions.handlers.chat import routed_chat
from chatsessions.handlers.profiles import default_profile

from .access import (
    not_served,
    refusal,
)

logger = logging.getLogger("chatsessions.http")


@require_safe
@never_cache
async def profiles(request: HttpRequest) -> JsonResponse:
    """
    ``GET profiles/?chat=<name>``: what the user of the request may choose from.

    ``{"chat": name, "profiles": [{"name", "display_name", "markdown_description", "icon",
    "default"}]}``; ``default`` is true for the one that a session gets whose client chooses none.
    Only a chat that is served is found (404), and only by somebody whom one of its consumers lets
    in by ``login_required`` and ``permission_required`` (403). A function of the chat's, or an
    authentication backend, that fails offers nothing (403).
    """
    chat = routed_chat(request.GET.get("chat", ""))
    if chat is None:
        return _error(404, "not_found", "there is no such chat")
    try:
        auser = getattr(request, "auser", None)  # of Django's AuthenticationMiddleware
        user: User = AnonymousUser() if auser is None else await auser()
        refused = await sync_to_async(refusal)(chat, user)
        if refused is not None:
            return _error(403, refused.code, refused.detail)
        offered = await chat.get_profiles(user)
    except DatabaseError as error:
        return not_served(error)
    except Exception:
        logger.exception("The profiles of %s failed", chat.name)
        return _error(403, "forbidden", "the profiles are not known")
    default = default_profile(offered)
    found = [
        {
            "name": one.name,
            "display_name": one.display_name or one.name,
            "markdown_description": one.markdown_description,
            "icon": one.icon,
            "default": one is default,
        }
        for one in offered
    ]
    return JsonResponse({"chat": chat.name, "profiles": found})


def _error(status: int, code: str, detail: str) -> JsonResponse:
    return JsonResponse({"error": code, "detail": detail}, status=status)
