"""Chainlit's names: those that are here work, the others say what to use."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import chatsessions
import chatsessions as cl
from chatsessions import Chat, ChatError, ContextNotFound
from chatsessions.chainlit_names import INSTEAD, NotFromChainlit
from chatsessions.chat import _chats
from chatsessions.consumers import ChatConsumer
from chatsessions.testing import ChatCommunicator

ROOT = Path(__file__).resolve().parent.parent
HERE = ["ChatProfile", "ErrorMessage", "Message", "context", "on_window_message", "user_session"]


@pytest.mark.parametrize("name", HERE)
def test_a_name_that_is_known_from_there_is_here(name: str) -> None:
    assert name in chatsessions.__all__


@pytest.mark.parametrize("name", INSTEAD)
def test_a_name_that_is_not_here_says_what_to_use(name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(cl, name)
    assert isinstance(caught.value, NotFromChainlit)
    assert f"has no {name!r}" in str(caught.value)
    assert "Instead: " in str(caught.value)
    assert caught.value.name == name
    assert not hasattr(cl, name)


def test_the_error_survives_a_copy() -> None:
    with pytest.raises(NotFromChainlit) as caught:
        cl.Step  # noqa: B018
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):  # noqa: S301
        assert str(again) == str(caught.value)
        assert again.instead == caught.value.instead


@pytest.mark.parametrize("name", ["Step", "password_auth_callback", "data_layer"])
def test_an_import_says_it_too(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from chatsessions import Message, {name}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"ImportError: {chatsessions.chainlit_names.sentence(name)}"


def test_an_import_of_nothing_known_fails_as_ever() -> None:
    with pytest.raises(ImportError, match="cannot import name 'no_such'"):
        from chatsessions import no_such  # noqa: F401


def test_no_part_of_the_package_has_such_a_name() -> None:
    parts = {path.stem for path in (ROOT / "chatsessions").iterdir()}
    assert not parts & set(INSTEAD)
    assert not set(chatsessions.__all__) & set(INSTEAD)
    assert not set(dir(chatsessions)) & set(INSTEAD)


def test_what_is_said_names_things_that_are_there() -> None:
    for text in INSTEAD.values():
        assert not text.endswith(".")
        for name in ("ChatSession", "user_session", "on_event", "stream_token", "end_session"):
            assert (
                name not in text
                or hasattr(chatsessions, name)
                or name
                in (
                    "ChatSession",
                    "stream_token",
                )
            )


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
