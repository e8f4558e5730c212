"""What is stored: rows, and a cache that tells what it got."""

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
    """A stored session; away by default, nobody's, and not unused."""
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
    """A stored session of ``chat`` whose client has been away for five minutes."""
    long_ago = timezone.now() - timedelta(minutes=5)
    return session_row(**{"chat": chat.name, "disconnected_at": long_ago} | fields)


def worker_row(**fields: Any) -> Worker:
    """Another host's worker, alive by default."""
    now = timezone.now()
    given: dict[str, Any] = {
        "hostname": "elsewhere.invalid",
        "pid": 1,
        "started_at": now,
        "heartbeat_at": now,
    }
    return Worker.objects.create(**given | fields)


def dead_worker_row() -> Worker:
    """Another host's worker, silent for a minute."""
    return worker_row(heartbeat_at=timezone.now() - timedelta(minutes=1))


async def state_of(live: LiveSession) -> dict[str, Any]:
    """The ``user_session`` in the row."""
    row = await ChatSession.objects.aget(pk=live.id)
    state: dict[str, Any] = msgspec.json.decode(row.state or "{}")
    return state


# The cache


class SpyCache(LocMemCache):
    """Keeps what each call brought or asked for; refuses keys, or everything, when told to."""

    calls: ClassVar[list[dict[str, Any]]] = []
    #: The keys that were asked for.
    asked: ClassVar[list[str]] = []
    #: Of each call, in seconds.
    timeouts: ClassVar[list[Any]] = []
    #: The keys whose timeout was begun anew.
    touched: ClassVar[list[str]] = []
    refuses: ClassVar[bool] = False
    #: More bytes than this are not taken: Memcached's limit, for one, is 1 MiB.
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
