"""Logins and requests: one that is lost while the answer streams, and backends that fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission, User
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient
from django.urls import include, path
from django.utils.functional import SimpleLazyObject

from chatsessions import Chat, Message, context
from chatsessions.http.view import ChatView
from chatsessions.models import ChatSession
from chatsessions.workers.worker import Worker

from .support.files import stored_file
from .support.sessions import eventually, until
from .support.storage import session_row

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/chat/"
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def go() -> asyncio.Event:
    """Set, it lets the handler come to its end."""
    return asyncio.Event()


@pytest.fixture
def bot(chat: Chat, go: asyncio.Event) -> Chat:
    @chat.on_message
    async def work(message: Message) -> None:
        await Message(f"working on {message.content}").send()
        await go.wait()
        await Message(f"done by {context.session.user.get_username()}").send()

    return chat


@pytest.fixture(autouse=True)
def urls(bot: Chat, settings: Settings) -> None:
    """A project with the chat, for whoever may see users, and its files."""
    settings.ROOT_URLCONF = (
        path("chat/", ChatView.as_view(chat=bot, permission_required="auth.view_user")),
        path("chats/", include("chatsessions.urls")),
    )
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    settings.CHATSESSIONS = {"REVALIDATE_SECONDS": 3600}


@pytest.fixture
async def ada(worker: Worker) -> User:
    user = await User.objects.acreate_user("ada", password="first")
    permission = await Permission.objects.aget(codename="view_user")
    await user.user_permissions.aadd(permission)
    return user


@pytest.fixture
async def client(ada: User) -> AsyncClient:
    client = AsyncClient()
    await client.aforce_login(ada)
    return client


async def post(client: AsyncClient, **headers: str) -> Any:
    body = {"content": "it"}
    return await client.post(URL, body, content_type="application/json", headers=headers)


async def read(response: Any) -> AsyncIterator[dict[str, Any]]:
    """The frames of a stream, as they come."""
    assert response.status_code == 200
    async for part in response.streaming_content:
        for line in part.decode().splitlines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


async def read_until_said(frames: AsyncIterator[dict[str, Any]]) -> None:
    async for frame in frames:
        if frame["type"] == "event" and frame["name"] == "message":
            return


async def log_out(client: AsyncClient, ada: User) -> None:
    await client.alogout()


async def deactivate(client: AsyncClient, ada: User) -> None:
    ada.is_active = False
    await ada.asave()


async def change_password(client: AsyncClient, ada: User) -> None:
    ada.set_password("second")
    await ada.asave()


async def take_permission(client: AsyncClient, ada: User) -> None:
    await ada.user_permissions.aclear()


# A login of the project's own


class KeyMiddleware:
    """Logs in by a header, without a session of Django's; lazily or at once."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        name = request.headers.get("X-Key", "")
        if name.endswith("-lazy"):
            name = name.removesuffix("-lazy")
            request.user = SimpleLazyObject(lambda: User.objects.get(username=name))
        elif name:
            request.user = User.objects.get(username=name)
        return self._get_response(request)


