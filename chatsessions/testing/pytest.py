"""
Fixtures for pytest-django: ``pytest_plugins = ["chatsessions.testing.pytest"]`` in conftest.py.

They need pytest-asyncio, in either of its modes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest_asyncio
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test.utils import override_settings

from chatsessions import testing

from .database import close_connections, give_back, held_by_thread, hold, lend, release

if TYPE_CHECKING:
    from .communicator import ChatCommunicator


class ChatCommunicatorFactory:
    """
    Makes communicators: ``async with chat_communicator(application, "/ws/counter/") as chat:``.

    Takes what ``ChatCommunicator`` takes. Those still open at the end of the test are closed.
    Raises ``RuntimeError`` in another event loop than the fixture's.
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
        """Close all that are still open."""
        for made in self._made:
            await made.aclose()


@pytest_asyncio.fixture
async def chat_communicator(db: None) -> AsyncIterator[ChatCommunicatorFactory]:
    """
    A factory of ``ChatCommunicator``, and a database that the test and the server both see.

    Under ``django_db(transaction=True)`` the server works as it does in production. Otherwise the
    test is rolled back at its end as ever: the server writes in the test's own transaction, with
    ``JOURNAL_INLINE``, and so do ``sync_to_async`` and asynchronous queries of the test.
    """
    factory = ChatCommunicatorFactory(asyncio.get_running_loop())
    held = held_by_thread()
    with ExitStack() as stack:
        if held:
            given = {**getattr(settings, "CHATSESSIONS", {}), "JOURNAL_INLINE": True}
            stack.enter_context(override_settings(CHATSESSIONS=given))
        await sync_to_async(close_connections)()
        replaced = await sync_to_async(lend)(held)
        kept = await sync_to_async(hold)()
        try:
            yield factory
        finally:
            await factory.aclose()
            await sync_to_async(release)(kept)
            await sync_to_async(give_back)(replaced)
            await sync_to_async(close_connections)()
