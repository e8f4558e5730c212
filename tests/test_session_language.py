"""The session's language decides what its client is told, by websocket and by HTTP."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from django.urls import include, path
from django.utils import translation

from chatsessions import Chat, ChatSettings, Message, context
from chatsessions.consumers import ChatConsumer
from chatsessions.http.view import ChatView
from chatsessions.input_widget import Slider
from chatsessions.models import ChatSession
from chatsessions.workers.worker import Worker

from .support.files import bearer, files_url, token_session
from .support.page import Page

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

FAILED = {
    "de": "Etwas ist schiefgegangen. Bitte versuchen Sie es noch einmal.",
    "en": "Something went wrong. Please try again.",
    "es": "Algo ha salido mal. Inténtelo de nuevo.",
    "fr": "Une erreur s’est produite. Veuillez réessayer.",
}


@pytest.fixture
def failing(chat: Chat) -> Chat:
    """Has a setting, and fails at each message."""

    @chat.on_chat_start
    async def start() -> None:
        await ChatSettings([Slider(id="heat", label="Heat", max=1)]).send()

    @chat.on_message
    async def fail(_message: Message) -> None:
        raise RuntimeError("secret")

    return chat


@pytest.fixture(autouse=True)
def urls(failing: Chat, settings: Settings) -> Iterator[None]:
    module = types.ModuleType(f"urls_{uuid4().hex}")
    module.urlpatterns = [  # type: ignore[attr-defined]
        path("chat/", ChatView.as_view(chat=failing)),
        path("chats/", include("chatsessions.urls")),
    ]
    sys.modules[module.__name__] = module
    settings.ROOT_URLCONF = module.__name__
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    yield
    del sys.modules[module.__name__]


async def failure(page: Page, name: str = "message") -> str:
    """What the page is told of an event that the bot fails at."""
    seen = page.here
    n = await page.event(name, {"content": "hello"})
    told = await page.until({"type": "event", "name": "error", "turn": n}, since=seen)
    return str(told["data"]["detail"])


async def refusal(page: Page, name: str, data: Any) -> str:
    """What the page is told of an event that is not accepted."""
    seen = page.here
    n = await page.event(name, data)
    told = await page.until({"type": "error", "n": n}, since=seen)
    return str(told["detail"])


# By websocket


@pytest.mark.parametrize("language", FAILED)
async def test_a_handler_that_fails(worker: Worker, failing: Chat, language: str) -> None:
    page = await Page(failing).start(language=language)
    assert await failure(page) == FAILED[language]
    await page.leave()


@pytest.mark.parametrize(
    ("language", "button", "setting"),
    [
        ("de-AT", "Diese Aktion wird nicht mehr angeboten.", "eine Zahl von 0 bis 1"),
        ("fr-CA", "Cette action n’est plus proposée.", "un nombre de 0 à 1"),
        ("es", "Esta acción ya no está disponible.", "un número de 0 a 1"),
        ("tlh", "This action is not offered any more.", "a number from 0 to 1"),
    ],
)
async def test_what_is_refused(
    worker: Worker, failing: Chat, language: str, button: str, setting: str
) -> None:
    """Though the header of the browser asks for another language."""
    headers = [(b"accept-language", b"it")]
    page = await Page(failing, headers=headers).start(language=language)
    await page.outcome(0)
    action = {"id": str(uuid4()), "name": "go", "payload": {}}
    assert await refusal(page, "action", action) == button
    await page.leave()
    page = await Page(failing, headers=headers).start(language=language)
    await page.outcome(0)
    told = await refusal(page, "settings", {"heat": 2})
    assert setting in told
    assert "'heat'" in told  # by which the form finds the field
    await page.leave()


class Closed(ChatConsumer):
    async def authorize(self, session: Any) -> bool:
        return False


async def test_before_there_is_a_session_the_browsers_language_counts(
    worker: Worker, failing: Chat
) -> None:
    asked = [(b"accept-language", b"fr-FR,fr;q=0.9")]
    page = await Page(Closed.as_asgi(chat=failing), headers=asked).connect()
    page.put("hello")
    told = await page.until({"type": "error"})
    assert (told["code"], told["detail"]) == ("forbidden", "Ceci n’est pas autorisé.")
    await page.leave()


async def test_a_session_goes_on_in_the_language_that_its_client_names_next(
    worker: Worker, failing: Chat
) -> None:
    """As when the visitor chooses another language on the site. One that names none keeps it."""
    page = await Page(failing).start(language="de")
    assert await failure(page) == FAILED["de"]
    await page.resume(language="fr")
    assert await failure(page) == FAILED["fr"]
    assert (await ChatSession.objects.aget()).language == "fr"
    await page.resume()
    assert await failure(page) == FAILED["fr"]
    await page.leave()


async def test_the_languages_of_two_sessions_do_not_mix(worker: Worker, failing: Chat) -> None:
    both = asyncio.Barrier(2)
    spoken: dict[str, str | None] = {}

    @failing.on_event("meet")
    async def meet() -> None:
        await both.wait()
        spoken[context.session.language] = translation.get_language()
        raise RuntimeError

    pages = [await Page(failing).start(language=language) for language in ("de", "es")]
    told = await asyncio.gather(*(failure(page, "meet") for page in pages))
    assert told == [FAILED["de"], FAILED["es"]]
    assert spoken == {"de": "de", "es": "es"}
    for page in pages:
        await page.leave()


# By HTTP


async def post(client: AsyncClient, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    response = await client.post("/chat/", body, content_type="application/json", headers=headers)
    told: dict[str, Any] = response.json()
    return told


async def test_a_request_names_the_language_of_its_session(worker: Worker) -> None:
    client = AsyncClient()
    told = await post(client, {"content": "hello", "language": "es"}, accept_language="de")
    assert told["events"][-1]["data"]["detail"] == FAILED["es"]
    by = {"session": told["session"], "token": told["token"]}
    wrong = by | {"name": "settings", "data": {"heat": 2}}
    refused = await post(client, wrong, accept_language="de")
    assert refused["detail"] == "ajustes: 'heat' admite un número de 0 a 1"


async def test_where_no_session_is_known_the_requests_language_counts(worker: Worker) -> None:
    client = AsyncClient()
    for language, detail in (
        ("de", "Diesen Chat gibt es nicht."),
        ("fr", "Ce chat n’existe pas."),
        ("es-MX", "Este chat no existe."),
        ("nl", "There is no such chat."),
    ):
        headers = {"accept-language": language}
        response = await client.get("/chats/profiles/?chat=none", headers=headers)
        assert response.json()["detail"] == detail


async def test_a_file_is_refused_in_the_sessions_language(worker: Worker, failing: Chat) -> None:
    session, token = await sync_to_async(token_session)(chat=failing.name, language="de")
    response = await AsyncClient().post(
        files_url(session),
        b"",
        content_type="text/plain",
        headers={**bearer(token), "accept-language": "fr"},
    )
    assert response.json() == {"error": "empty_file", "detail": "Die Datei ist leer."}


def test_a_view_leaves_no_language_behind(failing: Chat, client: Any) -> None:
    """The thread is used again, for somebody else."""
    session, token = token_session(chat=failing.name, language="de")
    with translation.override("fr"):
        client.post(files_url(session), b"", content_type="text/plain", headers=bearer(token))
        # LocaleMiddleware has activated the request's, as it does.
        assert translation.get_language() == "en"
