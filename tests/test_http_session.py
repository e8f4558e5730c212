"""``http_session``: the session of a request, in views of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from chatsessions import (
    Chat,
    ContextNotFound,
    Message,
    SessionNotFound,
    SessionOver,
    aend_session,
    context,
    http_session,
    user_session,
)
from chatsessions.exceptions import (
    AccessRefused,
    ChatSessionsError,
    FrameError,
    SessionUnavailable,
    TooManySessions,
)
from chatsessions.models import ChatSession, SessionEvent
from chatsessions.storage.serializer import loads
from chatsessions.workers.worker import Worker

from .support.sessions import Client as Line

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/cart/"


@pytest.fixture
def serve(settings: Settings) -> Callable[[Any], None]:
    """Makes a view the only page of the project."""

    def serve(view: Any) -> None:
        settings.ROOT_URLCONF = (path("cart/", view),)

    return serve


def cart(chat: Chat | str, **options: Any) -> Any:
    """A view that counts its visits, and says what it knows."""

    async def view(request: HttpRequest) -> JsonResponse:
        async with http_session(request, chat=chat, **options) as found:
            user_session["visits"] = user_session.get("visits", 0) + 1
            await Message(f"visit {user_session['visits']}").send()
            assert context.session is found.session
        return JsonResponse(
            {
                "session": str(found.session.id),
                "token": found.token,
                "resumed": found.resumed,
                "reason": found.reason,
                "texts": [event["data"]["content"] for event in found.events],
            }
        )

    return view


async def test_djangos_session_keeps_it(
    worker: Worker, chat: Chat, serve: Callable[[Any], None]
) -> None:
    @chat.on_chat_start
    async def start() -> None:
        await Message("hello").send()

    serve(cart(chat))
    client = AsyncClient()
    first = (await client.get(URL)).json()
    assert first["texts"] == ["hello", "visit 1"]
    assert (first["resumed"], first["reason"]) == (False, "new")
    second = (await client.get(URL)).json()
    assert (second["session"], second["texts"]) == (first["session"], ["visit 2"])
    assert not worker.live
    row = await ChatSession.objects.aget()
    assert loads(row.state) == {"visits": 2}
    assert (await AsyncClient().get(URL)).json()["session"] != first["session"]


async def test_a_bearer_token(worker: Worker, chat: Chat, serve: Callable[[Any], None]) -> None:
    serve(cart(chat))
    first = (await AsyncClient().get(URL)).json()
    headers = {"Authorization": f"bearer {first['token']}"}
    client = AsyncClient()
    assert (await client.get(URL, headers=headers)).json()["texts"] == ["visit 2"]
    assert not client.cookies
    wrong = {"Authorization": "Bearer wrong"}
    assert (await client.get(URL, headers=wrong)).json()["reason"] == "unknown"


async def test_a_session_that_has_ended(
    worker: Worker, chat: Chat, serve: Callable[[Any], None]
) -> None:
    """A kept one is replaced; one that was asked for is an error, which the view handles."""
    serve(cart(chat))
    client = AsyncClient()
    first = (await client.get(URL)).json()
    await aend_session(first["session"])
    again = (await client.get(URL)).json()
    assert (again["reason"], again["texts"]) == ("ended", ["visit 1"])
    serve(cart(chat, session=first["session"], token=first["token"]))
    with pytest.raises(SessionOver):
        await client.get(URL)


async def test_what_was_done_before_an_error_is_stored(
    worker: Worker, chat: Chat, serve: Callable[[Any], None]
) -> None:
    async def view(request: HttpRequest) -> None:
        async with http_session(request, chat=chat):
            user_session["set"] = True
            await Message("sent").send()
            raise RuntimeError("the view's own")

    serve(view)
    with pytest.raises(RuntimeError, match="the view's own"):
        await AsyncClient().get(URL)
    assert not worker.live
    assert loads((await ChatSession.objects.aget()).state) == {"set": True}
    with pytest.raises(ContextNotFound):
        user_session["set"]


async def test_beside_a_websocket(worker: Worker, chat: Chat, serve: Callable[[Any], None]) -> None:
    line = await Line.open(worker, chat)
    serve(cart(chat, session=str(line.live.id), token=line.token))
    told = (await AsyncClient().get(URL)).json()
    assert told["resumed"]
    assert line.texts == told["texts"] == ["visit 1"]
    assert line.closed == []


async def test_a_name_of_no_handlers(worker: Worker, serve: Callable[[Any], None]) -> None:
    serve(cart("tests-cart"))
    assert (await AsyncClient().get(URL)).json()["texts"] == ["visit 1"]
    assert (await ChatSession.objects.aget()).chat == "tests-cart"


async def test_a_new_session_needs_the_keys_of_its_chat(
    worker: Worker, serve: Callable[[Any], None]
) -> None:
    keyed = Chat("tests.keyed", user_env=["KEY"])
    started: list[Any] = []

    @keyed.on_chat_start
    async def start() -> None:
        started.append(dict(user_session["env"]))

    client = AsyncClient()
    for env in (None, {}, {"KEY": " "}, {"OTHER": "x"}):
        serve(cart(keyed, env=env))
        with pytest.raises(AccessRefused) as refused:
            await client.get(URL)
        assert (refused.value.code, refused.value.detail) == ("missing_env", "KEY")
    serve(cart(keyed, env={"KEY": "x" * 20_000}))
    with pytest.raises(FrameError):
        await client.get(URL)
    assert not await ChatSession.objects.aexists()
    assert not worker.live
    serve(cart(keyed, env={"KEY": "secret", "OTHER": "x"}))
    first = (await client.get(URL)).json()
    assert started == [{"KEY": "secret"}]
    # One that is there already goes on without.
    serve(cart(keyed))
    second = (await client.get(URL)).json()
    assert (second["session"], second["resumed"]) == (first["session"], True)
    await aend_session(first["session"])
    with pytest.raises(AccessRefused):
        await client.get(URL)


@pytest.mark.parametrize("more", [{}, {"LARGE": "x" * 20_000}, {f"K{n}": "x" for n in range(60)}])
async def test_a_page_about_a_missing_key_shows_none_that_is_there(
    worker: Worker, serve: Callable[[Any], None], settings: Settings, more: dict[str, Any]
) -> None:
    settings.DEBUG = True
    keyed = Chat("tests.keyed", user_env=["KEY", "REGION"])

    def brought() -> dict[str, str]:
        return {"REGION": "-".join(["the", "shire"]), **more}

    async def view(request: HttpRequest) -> JsonResponse:
        async with http_session(request, chat=keyed, env=brought()):
            return JsonResponse({})

    serve(view)
    response = await AsyncClient(raise_request_exception=False).get(URL)
    assert response.status_code == 500
    assert "taken_env" in response.text
    assert "the-shire" not in response.text
    assert "xxxxxx" not in response.text


async def test_a_session_that_cannot_be_kept_is_let_go(
    worker: Worker, chat: Chat, serve: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's session store fails: the request does, and holds nothing."""

    async def fail(self: SessionBase, key: str, value: Any) -> None:
        raise ConnectionError("no session store here")

    monkeypatch.setattr(SessionBase, "aset", fail)
    serve(cart(chat))
    with pytest.raises(ConnectionError):
        await AsyncClient().get(URL)
    assert not worker.live
    row = await ChatSession.objects.aget()
    assert row.worker_id is None