@pytest.mark.parametrize("key", ["ada", "ada-lazy"])
async def test_middleware_that_sets_the_user_says_who_asks(
    go: asyncio.Event, ada: User, settings: Settings, key: str
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.{KeyMiddleware.__name__}"]
    go.set()
    client = AsyncClient()
    assert (await post(client)).status_code == 401
    response = await post(client, **{"X-Key": key})
    assert response.status_code == 200
    said = [event["data"].get("content") for event in response.json()["events"]]
    assert said[-1] == "done by ada"
    row = await ChatSession.objects.aget(pk=response.json()["session"])
    assert row.user_id == ada.pk


Loss = Callable[[AsyncClient, User], Awaitable[None]]
LOSSES = [
    (log_out, "You were logged out."),
    (deactivate, "The account is not active any more."),
    (change_password, "The password was changed."),
    (take_permission, "A permission was taken away."),
]


@pytest.mark.parametrize(("lose", "why"), LOSSES)
async def test_a_stream_ends_when_the_login_is_lost(
    worker: Worker, client: AsyncClient, ada: User, go: asyncio.Event, lose: Loss, why: str
) -> None:
    """At once, and what comes of the turn afterwards is told to nobody. The turn goes on."""
    frames = read(await post(client, **STREAM))
    await read_until_said(frames)
    assert len(worker.logins) == 1
    await lose(client, ada)
    async with asyncio.timeout(5):
        rest = [frame async for frame in frames]
    assert rest == [{"type": "error", "code": "unauthorized", "detail": why}]
    go.set()
    await eventually(lambda: ChatSession.objects.filter(handled=1, worker=None).aexists())
    row = await ChatSession.objects.aget()
    assert (row.status, row.head) == ("away", 3)
    assert len(worker.logins) == 0


async def test_a_stream_that_is_resumed_ends_with_the_login_as_well(
    worker: Worker, client: AsyncClient, ada: User, go: asyncio.Event
) -> None:
    first = read(await post(client, **STREAM))
    await read_until_said(first)
    frames = read(await client.get(URL, {"after": 0}, headers=STREAM))
    await read_until_said(frames)
    assert len(worker.logins) == 2
    await log_out(client, ada)
    for reader in (first, frames):
        async with asyncio.timeout(5):
            assert [frame["type"] async for frame in reader] == ["error"]
    go.set()
    await eventually(lambda: ChatSession.objects.filter(handled=1, worker=None).aexists())


async def test_a_change_by_another_process_ends_a_stream_with_the_interval(
    worker: Worker, client: AsyncClient, ada: User, go: asyncio.Event, settings: Settings
) -> None:
    """Meanwhile handlers see the user as they are."""
    settings.CHATSESSIONS = {"REVALIDATE_SECONDS": 0.05}
    worker.serve()
    frames = read(await post(client, **STREAM))
    await read_until_said(frames)
    await User.objects.aupdate(username="countess")
    [live] = worker.live.values()
    await until(lambda: live.session.user.get_username() == "countess")
    await User.objects.aupdate(is_active=False)
    async with asyncio.timeout(5):
        assert [frame["type"] async for frame in frames] == ["error"]
    go.set()
    await eventually(lambda: ChatSession.objects.filter(handled=1, worker=None).aexists())


async def test_an_answer_in_one_piece_is_not_given_to_who_may_not_be_here_any_more(
    worker: Worker, client: AsyncClient, ada: User, go: asyncio.Event
) -> None:
    request = asyncio.create_task(post(client))
    await eventually(lambda: ChatSession.objects.filter(head=2).aexists())
    await deactivate(client, ada)
    async with asyncio.timeout(5):
        response = await request
    assert (response.status_code, response.json()["error"]) == (401, "unauthorized")
    go.set()
    await eventually(lambda: ChatSession.objects.filter(handled=1, worker=None).aexists())
    assert len(worker.logins) == 0


async def test_nothing_is_looked_after_once_it_is_answered(
    worker: Worker, client: AsyncClient, go: asyncio.Event
) -> None:
    """However the request ends."""
    go.set()
    assert [frame["type"] async for frame in read(await post(client, **STREAM))][-1] == "turn"
    assert (await post(client)).status_code == 200
    assert (await client.get(URL)).status_code == 200
    assert (await client.get(URL, {"after": "x"})).status_code == 400
    assert (await client.get(URL, {"session": str(uuid4())})).status_code == 404
    assert (await client.post(URL, {"env": 1}, content_type="application/json")).status_code == 400
    assert (await client.delete(URL)).status_code == 204
    assert len(worker.logins) == 0


# Backends that fail


class Broken(ModelBackend):
    """Finds nobody, and no permission."""

    error: type[Exception] = RuntimeError

    async def aget_user(self, user_id: Any) -> Any:
        raise self.error("the directory is down")

    def get_user(self, user_id: Any) -> Any:
        raise self.error("the directory is down")


class Forgetful(ModelBackend):
    """Finds users, and fails at their permissions."""

    error: type[Exception] = RuntimeError

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        raise self.error("the directory is down")


async def log_in_by(backend: type[ModelBackend], settings: Settings, ada: User) -> AsyncClient:
    path = f"{backend.__module__}.{backend.__qualname__}"
    settings.AUTHENTICATION_BACKENDS = [path]
    client = AsyncClient()
    await client.aforce_login(ada, path)
    return client


@pytest.mark.parametrize("backend", [Broken, Forgetful])
async def test_a_backend_that_fails_lets_nobody_in(
    backend: type[ModelBackend],
    ada: User,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    worker: Worker,
) -> None:
    client = await log_in_by(backend, settings, ada)
    for response in (await post(client), await client.get(URL), await client.delete(URL)):
        assert response.status_code == 403
        assert response.json() == {"error": "forbidden", "detail": "This is not allowed."}
    assert "the directory is down" in caplog.text
    assert not await ChatSession.objects.aexists()
    assert len(worker.logins) == 0


@pytest.mark.parametrize("backend", [Broken, Forgetful])
async def test_a_backend_whose_database_is_down_is_to_be_asked_again(
    backend: type[ModelBackend], ada: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "error", DatabaseError)
    client = await log_in_by(backend, settings, ada)
    response = await post(client)
    assert (response.status_code, response.json()["error"]) == (503, "storage_unavailable")


FAILURES = pytest.mark.parametrize(
    ("error", "told"),
    [(RuntimeError, (403, "forbidden")), (DatabaseError, (503, "storage_unavailable"))],
)


@pytest.mark.parametrize("backend", [Broken, Forgetful])
@FAILURES
async def test_a_backend_that_fails_gives_and_takes_no_file(  # noqa: PLR0913, RUF100  # fixtures
    error: type[Exception],
    told: tuple[int, str],
    backend: type[ModelBackend],
    bot: Chat,
    ada: User,
    settings: Settings,
    tmp_path: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(backend, "error", error)
    client = await log_in_by(backend, settings, ada)
    row = await sync_to_async(session_row)(chat=bot.name, user=ada)
    file = await sync_to_async(stored_file)(row)
    url = f"/chats/{row.pk}/files/"
    for response in (await client.get(f"{url}{file.id}/"), await client.post(url, {"file": "x"})):
        assert (response.status_code, response.json()["error"]) == told
    assert "the directory is down" in caplog.text


@FAILURES
@pytest.mark.parametrize("url", ["threads/", f"threads/{UUID(int=1)}/", "profiles/?chat={bot}"])
async def test_a_backend_that_fails_shows_nobody_threads_and_profiles(  # noqa: PLR0913, RUF100
    url: str,
    error: type[Exception],
    told: tuple[int, str],
    bot: Chat,
    ada: User,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Broken, "error", error)
    client = await log_in_by(Broken, settings, ada)
    response = await client.get(f"/chats/{url.format(bot=bot.name)}")
    assert (response.status_code, response.json()["error"]) == told
    assert "the directory is down" in caplog.text
