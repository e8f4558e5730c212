"""The bot by plain requests."""

from django.urls import path

from chatsessions.views.http import ChatView

from .bots import books

urlpatterns = [path("http/books/", ChatView.as_view(chat=books))]
