"""A bot of the test's own: what the test decorates with ``cl``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chatsessions import module_chat
from chatsessions.consumers import ChatConsumer
from chatsessions.handlers.chat import _chats, resolve_chat
from chatsessions.models import ChatSession
from chatsessions.testing import ChatCommunicator
from tests.support.sessions import eventually

Visit = Callable[..., ChatCommunicator]


class Tab(ChatCommunicator):
    """A tab with the bot in it."""

    async def tell(self, text: str, **options: Any) -> list[str]:
        """Send a message; return what the bot's messages of that turn say."""
        before = len(self.messages)
        await self.send(text, **options)
        assert await self.wait_for_turn() == "done", self.errors
        return [one.content for one in self.messages[before:] if one.author != "User"]

    async def move(self) -> None:
        """Let the session go out of memory, and come back to it."""
        await self.drop()
        released = ChatSession.objects.filter(pk=self.session_id, worker=None)
        await eventually(released.aexists)
        assert await self.resume()


@pytest.fixture
def visit(request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Open a tab with the bot that the test has written."""
    module = request.module.__name__

    def open_tab(**options: Any) -> Tab:
        chat = resolve_chat(module_chat(module))
        return Tab(ChatConsumer.as_asgi(chat=chat), "/", timeout=20, **options)

    yield open_tab
    _chats.pop(module, None)
