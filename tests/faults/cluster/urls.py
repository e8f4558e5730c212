"""The bot by plain requests, and views that reach sessions from outside."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import path

from chatsessions import (
    Message,
    OwnerUnreachable,
    StoreUnavailable,
    aemit_to,
    emit_to,
    session_context,
    user_session,
)
from chatsessions.http.view import ChatView

from .bots import books


class Unknown:
    """
    Middleware: 503 where the owner or its store was too busy to say whether it was done.

    A view that fails in any other way is answered by 500, and its log has the reason.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, OwnerUnreachable | StoreUnavailable):
            return HttpResponse(str(error), status=503)
        return None


def emit(_request: HttpRequest, session: UUID, number: int) -> HttpResponse:
    emit_to(session, "note", number)
    return HttpResponse()


async def emit_async(_request: HttpRequest, session: UUID, number: int) -> HttpResponse:
    await aemit_to(session, "note", number)
    return HttpResponse()


def write(_request: HttpRequest, session: UUID, number: int) -> HttpResponse:
    with session_context(session):
        user_session[f"key {number}"] = number
        Message(f"note {number}").send()
    return HttpResponse()


urlpatterns = [
    path("http/books/", ChatView.as_view(chat=books)),
    path("emit/<uuid:session>/<int:number>/", emit),
    path("emit-async/<uuid:session>/<int:number>/", emit_async),
    path("write/<uuid:session>/<int:number>/", write),
]
