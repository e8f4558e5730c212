"""``Chat(beside=…)``: handlers that do not wait for the one that runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

import chatsessions
from chatsessions import Action, AskUserMessage, Chat, ChatError, Message, aemit_to, user_session
from chatsessions.consumers import ChatConsumer
from chatsessions.handlers.chat import _chats
from chatsessions.storage.journal import Batch
from chatsessions.testing import ChatCommunicator
from chatsessions.workers.worker import get_worker

from .support.sessions import until
from .support.storage import state_of

pytestmark = pytest.mark.django_db(transaction=True)


def visit(chat: Chat, **options: Any) -> ChatCommunicator:
    return ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/", timeout=10, **options)


@pytest.fixture
def waiting(chat: Chat) -> Chat:
    """A chat whose message handler waits for a button, or for the window."""
    pressed = asyncio.Event()
    chat.beside = frozenset({"action", "window_message"})

    @chat.on_message
    async def wait() -> None:
        await Message("Press it.", actions=[Action("go", label="Go")]).send()
        await pressed.wait()
        await Message("It was pressed.").send()

    @chat.on_action("go")
    async def go() -> None:
        pressed.set()

    @chat.on_window_message
    async def window(data: Any) -> None:
        await Message(f"The window says {data}.").send()

    return chat


async def test_a_button_wakes_the_handler_that_waits_for_it(waiting: Chat) -> None:
    async with visit(waiting) as tab:
        n = await tab.send("hello")
        assert (await tab.receive_message()).content == "Press it."
        assert await tab.wait_for_turn(await tab.send_event("window_message", 1)) == "done"
        assert (await tab.receive_message()).content == "The window says 1."
        assert await tab.wait_for_turn(await tab.press("Go")) == "done"
        assert await tab.wait_for_turn(n) == "done"
        assert (await tab.receive_message()).content == "It was pressed."


async def test_others_wait_for_the_handler_that_runs(waiting: Chat) -> None:
    done: list[str] = []

    @waiting.on_event("later")
    async def later() -> None:
        done.append("later")

    async with visit(waiting) as tab:
        n = await tab.send("hello")
        later_n = await tab.send_event("later")
        assert await tab.wait_for_turn(await tab.send_event("window_message", 1)) == "done"
        assert done == []
        await tab.press("Go")
        assert await tab.wait_for_turn(n) == "done"
        assert await tab.wait_for_turn(later_n) == "done"


async def test_of_those_beside_others_one_runs_at_a_time(chat: Chat) -> None:
    """Two of them ran at the same time if no other handler ran."""
    chat.beside = frozenset({"window_message"})
    order: list[tuple[str, int]] = []
    go = asyncio.Event()

    @chat.on_window_message
    async def window(number: int) -> None:
        order.append(("begins", number))
        await go.wait()
        order.append(("ends", number))

    async with visit(chat) as tab:
        first = await tab.send_event("window_message", 1)
        second = await tab.send_event("window_message", 2)
        await until(lambda: get_worker().live[tab.session_id].inbound.stored == second)
        await aemit_to(tab.session_id, "note")
        go.set()
        assert await tab.wait_for_turn(first) == "done"
        assert await tab.wait_for_turn(second) == "done"
    assert order == [("begins", 1), ("ends", 1), ("begins", 2), ("ends", 2)]


async def test_none_runs_before_the_session_is_set_up(chat: Chat) -> None:
    """It did not find what on_session_load makes, and on_chat_start had not begun."""
    chat.beside = frozenset({"window_message"})
    order: list[str] = []
    may_load, may_start = asyncio.Event(), asyncio.Event()

    @chat.session_lifespan
    async def lifespan() -> AsyncIterator[None]:
        order.append("lifespan")
        yield

    @chat.on_session_load
    async def load() -> None:
        await may_load.wait()
        order.append("load")

    @chat.on_chat_start
    async def start() -> None:
        order.append("start")
        await may_start.wait()

    @chat.on_window_message
    async def window() -> None:
        order.append("window")

    async with visit(chat) as tab:
        n = await tab.send_event("window_message", 1)
        await until(lambda: get_worker().live[tab.session_id].inbound.stored == n)
        await aemit_to(tab.session_id, "note")
        may_load.set()
        assert await tab.wait_for_turn(n) == "done"
        assert order == ["lifespan", "load", "start", "window"]
        may_start.set()


async def test_one_beside_a_handler_that_asks_does_not_hold_it_up(chat: Chat) -> None:
    """After the answer the handler goes on, though the other one waits for it."""
    chat.beside = frozenset({"window_message"})
    answered = asyncio.Event()

    @chat.on_message
    async def ask() -> None:
        await AskUserMessage("Who?").send()
        answered.set()

    @chat.on_window_message
    async def window() -> None:
        await answered.wait()

    async with visit(chat) as tab:
        n = await tab.send("hello")
        call = (await tab.receive_event("ask")).data["call"]
        beside = await tab.send_event("window_message", 1)
        await tab.answer(call, {"content": "Ada"})
        assert await tab.wait_for_turn(n) == "done"
        assert await tab.wait_for_turn(beside) == "done"


@pytest.mark.parametrize("ends", ["before it", "meanwhile"])
async def test_a_value_that_one_is_about_to_mend_is_left_alone_when_another_one_ends(
    chat: Chat, ends: str
) -> None:
    """The other one was told as failed, and what the value was mended to was lost."""
    chat.beside = frozenset({"window_message"})
    begun, may_break, broken, may_mend = (asyncio.Event() for _ in range(4))

    @chat.on_message
    async def other() -> None:
        await (begun if ends == "before it" else broken).wait()

    @chat.on_window_message
    async def window() -> None:
        begun.set()
        history = user_session.setdefault("history", [])
        await may_break.wait()
        history.append(object())
        broken.set()
        await may_mend.wait()
        history[-1] = "mended"

    async with visit(chat) as tab:
        n = await tab.send("hello")
        beside = await tab.send_event("window_message", 1)
        if ends == "meanwhile":
            may_break.set()
        assert await tab.wait_for_turn(n) == "done"
        may_break.set()
        await broken.wait()
        await aemit_to(tab.session_id, "note")
        await get_worker().journal.settled()
        may_mend.set()
        assert await tab.wait_for_turn(beside) == "done"
        assert await state_of(get_worker().live[tab.session_id]) == {"history": ["mended"]}


async def test_a_value_that_cannot_be_stored_is_told_when_the_last_of_two_ends(chat: Chat) -> None:
    chat.beside = frozenset({"window_message"})
    broken = asyncio.Event()

    @chat.on_message
    async def other() -> None:
        await broken.wait()

    @chat.on_window_message
    async def window() -> None:
        user_session.setdefault("history", []).append(object())
        broken.set()
        await until(lambda: 1 in get_worker().live[tab.session_id].turns.handled)

    async with visit(chat) as tab:
        n = await tab.send("hello")
        beside = await tab.send_event("window_message", 1)
        assert await tab.wait_for_turn(n) == "done"
        assert await tab.wait_for_turn(beside) == "failed"
        assert await state_of(get_worker().live[tab.session_id]) == {"history": []}


@pytest.mark.parametrize("names", ["action", 1, [""], [1]])
def test_what_are_no_names(names: Any) -> None:
    with pytest.raises(ChatError, match="beside"):
        Chat("x", beside=names)


def test_the_keys_of_a_module() -> None:
    try:
        chatsessions.user_env("MODEL_API_KEY")
        assert chatsessions.module_chat(__name__).user_env == ("MODEL_API_KEY",)
        with pytest.raises(ChatError, match="user_env"):
            chatsessions.user_env("no, name")
    finally:
        del _chats[__name__]


async def test_another_worker_is_told_of_no_end_before_it_is_stored(
    waiting: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that begins to follow then would never tell its client of that end."""
    takes_commits, ended = threading.Event(), asyncio.Event()
    takes_commits.set()

    waiting.beside |= {"quick"}

    @waiting.on_event("quick")
    async def quick() -> None:
        takes_commits.clear()
        ended.set()

    async with visit(waiting) as tab:
        await tab.send("hello")
        await tab.receive_message()
        worker = get_worker()
        write, waited = worker.store.write, []

        def write_later(batch: Batch) -> None:
            waited.append(not takes_commits.is_set())
            assert takes_commits.wait(30)
            write(batch)

        monkeypatch.setattr(worker.store, "write", write_later)
        live = worker.live[tab.session_id]
        n = await tab.send_event("quick")
        await ended.wait()
        await until(lambda: any(waited))  # the end is being stored
        assert n in live.turns.handled
        assert live.standing().handled_ahead == []
        takes_commits.set()
        assert await tab.wait_for_turn(n) == "done"
        assert live.standing().handled_ahead == [n]
        await tab.press("Go")
        await tab.wait_for_turn(1)
