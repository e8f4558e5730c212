"""Fixtures of the unit tests. Those of servers and browsers have a ``conftest.py`` of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from chatsessions.chat import Chat, _chats, resolve_chat
from chatsessions.worker import Worker

from .support.sessions import running_worker
from .support.storage import SpyCache

if TYPE_CHECKING:
    from pytest_django import Settings


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """The worker of the test's event loop, which leaves nothing behind."""
    async with running_worker() as running:
        yield running
    # Where the queries of tests and async handlers ran.
    await sync_to_async(connections.close_all)()


@pytest.fixture
def chat() -> Iterator[Chat]:
    """A routed chat of its own name."""
    chat = resolve_chat(Chat(f"tests.{uuid4().hex}"))
    yield chat
    del _chats[chat.name]


@pytest.fixture
def cache(settings: Settings) -> Iterator[type[SpyCache]]:
    """A cache that keeps what it was given; of its own, as local memory is shared by name."""
    backend = f"{SpyCache.__module__}.{SpyCache.__qualname__}"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "tests.spy"}}
    yield SpyCache
    SpyCache.refuses = SpyCache.raises = False
    SpyCache.max_bytes = 2**30
    SpyCache.calls.clear()
    SpyCache.timeouts.clear()
    SpyCache("tests.spy", {}).clear()
