"""
Fixtures for pytest-django: ``pytest_plugins = ["chatsessions.testing.pytest"]`` in conftest.py.

They need pytest-asyncio, in either of its modes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connections

from chatsessions import testing

if TYPE_CHECKING:
    from .communicator import ChatCommunicator


class ChatCommunicatorFactory:
    """
    Makes communicators: ``async with chat_communicator(application, "/ws/counter/") as chat:``.

    A call takes the arguments of ``ChatCommunicator``. Communicators that are open at the end of
    the test are closed. Raises ``RuntimeError`` in another event loop than the fixture's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._made: list[ChatCommunicator] = []

    def __call__(self, application: Any, path: str, **options: Any) -> ChatCommunicator:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "chat_communicator lives in another event loop than the test. Fixtures run in "
                "the loop of asyncio_default_fixture_loop_scope; give the test the same loop_scope."
            )
        made = testing.ChatCommunicator(application, path, **options)
        self._made.append(made)
        return made

    async def aclose(self) -> None:
        """Close all communicators."""
        for made in self._made:
            await made.aclose()


@pytest_asyncio.fixture
async def chat_communicator(transactional_db: None) -> AsyncIterator[ChatCommunicatorFactory]:
    """
    A factory of ``ChatCommunicator``, with a database that both the test and the server see.

    The test uses real transactions, as with ``django_db(transaction=True)``: the tables are emptied
    at its end.
    """
    factory = ChatCommunicatorFactory(asyncio.get_running_loop())
    try:
        yield factory
    finally:
        await factory.aclose()
        await sync_to_async(connections.close_all)()
