"""What a live session needs of its worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from django.dispatch import Signal

from chatsessions.handlers.chat import Chat
from chatsessions.storage.journal import Journal
from chatsessions.storage.log import Entry

if TYPE_CHECKING:
    from .session import LiveSession

T = TypeVar("T")


class Host(Protocol):
    """The worker, as its sessions see it."""

    id: UUID
    loop: asyncio.AbstractEventLoop
    journal: Journal

    @property
    def pauses(self) -> int:
        """How often its sessions may have been taken, as it was silent for so long."""

    def now(self) -> datetime:
        """The time by which all workers say how long somebody has been away."""

    async def run_in_thread(self, function: Callable[[], Any]) -> Any:
        """Run a handler written as ``def``."""

    async def do_files(self, function: Callable[[], T]) -> T:
        """Run what reads and writes files and their rows."""

    async def read_log(self, session_id: UUID, after: int, limit: int) -> list[Entry]: ...

    async def find_message(self, session_id: UUID, message: str) -> dict[str, Any] | None: ...

    async def find_seq(self, session_id: UUID, n: int) -> int | None: ...

    async def read(self, function: Callable[[], T]) -> T:
        """Run something that reads the store."""

    def read_now(self, function: Callable[[], T]) -> T:
        """The same, while the event loop waits for it."""

    async def find_posted(self, session_id: UUID, key: str) -> Entry | None: ...

    def send_signal(self, signal: Signal, chat: Chat, **arguments: Any) -> None: ...

    def start_lifespan(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run what sets up and tears down for a session; a worker that stops waits for its end."""

    def own(self, task: asyncio.Task[Any]) -> None:
        """See ``task`` to its end, and log what it raises."""

    def refresh_connections(self, *, failed: bool = False) -> None:
        """A handler that may use the database is about to run, or one has ``failed``."""

    def drop(self, live: LiveSession) -> None:
        """Nobody holds ``live`` in memory any more."""

    def lost(self, live: LiveSession, error: Exception, *, held: bool) -> None:
        """
        ``live`` could not be stored, and is not this worker's any more.

        ``held`` is false if it never was: its claim was refused.
        """
