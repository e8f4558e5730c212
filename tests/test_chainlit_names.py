"""Window messages, and how a name that is not there is missing."""

from __future__ import annotations

from typing import Any

import pytest

import chatsessions as cl
from chatsessions import Chat, ChatError, ContextNotFound
from chatsessions.consumers import ChatConsumer
from chatsessions.handlers.chat import _chats
from chatsessions.testing import ChatCommunicator


def test_another_name_is_missing_as_in_any_module() -> None:
    with pytest.raises(AttributeError) as caught:
        cl.no_such  # noqa: B018
    assert str(caught.value) == "module 'chatsessions' has no attribute 'no_such'"
    assert caught.value.name == "no_such"
    with pytest.raises(ImportError, match="cannot import name 'no_such'"):
        from chatsessions import no_such  # noqa: F401


# Window messages


@pytest.mark.django_db(transaction=True)
async def test_a_window_message_comes_and_goes(chat: Chat) -> None:
    @chat.on_window_message
    async def received(data: Any) -> None:
        await cl.send_window_message({"echo": data})

    async with ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/", timeout=10) as tab:
        for data in ("text", {"deep": [1, None]}, None):
            await tab.send_event("window_message", data)
            assert await tab.wait_for_turn() == "done"
            assert (await tab.receive_event("window_message")).data == {"echo": data}


@pytest.mark.django_db(transaction=True)
async def test_a_window_message_that_nobody_takes_fails(chat: Chat) -> None:
    async with ChatCommunicator(ChatConsumer.as_asgi(chat=chat), "/", timeout=10) as tab:
        await tab.send_event("window_message", 1)
        assert await tab.wait_for_turn() == "failed"
        assert (await tab.receive_event("error")).data["code"] == "no_handler"


def test_a_window_message_has_a_hook_of_its_own(chat: Chat) -> None:
    with pytest.raises(ChatError, match="go to on_window_message"):
        chat.on_event("window_message")


def test_the_decorator_of_a_module() -> None:
    @cl.on_window_message
    def received() -> None: ...

    assert _chats.pop(__name__).hooks["window_message"].function is received


async def test_without_a_session_there_is_no_window() -> None:
    with pytest.raises(ContextNotFound, match="send_window_message"):
        await cl.send_window_message(1)
