"""
Views: ``ChatView``, a chat without a websocket, ``ChatPage``, a page with a chat on it, and
``profiles``, the profiles that such a page offers.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.views.generic import TemplateView

from chatsessions.auth.access import fail_closed
from chatsessions.exceptions import AccessRefused
from chatsessions.handlers.chat import Chat, resolve_chat, routed_chat
from chatsessions.handlers.profiles import default_profile

from .http.requests import RequestRefused, auser_of, check_access
from .http.responses import json_response, json_view
from .http.view import ChatView

__all__ = ["ChatPage", "ChatView"]


class ChatPage(TemplateView):
    """
    A page with a chat: ``ChatPage.as_view(chat="bots.counter.chat", url="ws/counter/")``.

    Your own template (``template_name``) gets ``chat``, ``heading`` and ``src`` in its context, and
    can be as short as ``{% load chatsessions %}{% chat_session src heading %}``.
    """

    template_name = "chatsessions/chat_page.html"

    #: A ``Chat``, the dotted path of one, or the name of a module with handlers.
    chat: Chat | str = ""
    #: The route of the chat's websocket, as it is written in ``get_chat_application()``; or a path
    #: or URL.
    url: str = ""
    #: The heading above the chat, and the page's title; the chat's name by default.
    heading: str = ""
    #: Whether messages may have files. It needs ``chatsessions.urls``.
    files: bool = False
    #: Whether the user chooses one of the chat's profiles. It needs ``chatsessions.urls``.
    profiles: bool = False
    #: Whether logged-in users see their earlier conversations. It needs ``chatsessions.urls``.
    threads: bool = False

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """
        Return the view.

        Raises ``ChatError`` for a ``chat`` that does not exist, and ``ImproperlyConfigured``
        without a ``url``.
        """
        initkwargs["chat"] = resolve_chat(initkwargs.get("chat", cls.chat))
        if not initkwargs.get("url", cls.url):
            raise ImproperlyConfigured(
                "ChatPage needs the route of the chat's websocket: "
                'ChatPage.as_view(chat="bots.counter.chat", url="ws/counter/").'
            )
        return super().as_view(**initkwargs)

    @property
    def src(self) -> str:
        """The path or URL of the websocket, as ``{% chat_session %}`` takes it."""
        is_route = not self.url.startswith("/") and not urlsplit(self.url).scheme
        return f"/{self.url}" if is_route else self.url

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        assert isinstance(self.chat, Chat)  # noqa: S101  # as_view() has resolved it
        return super().get_context_data(
            chat=self.chat,
            src=self.src,
            heading=self.heading or self.chat.name,
            files=self.files,
            profiles=self.profiles,
            threads=self.threads and self.request.user.is_authenticated,
            **kwargs,
        )


@json_view("GET", "HEAD")
async def profiles(request: HttpRequest) -> HttpResponse:
    """
    Answer ``GET profiles/?chat=<name>``: the profiles that the user may choose from.

    The JSON is ``{"chat": name, "profiles": [{"name", "display_name", "markdown_description",
    "icon", "default"}]}``; ``default`` is true for the profile of clients that choose none. The
    answer is 404 if no such chat is served, and 403 if none of its consumers lets the user in by
    ``login_required`` and ``permission_required``, or if the chat's function or an authentication
    backend fails.
    """
    chat = routed_chat(request.GET.get("chat", ""))
    if chat is None:
        raise RequestRefused(404, "not_found", gettext("There is no such chat."))
    try:
        with fail_closed("The profiles of %s failed", chat.name):
            user = await auser_of(request)
            await sync_to_async(check_access)(chat, user)
            offered = await chat.get_profiles(user)
    except AccessRefused as error:
        raise RequestRefused(403, error.code, str(error.detail)) from error
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
    return json_response({"chat": chat.name, "profiles": found})
