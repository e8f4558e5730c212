"""``ATOMIC_REQUESTS``: every view of the package is served, and none in a transaction."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import AsyncClient, Client
from django.urls import URLPattern, include, path, reverse

from chatsessions import Chat
from chatsessions import urls as package_urls
from chatsessions.models import ChatSession
from chatsessions.views import ChatView

from .support.files import bearer, stored_file, token_session

if TYPE_CHECKING:
    from pytest_django import Settings

ROOT = Path(__file__).resolve().parent.parent
#: A new URL of the package is among them, and so is tested here.
PATTERNS: list[URLPattern] = package_urls.urlpatterns


@pytest.fixture(autouse=True)
def project(
    chat: Chat, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It asks for a transaction for each request, and has all views of the package."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    chat.routed = True
    module = types.ModuleType("urls")
    view = ChatView.as_view(chat=chat)
    module.urlpatterns = [
        path("chats/", include(package_urls)),
        path("chat/", view),
        path("admin/", admin.site.urls),
    ]
    settings.ROOT_URLCONF = module
    settings.MEDIA_ROOT = tmp_path / "files"


def visitor(client: Any, chat: Chat, pattern: URLPattern) -> tuple[str, dict[str, Any]]:
    """Log ``client`` in; return the URL of a pattern, and what a request there says."""
    user = User.objects.create_user("ada")
    client.force_login(user)
    session, token = token_session(chat=chat.name, user=user, events_in=1)
    values = {
        "session_id": session.pk,
        "thread_id": session.thread_id,
        "file_id": stored_file(session).id,
    }
    url = reverse(
        f"chatsessions:{pattern.name}",
        kwargs={name: values[name] for name in pattern.pattern.converters},
    )
    return f"{url}?chat={chat.name}", {"headers": bearer(token)}


BODY: dict[str, Any] = {"data": b"hello", "content_type": "text/plain"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
async def test_every_url_is_served_under_asgi(
    async_client: AsyncClient, chat: Chat, pattern: URLPattern
) -> None:
    url, said = await sync_to_async(visitor)(async_client, chat, pattern)
    response = await async_client.get(url, **said)
    if response.status_code == 405:
        response = await async_client.post(url, **said, **BODY)
    response.close()
    assert response.status_code in (200, 201)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_every_url_is_served_under_wsgi(client: Client, chat: Chat, pattern: URLPattern) -> None:
    url, said = visitor(client, chat, pattern)
    response = client.get(url, **said)
    if response.status_code == 405:
        response = client.post(url, **said, **BODY)
    response.close()
    assert response.status_code in (200, 201)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("worker")
async def test_a_chat_without_a_websocket_is_served(async_client: AsyncClient) -> None:
    body = {"content": "hello"}
    response = await async_client.post("/chat/", body, content_type="application/json")
    assert response.status_code == 200


ADMIN = "/admin/chatsessions/chatsession/"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("{}/end/", {}),
        ("{}/delete/", {"post": "yes"}),
        ("", {"action": "end_selected"}),
        ("", {"action": "delete_selected", "post": "yes"}),
    ],
)
def test_the_admin_ends_and_deletes_sessions(
    client: Client, chat: Chat, address: str, form: dict[str, str]
) -> None:
    session, _ = token_session(chat=chat.name)
    client.force_login(User.objects.create_superuser("root"))
    url = ADMIN + address.format(session.pk)
    response = client.post(url, form | {"_selected_action": str(session.pk)}, follow=True)
    assert [str(message.level_tag) for message in response.context["messages"]] == ["success"]
    left = ChatSession.objects.filter(pk=session.pk).values_list("status", flat=True)
    assert list(left) == ([] if "delete" in address + form.get("action", "") else ["ended"])


IN_A_TRANSACTION = """
import django
from django.conf import settings
for alias in ("default", "other"):
    settings.DATABASES[alias] = {**settings.DATABASES["default"], "ATOMIC_REQUESTS": True}
django.setup()

from django.core.handlers.base import BaseHandler
from chatsessions import Chat, urls
from chatsessions.views import ChatView

views = {pattern.name: pattern.callback for pattern in urls.urlpatterns}
views["ChatView"] = ChatView.as_view(chat=Chat("bot"))
for name, view in views.items():
    try:
        if BaseHandler().make_view_atomic(view) is not view:
            print(name, "runs in a transaction")
    except RuntimeError as error:
        print(name, error)
"""


def test_no_view_holds_a_transaction_of_any_database() -> None:
    """An upload would lock the row of its session for as long as it takes."""
    found = subprocess.run(
        [sys.executable, "-c", IN_A_TRANSACTION],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )
    assert (found.stdout, found.returncode) == ("", 0), found.stderr
