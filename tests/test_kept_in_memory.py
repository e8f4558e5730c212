"""``Chat(keeps_unstorable=True)``: what cannot be stored stays in memory, beside what can."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pydantic import BaseModel

from chatsessions import Chat, Message, user_session
from chatsessions.consumers import ChatConsumer
from chatsessions.models import ChatSession
from chatsessions.storage import storable
from chatsessions.testing import ChatCommunicator

from .support.sessions import eventually

pytestmark = pytest.mark.django_db(transaction=True)


class Agent:
    """Something that cannot be stored."""

    def __init__(self) -> None:
        self.heard = 0


class Reply(BaseModel):
    """A pydantic model that nobody registers."""

    text: str


@pytest.fixture
def lenient(chat: Chat) -> Chat:
    """A chat that keeps an agent and a list, and says what it has."""
    chat.keeps_unstorable = True

    @chat.on_chat_start
    async def start() -> None:
        user_session["agent"] = Agent()
        user_session["history"] = [{"role": "user"}]

    @chat.on_message
    async def message(message: Message) -> None:
        agent = user_session.get("agent")
        if agent is not None:
            agent.heard += 1
        if message.content == "model":
            user_session["history"].append(Reply(text="hello"))
        elif message.content == "object":
            user_session["history"].append(Agent())
        elif message.content == "mend":
            user_session["history"].pop()
        elif message.content == "big":
            user_session["big"] = "x" * 2_000_000
        heard = agent and agent.heard
        await Message(f"{heard} {sorted(user_session)} {sorted(user_session.lost)}").send()

    return chat


def visit(chat: Chat) -> ChatCommunicator:
    return ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/", timeout=10)


async def say(tab: ChatCommunicator, text: str) -> str:
    await tab.send(text)
    return (await tab.receive_message()).content


async def moved(tab: ChatCommunicator) -> None:
    """Let the session go out of memory, and come back to it."""
    await tab.drop()
    await eventually(ChatSession.objects.filter(pk=tab.session_id, worker=None).aexists)
    assert await tab.resume()


async def state_of(tab: ChatCommunicator) -> Any:
    await tab.send_event("nothing")
    await tab.wait_for_turn()
    row = await ChatSession.objects.aget(pk=tab.session_id)
    return row.state


async def test_an_object_is_there_until_the_session_moves(
    lenient: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    async with visit(lenient) as tab:
        assert await say(tab, "") == "1 ['agent', 'history'] []"
        assert await say(tab, "") == "2 ['agent', 'history'] []"
        warned = [one for one in caplog.records if one.name == "chatsessions.user_session"]
        assert [one.levelno for one in warned] == [logging.WARNING]
        assert "user_session['agent'] is kept in the memory" in warned[0].getMessage()
        assert "user_session.local" in warned[0].getMessage()
        await moved(tab)
        assert await say(tab, "") == "None ['history'] ['agent']"
        assert "~#memory" in await state_of(tab)


async def test_a_change_inside_decides_again(lenient: Chat) -> None:
    async with visit(lenient) as tab:
        await say(tab, "object")
        assert '"history":{"~#memory":"builtins.list"}' in await state_of(tab)
        await say(tab, "mend")
        assert '"history":[{"role":"user"}]' in await state_of(tab)
        await say(tab, "object")
        await moved(tab)
        assert await say(tab, "") == "None [] ['agent', 'history']"


async def test_pydantic_objects_are_stored(lenient: Chat) -> None:
    name = storable.default_name(Reply)
    async with visit(lenient) as tab:
        await say(tab, "model")
        # As in a process that has not stored one yet.
        storable.by_class.pop(Reply)
        storable.by_name.pop(name)
        await moved(tab)

        @lenient.on_event("check")
        async def check() -> None:
            await Message(user_session["history"][-1].text).send()

        await tab.send_event("check")
        assert (await tab.receive_message()).content == "hello"
    storable.by_class.pop(Reply, None)
    storable.by_name.pop(name, None)


async def test_a_model_that_could_not_be_found_again_is_in_memory(lenient: Chat) -> None:
    class Local(BaseModel):
        pass

    @lenient.on_event("local")
    async def local() -> None:
        user_session["local"] = Local()

    async with visit(lenient) as tab:
        await tab.send_event("local")
        assert await tab.wait_for_turn() == "done"
        assert "Local" in await state_of(tab)
        await moved(tab)
        assert await say(tab, "") == "None ['history'] ['agent', 'local']"


async def test_what_takes_too_much_is_in_memory(lenient: Chat) -> None:
    async with visit(lenient) as tab:
        assert await say(tab, "big") == "1 ['agent', 'big', 'history'] []"
        await moved(tab)
        assert await say(tab, "") == "None ['history'] ['agent', 'big']"
