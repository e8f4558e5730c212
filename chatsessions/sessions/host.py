"""``SessionHost``: what sessions use of the worker that holds them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

from django.dispatch import Signal

from chatsessions.handlers.chat import Chat
from chatsessions.storage.database import Executors
from chatsessions.storage.journal import Journal
from chatsessions.storage.worker_rows import WorkerRows


class SessionHost(ABC):
    """What a session needs from the worker that holds it."""

    id: UUID
    loop: asyncio.AbstractEventLoop
    journal: Journal
    threads: Executors
    rows: WorkerRows
    #: When to check the database connections of async handlers again, by the loop's clock.
    connections_due: float

    @abstractmethod
    def own(self, task: asyncio.Task[Any]) -> None:
        """Keep ``task`` until its end, and log what it raises."""

    @abstractmethod
    def start_lifespan(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start the task of a session's lifespan handler. A worker that closes awaits it."""

    @abstractmethod
    def send_signal(self, signal: Signal, chat: Chat, **arguments: Any) -> None:
        """Send a signal in a new task."""

    @abstractmethod
    def refresh_connections(self, *, failed: bool = False) -> None:
        """
        Close those database connections of async handlers that no longer work.

        Called before an async handler, and after one that has ``failed``.
        """

    @abstractmethod
    def drop(self, live: Any) -> None:
        """Remove ``live``, a ``LiveSession``, from memory."""

    @abstractmethod
    def session_lost(self, live: Any, error: Exception, *, held: bool) -> None:
        """Note that ``live`` could not be stored; ``held`` is False if its claim was refused."""
