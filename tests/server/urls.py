"""The demo's pages, and the bots by HTTP."""

from django.urls import path

from chatsessions.http.view import ChatView
from demo_project.urls import urlpatterns as demo

from . import logins
from .bots import CHATS

urlpatterns = [
    *demo,
    path("visit/", logins.visit),
    path("log-in/", logins.log_in),
    path("assign/", logins.assign),
    *(path(f"http/{chat.name}/", ChatView.as_view(chat=chat)) for chat in CHATS),
]
