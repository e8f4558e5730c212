"""Stored rows, and a cache that records its calls."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import msgspec
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.locmem import LocMemCache
from django.utils import timezone

from chatsessions import Chat
from chatsessions.models import ChatSession, Worker
from chatsessions.sessions.session import LiveSession

# Rows


def session_row(**fields: Any) -> ChatSession:
    """Store a session: by default an anonymous one that is away and has been used."""
    now = timezone.now()
    given: dict[str, Any] = {
        "chat": "tests.store",
        "status": ChatSession.Status.AWAY,
        "client_type": "webapp",
        "has_acted": True,
        "created_at": now,
        "last_seen_at": now,
        "disconnected_at": now,
        "state_bytes": len(fields.get("state", "")),
    }
    return ChatSession.objects.create(**given | fields)


def expired_row(chat: Chat, **fields: Any) -> ChatSession:
    """Store a session of ``chat`` whose client has been away for five minutes."""
    long_ago = timezone.now() - timedelta(minutes=5)
    return session_row(**{"chat": chat.name, "disconnected_at": long_ago} | fields)


def worker_row(**fields: Any) -> Worker:
    """Store a worker of another host, by default one that is alive."""
    now = timezone.now()
    given: dict[str, Any] = {
        "hostname": "elsewhere.invalid",
        "pid": 1,
        "started_at": now,
        "heartbeat_at": now,
    }
    return Worker.objects.create(**given | fields)


def dead_worker_row() -> Worker:
    """Store a worker of another host that has been silent for a minute."""
    return worker_row(heartbeat_at=timezone.now() - timedelta(minutes=1))


async def state_of(live: LiveSession) -> dict[str, Any]:
    """Return the ``user_session`` that is stored in the row."""
    row = await ChatSession.objects.aget(pk=live.id)
    state: dict[str, Any] = msgspec.json.decode(row.state or "{}")
    return state


# The cache


class SpyCache(LocMemCache):
    """
    A local-memory cache that records its calls.

    With ``refuses`` it stores no keys, and with ``raises`` every call fails.
    """

    calls: ClassVar[list[dict[str, Any]]] = []
    #: The keys of all calls of ``get()``.
    asked: ClassVar[list[str]] = []
    #: The timeouts of all calls of ``set_many()``, in seconds.
    timeouts: ClassVar[list[Any]] = []
    #: The keys of all calls of ``touch()``.
    touched: ClassVar[list[str]] = []
    refuses: ClassVar[bool] = False
    #: Values with more bytes are refused. Memcached's limit, for example, is 1 MiB.
    max_bytes: ClassVar[int] = 2**30
    raises: ClassVar[bool] = False

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        if self.raises:
            raise ConnectionError("no cache here")
        self.asked.append(key)
        return super().get(key, default, version)

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        if self.raises:
            raise ConnectionError("no cache here")
        self.touched.append(key)
        return bool(super().touch(key, timeout, version))

    def set_many(
        self, data: dict[str, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        if self.raises:
            raise ConnectionError("no cache here")
        self.calls.append(dict(data))
        self.timeouts.append(timeout)
        if self.refuses:
            return list(data)
        taken = {key: value for key, value in data.items() if len(value) <= self.max_bytes}
        super().set_many(taken, timeout, version)
        return [key for key in data if key not in taken]
