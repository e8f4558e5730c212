"""What is read of a session for somebody who has no right to it: whose it is, and no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient
from django.urls import include, path

from chatsessions import Chat, user_session
from chatsessions.consumers import ChatConsumer, SessionConsumer
from chatsessions.http.session import http_session
from chatsessions.http.view import ChatView
from chatsessions.models import ChatSession
from chatsessions.testing import ChatCommunicator

from .support.database import every_statement
from .support.files import bearer, files_url, token_session

if TYPE_CHECKING:
    from pytest_django import Settings

    from .support.storage import SpyCache

pytestmark = pytest.mark.django_db(transaction=True)

#: The columns and tables that have what was said and kept in sessions.
CONTENTS = (
    '"chatsessions_chatsession"."state"',
    '"chatsessions_chatsession"."chat_context"',
    '"chatsessions_sessionevent"',
)


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """What is asked of the database from here on, in any thread."""
    with every_statement() as found:
        yield found


@pytest.fixture(autouse=True)
def _urls(chat: Chat, settings: Settings) -> None:
    async def kept(request: HttpRequest) -> JsonResponse:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        session = request.GET["session"]
        async with http_session(request, chat=chat, session=session, token=token):
            return JsonResponse({"secret": user_session.get("secret")})

    settings.ROOT_URLCONF = (
        path("chat/", ChatView.as_view(chat=chat)),
        path("kept/", kept),
        path("chats/", include("chatsessions.urls")),
    )


async def say_hello(chat: Chat, session: ChatSession, token: str) -> bool:
    application = ChatConsumer.as_asgi(chat=chat)
    async with ChatCommunicator(application, "/", session=session.pk, token=token) as client:
        return client.resumed


async def connect_a_consumer(chat: Chat, session: ChatSession, token: str) -> bool:
    found = []

    class Consumer(SessionConsumer):
        async def get_resume_credentials(self) -> tuple[str, str | None]:
            return str(session.pk), token

        async def connect(self) -> None:
            found.append(self.resumed)
            await self.accept()
            await self.close()

    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        """Nobody reads it."""

    scope = {"type": "websocket", "path": "/", "headers": [], "subprotocols": []}
    await Consumer.as_asgi(chat=chat)(scope, receive, send)
    return bool(found[0])


async def post(_chat: Chat, session: ChatSession, token: str) -> bool:
    body = {"name": "nothing", "session": str(session.pk), "token": token}
    answer = await AsyncClient().post("/chat/", body, content_type="application/json")
    return bool(answer.json()["resumed"])


async def get(_chat: Chat, session: ChatSession, token: str) -> bool:
    query = {"session": str(session.pk)}
    answer = await AsyncClient().get("/chat/", query, headers=bearer(token))
    return bool(answer.status_code == 200)


async def delete(_chat: Chat, session: ChatSession, token: str) -> bool:
    body = {"session": str(session.pk), "token": token}
    answer = await AsyncClient().delete("/chat/", body, content_type="application/json")
    return bool(answer.status_code == 204)


async def enter_by_a_view(_chat: Chat, session: ChatSession, token: str) -> bool:
    query = {"session": str(session.pk)}
    answer = await AsyncClient().get("/kept/", query, headers=bearer(token))
    return answer.json().get("secret") == "hunter2"


async def upload(_chat: Chat, session: ChatSession, token: str) -> bool:
    headers = bearer(token) | {"X-File-Name": "notes.txt"}
    url, content = files_url(session), b"hello"
    answer = await AsyncClient().post(url, content, content_type="text/plain", headers=headers)
    return bool(answer.status_code == 201)


Door = Callable[[Chat, ChatSession, str], Awaitable[bool]]
DOORS = [say_hello, connect_a_consumer, post, get, delete, enter_by_a_view, upload]


async def stored(name: str, **fields: Any) -> tuple[ChatSession, str]:
    given = {"chat": name, "state": '{"secret":"hunter2"}', "state_bytes": 20}
    return await sync_to_async(token_session)(**given | fields)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("door", DOORS)
async def test_who_has_the_token_gets_in(door: Door, chat: Chat) -> None:
    """So that what the others are refused is no accident."""
    assert await door(chat, *await stored(chat.name))


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("whose", ["wrong token", "a user's", "another chat's"])
@pytest.mark.parametrize("door", DOORS)
async def test_nothing_of_a_session_is_loaded_for_a_stranger(
    door: Door, whose: str, chat: Chat, statements: list[str], cache: type[SpyCache]
) -> None:
    """A megabyte read from the database would be a cheap way to keep it busy."""
    if whose == "another chat's" and door is upload:
        pytest.skip("its URL names no chat")
    user = await User.objects.acreate(username="ada")
    session, token = await stored(
        "another" if whose == "another chat's" else chat.name,
        user=user if whose == "a user's" else None,
    )
    statements.clear()
    assert not await door(chat, session, "wrong" if whose == "wrong token" else token)
    assert cache.asked == []
    asked = [sql for sql in statements if str(sql).startswith("SELECT")]
    assert any('"chatsessions_chatsession"' in sql for sql in asked)
    for name in CONTENTS:
        assert not [sql for sql in asked if name in sql]
