"""``ChatPage``: a page with a chat, without a template of one's own or with one."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, override_settings
from django.urls import include, path

from chatsessions import Chat, ChatError
from chatsessions.views import ChatPage

Urls = list[Any]


@pytest.fixture
def urls() -> Iterator[Urls]:
    """The project's addresses; a test adds its own."""
    module = ModuleType("urls")
    module.urlpatterns = []  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=module):
        yield module.urlpatterns


def test_a_page_needs_a_chat_and_a_route(chat: Chat, urls: Urls, client: Client) -> None:
    urls.append(path("", ChatPage.as_view(chat=chat, url="ws/counter/", heading="Counter")))
    page = client.get("/").content.decode()
    assert 'src="/ws/counter/"' in page
    assert "<title>Counter</title>" in page
    assert " files" not in page


def test_without_a_heading_it_is_the_chats_name(chat: Chat, urls: Urls, client: Client) -> None:
    urls.append(path("", ChatPage.as_view(chat=chat, url="ws/counter/")))
    assert f"<title>{chat.name}</title>" in client.get("/").content.decode()


def test_a_project_below_a_path(chat: Chat, urls: Urls, client: Client, below_a_path: str) -> None:
    urls.append(path("", ChatPage.as_view(chat=chat, url="ws/counter/")))
    assert f'src="{below_a_path}ws/counter/"' in client.get("/").content.decode()


@pytest.mark.parametrize("url", ["/ws/counter/", "wss://elsewhere.example/ws/"])
def test_a_path_or_a_url_is_taken_as_it_is(
    chat: Chat, urls: Urls, client: Client, url: str
) -> None:
    urls.append(path("", ChatPage.as_view(chat=chat, url=url)))
    assert f'src="{url}"' in client.get("/").content.decode()


@pytest.mark.django_db
def test_what_needs_chatsessions_urls(
    chat: Chat, urls: Urls, client: Client, admin_client: Client
) -> None:
    urls += [
        path("chats/", include("chatsessions.urls")),
        path("", ChatPage.as_view(chat=chat, url="ws/", files=True, profiles=True, threads=True)),
    ]
    anybodys = client.get("/").content.decode()
    assert 'api="/chats/"' in anybodys
    assert all(f" {name}" in anybodys for name in ("files", "profiles"))
    assert " threads" not in anybodys
    # Earlier conversations are a user's.
    assert " threads" in admin_client.get("/").content.decode()


def test_what_is_missing_is_said_when_the_addresses_are_read(chat: Chat) -> None:
    with pytest.raises(ImproperlyConfigured, match="needs the route of the chat's websocket"):
        ChatPage.as_view(chat=chat)
    with pytest.raises(ChatError, match="there is no module"):
        ChatPage.as_view(chat="no.such.chat", url="ws/")
