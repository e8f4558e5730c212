"""Profiles: what a chat offers, what a client may choose, and the page that asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from channels.auth import AuthMiddlewareStack
from django.contrib.auth.models import AnonymousUser, User
from django.test import AsyncClient, override_settings
from django.urls import include, path

import chatsessions
from chatsessions import Chat, ChatError, ChatProfile, Message, user_session
from chatsessions.consumers import ChatConsumer, SessionConsumer
from chatsessions.handlers.chat import _chats
from chatsessions.handlers.profiles import chosen_profile, default_profile
from chatsessions.models import ChatSession
from chatsessions.testing import ChatCommunicator, ChatRefused

from .support.communicator import Communicator

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

urlpatterns = [path("chats/", include("chatsessions.urls"))]

FAST = ChatProfile("fast", "Answers at once.", icon="/static/fast.svg")
GOOD = ChatProfile("good", "Thinks *first*.", default=True, display_name="Very good")
STAFF = ChatProfile("staff")


def visit(chat: Chat, **options: Any) -> ChatCommunicator:
    return ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/", timeout=10, **options)


async def refused(tab: ChatCommunicator) -> tuple[str, int | None]:
    with pytest.raises(ChatRefused) as caught:
        async with tab:
            pass
    return tab.errors[-1].code, caught.value.code


async def profile_of(tab: ChatCommunicator) -> str:
    await tab.send("which?")
    return (await tab.receive_message()).content


@pytest.fixture
def bot(chat: Chat) -> Chat:
    @chat.profiles
    async def offered(user: Any) -> list[ChatProfile]:
        return [FAST, GOOD, *([STAFF] if user.is_staff else [])]

    _tells(chat)
    return chat


def _tells(chat: Chat) -> None:
    @chat.on_message
    async def answer(_: Message) -> None:
        await Message(str(user_session["chat_profile"])).send()


# Choosing


async def test_the_profile_that_was_chosen_is_the_sessions(bot: Chat) -> None:
    async with visit(bot, profile="fast") as tab:
        assert await profile_of(tab) == "fast"
        row = await ChatSession.objects.aget(pk=tab.session_id)
        assert row.profile == "fast"


async def test_one_that_is_not_offered_gets_no_session(bot: Chat) -> None:
    for name in ("slow", "staff", "Fast", "fast ", "Very good"):
        assert await refused(visit(bot, profile=name)) == ("forbidden", 4502)
    assert await ChatSession.objects.acount() == 0


async def test_what_is_offered_depends_on_the_user(bot: Chat) -> None:
    boss = await User.objects.acreate_user("boss", is_staff=True)
    async with visit(bot, profile="staff", user=boss) as tab:
        assert await profile_of(tab) == "staff"


async def test_without_a_choice_it_is_the_default(bot: Chat) -> None:
    for nothing in (None, ""):
        async with visit(bot, profile=nothing) as tab:
            assert await profile_of(tab) == "good"


async def test_a_return_keeps_its_profile(bot: Chat) -> None:
    async with visit(bot, profile="fast") as tab:
        pass
    returned = {"session": tab.session_id, "token": tab.token}
    async with visit(bot, profile="no such", **returned) as tab:
        assert tab.resumed
        assert await profile_of(tab) == "fast"


async def test_a_lost_session_is_a_new_one_with_the_rules_of_one(bot: Chat) -> None:
    gone = {"session": "5f0c8a8e-7d5e-4b6e-9c42-1f2f8d9a0b11", "token": "x"}
    assert await refused(visit(bot, profile="no such", **gone)) == ("forbidden", 4502)


async def test_a_chat_that_offers_none_takes_any_text(chat: Chat) -> None:
    _tells(chat)
    async with visit(chat, profile="whatever") as tab:
        assert await profile_of(tab) == "whatever"
    async with visit(chat) as tab:
        assert await profile_of(tab) == "None"


async def test_a_chat_may_offer_nothing_to_some(chat: Chat) -> None:
    @chat.profiles
    def offered() -> list[ChatProfile]:
        return []

    _tells(chat)
    assert await refused(visit(chat, profile="fast")) == ("forbidden", 4502)
    async with visit(chat) as tab:
        assert await profile_of(tab) == "None"


async def test_a_function_may_query(chat: Chat) -> None:
    await User.objects.acreate_user("ada")

    @chat.profiles
    def offered(user: Any) -> Iterator[ChatProfile]:
        return (ChatProfile(one.username) for one in User.objects.all())

    _tells(chat)
    async with visit(chat) as tab:
        assert await profile_of(tab) == "ada"
    assert [one.name for one in await chat.get_profiles(AnonymousUser())] == ["ada"]


@pytest.mark.parametrize("given", ["text", {"a": 1}, 5, ["fast"], [FAST, None], [FAST, FAST]])
async def test_a_function_that_fails_lets_nobody_in(
    chat: Chat, given: Any, caplog: pytest.LogCaptureFixture
) -> None:
    chat.profiles(lambda: given)
    with pytest.raises(ChatError, match="@profiles of"):
        await chat.get_profiles(AnonymousUser())
    assert await refused(visit(chat)) == ("forbidden", 4502)
    assert f"The profiles of {chat.name} failed" in caplog.text
    assert await ChatSession.objects.acount() == 0


async def test_a_consumer_of_ones_own_has_the_default(bot: Chat) -> None:
    class Own(SessionConsumer):
        async def connect(self) -> None:
            await self.accept()
            await self.send(self.session.profile)

    from chatsessions.testing import shut_down_worker

    bot.name = f"tests.{bot.name}"
    line = Communicator(Own.as_asgi(chat=bot), "/")
    try:
        await line.connect()
        assert await line.receive_from() == "good"
        await line.disconnect()
    finally:
        await shut_down_worker()
        del _chats[bot.name]
        bot.name = bot.name.removeprefix("tests.")


# Declaring


def test_chainlits_decorator_fills_the_chat_of_its_module() -> None:
    @chatsessions.set_chat_profiles
    async def offered(user: Any) -> list[ChatProfile]:
        return [FAST]

    chat = _chats.pop(__name__)
    assert chat.has_profiles
    assert chatsessions.set_chat_profiles.__name__ == "set_chat_profiles"


def test_a_chat_has_one_function_for_its_profiles(bot: Chat) -> None:
    with pytest.raises(ChatError, match="has a handler for 'profiles' already"):
        bot.profiles(list)


def test_a_function_takes_the_user_or_nothing(chat: Chat) -> None:
    with pytest.raises(ChatError, match="takes one or none"):
        chat.profiles(lambda user, language: [])


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"name": 5},
        {"name": "a\nb"},
        {"name": "a", "markdown_description": None},
        {"name": "a", "icon": 5},
        {"name": "a", "display_name": []},
        {"name": "a", "default": "yes"},
    ],
)
def test_a_profile_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ChatError):
        ChatProfile(**fields)


def test_the_default_is_the_first_that_says_so_or_the_first() -> None:
    assert default_profile([FAST, GOOD]) is GOOD
    assert default_profile([FAST, STAFF]) is FAST
    assert default_profile([]) is None
    assert chosen_profile([], "") == ""


# The page that asks


async def get(name: str, *, user: User | None = None) -> Any:
    client = AsyncClient()
    if user is not None:
        await client.aforce_login(user)
    with override_settings(ROOT_URLCONF=__name__):
        return await client.get("/chats/profiles/", {"chat": name})


async def test_a_page_gets_what_its_user_may_choose(bot: Chat) -> None:
    ChatConsumer.as_asgi(chat=bot)
    boss = await User.objects.acreate_user("boss", is_staff=True)
    response = await get(bot.name)
    assert response.json() == {
        "chat": bot.name,
        "profiles": [
            {
                "name": "fast",
                "display_name": "fast",
                "markdown_description": "Answers at once.",
                "icon": "/static/fast.svg",
                "default": False,
            },
            {
                "name": "good",
                "display_name": "Very good",
                "markdown_description": "Thinks *first*.",
                "icon": None,
                "default": True,
            },
        ],
    }
    assert "no-store" in response["Cache-Control"]
    names = [one["name"] for one in (await get(bot.name, user=boss)).json()["profiles"]]
    assert names == ["fast", "good", "staff"]


async def test_a_page_of_a_function_that_fails(
    chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    """As over the websocket: nothing is offered, and why is in the log alone."""
    chat.profiles(lambda: [1 // 0])
    ChatConsumer.as_asgi(chat=chat)
    response = await get(chat.name)
    assert (response.status_code, response.json()["error"]) == (403, "forbidden")
    assert "division" not in response.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_chat_without_profiles_offers_none(chat: Chat) -> None:
    assert (await get(chat.name)).json() == {"chat": chat.name, "profiles": []}


async def test_only_a_chat_that_is_served_is_found() -> None:
    declared = chatsessions.handlers.chat.module_chat("tests.declared_and_not_served")
    try:
        for name in (declared.name, "", "no such", "../secret", "os"):
            response = await get(name)
            assert response.status_code == 404
            assert response.json()["error"] == "not_found"
    finally:
        del _chats[declared.name]


async def test_who_is_not_let_in_does_not_see_what_is_inside(bot: Chat) -> None:
    AuthMiddlewareStack(ChatConsumer.as_asgi(chat=bot, permission_required="auth.view_user"))
    ada = await User.objects.acreate_user("ada")
    boss = await User.objects.acreate_user("boss", is_superuser=True)
    response = await get(bot.name)
    assert (response.status_code, response.json()["error"]) == (403, "unauthorized")
    response = await get(bot.name, user=ada)
    assert (response.status_code, response.json()["error"]) == (403, "forbidden")
    assert (await get(bot.name, user=boss)).status_code == 200
    # Another consumer serves it to everybody.
    ChatConsumer.as_asgi(chat=bot)
    assert (await get(bot.name)).status_code == 200


async def test_the_page_only_asks(bot: Chat) -> None:
    with override_settings(ROOT_URLCONF=__name__):
        assert (await AsyncClient().post("/chats/profiles/")).status_code == 405


async def test_a_project_without_the_auth_middleware_has_strangers(
    bot: Chat, settings: Settings
) -> None:
    settings.MIDDLEWARE = []
    assert (await get(bot.name)).status_code == 200