async def test_what_a_view_is_refused_with_is_an_error_of_the_package(
    worker: Worker, chat: Chat, serve: Callable[[Any], None], settings: Settings
) -> None:
    """One ``except ChatSessionsError`` around the block is enough, whatever the reason is."""
    settings.CHATSESSIONS = {"MAX_SESSIONS_PER_USER": 1}
    refused: list[ChatSessionsError] = []

    async def view(request: HttpRequest) -> JsonResponse:
        try:
            async with http_session(request, chat=chat):
                return JsonResponse({})
        except ChatSessionsError as error:
            refused.append(error)
            return JsonResponse({}, status=503)

    serve(view)
    ada = await get_user_model().objects.acreate_user("ada")
    await Line.open(worker, chat, user=ada)
    client = AsyncClient()
    await client.aforce_login(ada)
    assert (await client.get(URL)).status_code == 503
    worker.closing = True
    assert (await AsyncClient().get(URL)).status_code == 503
    many, stopping = refused
    assert isinstance(many, TooManySessions)
    assert many.limit == 1
    assert isinstance(stopping, SessionUnavailable)
    assert str(stopping) == (
        "The server is shutting down. No session was opened; try again in a moment."
    )


async def test_without_djangos_sessions(
    worker: Worker, serve: Callable[[Any], None], settings: Settings
) -> None:
    settings.MIDDLEWARE = []
    serve(cart("tests-cart"))
    client = AsyncClient()
    first = (await client.get(URL)).json()
    assert (await client.get(URL)).json()["reason"] == "new"
    headers = {"Authorization": f"Bearer {first['token']}"}
    assert (await client.get(URL, headers=headers)).json()["resumed"]


def test_under_wsgi(serve: Callable[[Any], None]) -> None:
    serve(cart("tests-cart"))
    client = Client()
    assert client.get(URL).json()["texts"] == ["visit 1"]
    assert client.get(URL).json()["texts"] == ["visit 2"]
    assert SessionEvent.objects.count() == 2
    assert ChatSession.objects.get().worker_id is None


def test_outside_of_its_block() -> None:
    found = http_session(RequestFactory().get("/"), chat="tests-cart")
    with pytest.raises(SessionNotFound, match="async with"):
        found.session  # noqa: B018
