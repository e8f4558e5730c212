"""Starters: what a user may begin with, told once to a new session."""

from __future__ import annotations

from typing import Any

import pytest

import chatsessions as cl
from chatsessions import Chat, ChatError, ChatProfile, Message, Starter, context
from chatsessions.handlers.chat import _chats, module_chat
from chatsessions.workers.worker import Worker

from .support.sessions import Client, until

pytestmark = pytest.mark.django_db(transaction=True)

HOURS = Starter("Hours", "When are you open?", icon="clock")
SHOES = Starter("Shoes", "I need shoes.")


def offered(client: Client) -> list[list[str]]:
    """The labels of each event that offers starters."""
    return [
        [one["label"] for one in data["starters"]]
        for name, data in client.events
        if name == "starters"
    ]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_new_session_is_told_once_what_it_may_begin_with(
    worker: Worker, chat: Chat, is_async: bool
) -> None:
    asked: list[Any] = []

    def starters(user: Any) -> list[Starter]:
        asked.append((user.is_anonymous, context.session.chat))
        return [HOURS, SHOES]

    async def starters_async(user: Any) -> list[Starter]:
        return starters(user)

    chat.starters(starters_async if is_async else starters)

    @chat.on_chat_start
    async def start() -> None:
        await Message("hello").send()

    client = await Client.open(worker, chat)
    await client.outcome(0)
    assert client.events[0] == (
        "starters",
        {
            "starters": [
                {"label": "Hours", "message": "When are you open?", "icon": "clock"},
                {"label": "Shoes", "message": "I need shoes.", "icon": None},
            ]
        },
    )
    assert client.texts == ["hello"]
    assert asked == [(True, chat.name)]
    client.leave()
    back = await Client.open(worker, chat, client.live.id, client.token)
    assert back.resumed
    assert asked == [(True, chat.name)]


async def test_the_starters_of_a_profile_are_its_own(worker: Worker, chat: Chat) -> None:
    @chat.profiles
    async def profiles() -> list[ChatProfile]:
        return [ChatProfile("shop", starters=[SHOES]), ChatProfile("desk")]

    @chat.starters
    async def starters() -> list[Starter]:
        return [HOURS]

    for profile, labels in (("shop", ["Shoes"]), ("desk", ["Hours"])):
        await chat.get_profiles(None)  # type: ignore[arg-type]  # as the connection does
        client = await Client.open(worker, chat, profile=profile)
        await until(lambda client=client: client.events)  # type: ignore[misc]
        assert offered(client) == [labels]


@pytest.mark.parametrize("found", [["Hours"], None], ids=["no starters at all", "none"])
async def test_where_there_are_none_there_is_no_event(
    worker: Worker, chat: Chat, found: Any
) -> None:
    @chat.starters
    async def starters() -> Any:
        return found

    @chat.on_message
    async def answer() -> None:
        await Message("at your service").send()

    client = await Client.open(worker, chat)
    assert await client.run("message", {"content": "hello"}) == "done"
    assert [name for name, _ in client.events] == ["message"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("", "x"), "The label of a Starter"),
        (("x", " "), "The message of a Starter"),
        ((1, "x"), "The label of a Starter"),
        (("x", "x", 1), "The icon of the Starter 'x'"),
    ],
)
def test_starters_that_make_no_sense(arguments: Any, problem: str) -> None:
    with pytest.raises(ChatError, match=problem):
        Starter(*arguments)
    with pytest.raises(ChatError, match="no list of Starter"):
        ChatProfile("x", starters=["x"])  # type: ignore[list-item]


def test_the_decorator_of_a_module() -> None:
    @cl.set_starters
    async def begin() -> list[Starter]:
        return [HOURS]

    try:
        assert module_chat(__name__).may_have_starters
        with pytest.raises(ChatError, match="has a handler for 'starters' already"):
            cl.set_starters(list)
    finally:
        del _chats[__name__]
